"""Secrets of a run file are sent to the engine, and reach nothing else."""

import base64
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import tomli_w

from pipelines.__main__ import main
from pipelines.run.config import load
from stepmark import plugins
from stepmark.errors import ConfigError
from stepmark.identity import fingerprint
from stepmark.secrets import REDACTED
from storage.publishing.card import Config
from storage.publishing.card_file import render
from storage.publishing.facts import Facts
from storage.publishing.statistics import ExportStatistics
from tests.engines.fake_server import Answer
from tests.pipelines.one_verifier import use_one_verifier
from tests.pipelines.test_check_command import JudgingModel, served, write_run_file

# Prefect's threads keep their connections beyond the event loop of a flow.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket.socket:ResourceWarning", "ignore:unclosed transport:ResourceWarning"
)

CANARY = "c4n4ry"
# One secret in every place of a run file, so that a leak names its place.
PASSWORD = f"{CANARY}-password"
USER = f"me:{PASSWORD}"
QUERY = f"{CANARY}-query"
BODY = f"{CANARY}-body"
HEADER = f"{CANARY}-header"
OVERRIDE = f"{CANARY}-override"
KEY = f"{CANARY}-environment"
SECRETS = (PASSWORD, QUERY, BODY, HEADER, OVERRIDE, KEY)
VARIABLE = "STEPMARK_TEST_KEY"


class QuotingModel(JudgingModel):
    """A model whose server quotes the secrets of a request when it refuses it."""

    def respond(self, request: Mapping[str, Any]) -> Answer:
        user = request["messages"][-1]["content"]
        quoted = " ".join([*SECRETS, json.dumps(request), f"http://{USER}@h/v1?api-key={QUERY}"])
        # One of two problems is refused, and so are some requests to judge.
        is_judged = "Check a solution" in user and zlib.crc32(user.encode()) % 2
        if "Three plus four" in user or is_judged:
            return Answer(400, {"error": {"message": f"refused: {quoted}"}})
        return super().respond(request)


def engine_table(url: str) -> dict[str, Any]:
    address = url.replace("http://", f"http://{USER}@")
    return {
        "use": "openai",
        "model": "m",
        "base_urls": [f"{address}?api-key={QUERY}"],
        "api_key_env": VARIABLE,
        "retries": 0,
        "extra_body": {
            "api_key": BODY,
            "nested": {"callback": f"https://{USER}@host/?sig={QUERY}"},
            "extra_headers": {"X-Anything": HEADER},
        },
    }


def contents(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every file of a folder with its content as a text; Parquet is decompressed."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            text = path.read_bytes().decode("latin-1")
            if path.suffix == ".parquet":
                text += repr(pq.read_table(path).to_pylist())
                text += repr(pq.read_metadata(path).metadata)
            yield path, text


def check_text(text: str, where: object) -> None:
    """Check that a text contains no secret, in plain or as a header has it."""
    encoded = base64.b64encode(USER.encode()).decode()
    for secret in (CANARY, encoded):
        position = text.find(secret)
        assert position < 0, (str(where), text[max(0, position - 200) : position + 200])


def prefect_records(url: str) -> Iterator[tuple[str, str]]:
    """Yield what a Prefect server stores and displays, as JSON by kind."""
    for kind in ("flow_runs", "task_runs", "logs", "artifacts", "deployments"):
        yield kind, httpx.post(f"{url}/{kind}/filter", json={}).raise_for_status().text


def stepmark(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["stepmark", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_secrets_reach_no_record(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    prefect_server: str,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    monkeypatch.setenv(VARIABLE, KEY)
    setting = f"engine.extra_body.secret={OVERRIDE}"
    model = QuotingModel()
    with served(model) as url:
        run_file = write_run_file(
            tmp_path, url, engine=engine_table(url), label={"use": "consensus", "min_agreeing": 1}
        )
        for command in ("check", "run", "label"):
            stepmark(monkeypatch, command, run_file, "--set", setting)
    data = tmp_path / "data"
    export = ["export", "trl", "--dataset", str(data), "--to", str(tmp_path / "out")]
    stepmark(monkeypatch, *export, "--labels", "judge")
    output = capsys.readouterr()
    check_text(output.out, "standard output")
    check_text(output.err, "standard error")
    texts = dict(contents(data)) | dict(contents(tmp_path / "out"))
    for path, text in texts.items():
        check_text(text, path)
    records = dict(prefect_records(prefect_server))
    assert run_file in records["flow_runs"]
    for kind, text in records.items():
        check_text(text, kind)
    # The run stored what the server refused, and where the secrets were.
    everything = "".join(texts.values())
    assert "error: refused by http" in everything
    assert f"api-key={REDACTED}" in everything
    assert f"{REDACTED}@127.0.0.1" in texts[data / "run.toml"]
    assert (tmp_path / "out" / "README.md") in texts


@pytest.mark.parametrize("workers", ["1", "2"])
def test_engine_receives_secrets(
    workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_one_verifier(monkeypatch)
    monkeypatch.setenv(VARIABLE, KEY)
    model = JudgingModel()
    requests = list[Mapping[str, Any]]()
    respond = model.respond

    def record(request: Mapping[str, Any]) -> Answer:
        requests.append(request)
        return respond(request)

    monkeypatch.setattr(model, "respond", record)
    with served(model) as url:
        engine = engine_table(url)
        run_file = write_run_file(tmp_path, url, engine=engine, annotators=[], label=None)
        assert stepmark(monkeypatch, "run", run_file, "--workers", workers) == 0
    assert requests
    assert {request["api_key"] for request in requests} == {BODY}
    assert requests[0]["extra_headers"] == {"X-Anything": HEADER}


def test_fingerprint_ignores_secrets() -> None:
    table = engine_table("http://host/v1")
    other = json.loads(json.dumps(table).replace(CANARY, "another"))
    engine = plugins.build("engines", table)
    assert fingerprint(plugins.build("engines", other)) == fingerprint(engine)
    other["extra_body"]["nested"]["seed"] = 1
    assert fingerprint(plugins.build("engines", other)) != fingerprint(engine)


def test_stored_run_file_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(tomli_w.dumps({"dataset": "d", "engine": engine_table("http://host/v1")}))
    run_file = load(path)
    assert CANARY in run_file.to_toml(with_secrets=True)
    path.write_text(run_file.to_toml())
    check_text(path.read_text(), path)
    with pytest.raises(ConfigError, match=f"{REDACTED} stands for a secret"):
        load(path)


@pytest.mark.parametrize(
    "url",
    [
        f"http://{USER}@[::1",
        f"http://{USER}@host:99999/v1",
        f"{USER}@host/v1",
        f"ftp://{USER}@host/v1",
        f"http://me:{CANARY}/x@host/v1",
        f"http://host:port/v1?api-key={QUERY}",
    ],
)
def test_rejected_address_is_not_quoted(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plugins.build("engines", {"use": "openai", "model": "m", "base_urls": [url]})
    check_text(str(caught.value), url)


@pytest.mark.parametrize("key", [f"sk-{CANARY}", f"hf_{CANARY}", f"{CANARY}.x"])
def test_pasted_key_is_rejected(key: str) -> None:
    with pytest.raises(ConfigError, match="name of an environment variable") as caught:
        plugins.build("engines", {"use": "openai", "model": "m", "api_key_env": key})
    check_text(str(caught.value), key)


@pytest.mark.parametrize(
    "setting",
    [
        f"engine.extra_body.api_key.x.y={CANARY}",
        f"engine.nope.7.token=[[[{CANARY}",
        f"seed={CANARY}",
        f"nope.api_key={CANARY}",
        f"engine.base_urls.0=http://{USER}@host",
        f'problems.paths=["https://{USER}@host/x.jsonl?sig={QUERY}"]',
        f"generate.prompt=https://{USER}@host/x.txt",
        f"dataset=s3://{USER}@bucket/x",
        f"dataset=http://host/x?sig={QUERY}",
        f"engine.extra_body.api_key={'[' * 5000}{CANARY}",
    ],
)
def test_rejected_override_is_not_quoted(
    setting: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use_one_verifier(monkeypatch)
    run_file = write_run_file(tmp_path, "http://127.0.0.1:9/v1")
    stepmark(monkeypatch, "run", run_file, "--set", setting)
    output = capsys.readouterr()
    check_text(output.out + output.err, setting)


def test_schedule_rejects_secret_override(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file = write_run_file(tmp_path, "http://127.0.0.1:9/v1", annotators=[], label=None)
    setting = f"engine.extra_body.api_key={OVERRIDE}"
    arguments = ["schedule", run_file, "--cron", "0 2 * * *", "--set", setting]
    assert stepmark(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert "Prefect would store and display this secret" in error
    check_text(error, "standard error")


def test_card_of_old_dataset_is_redacted() -> None:
    run_file = tomli_w.dumps({"dataset": "d", "engine": engine_table("http://host/v1")})
    address = f"https://{USER}@host/x.jsonl?sig={QUERY}"
    statistics = ExportStatistics(
        split_rows=Counter(train=1),
        left_out=Counter({address: 1}),
        domains=Counter({address: 1}),
        models=Counter({address: 1}),
        sources=Counter({address: 1}),
        licenses=Counter({address: 1}),
    )
    config = Config(name="trl", source="x", folder="data", description=address, file_type="parquet")
    card = render(config, statistics, Facts(run_files=[run_file]))
    check_text(card, "card")
    assert 'model = "m"' in card
