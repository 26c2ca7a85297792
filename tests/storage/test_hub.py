"""Export to the Hub and back: the real client, and a fake server of its HTTP API with faults."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard, HfApi

from stepmark.errors import ConfigError, DatasetError
from storage.dataset import parts
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES
from storage.formats.base import Format
from storage.formats.processbench import ProcessBench
from storage.formats.trl import Trl
from storage.publishing import files, hub
from storage.publishing.export import export
from storage.publishing.hub import Upload
from storage.queries.sql import query
from tests.storage.hub_client import Connection, connected
from tests.storage.hub_server import GOOD_TOKEN, Fault, Repository
from tests.storage.samples import TRACE, fill

# The client sends files in a way that its HTTP library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

ROOT = Path(__file__).parents[2]
NAME = "org/name"
URI = f"hf://datasets/{NAME}"
CARD = "# Card\n"
PREAMBLE = """
import os, sys
from huggingface_hub import HfApi
from storage.dataset.dataset import Dataset
from storage.publishing.export import export
from storage.formats.trl import Trl
dataset = Dataset(sys.argv[1])
"""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Connection]:
    yield from connected(monkeypatch, tmp_path / "cache")


def repository(client: Connection) -> Repository:
    return client.hub.repositories[NAME]


def card_of(client: Connection, revision: str = "main") -> DatasetCard:
    commit = repository(client).at(revision)
    assert commit is not None
    return DatasetCard(commit.files["README.md"].decode())


def run(client: Connection, code: str, dataset: Dataset) -> subprocess.CompletedProcess[str]:
    """Run a program with settings that the client reads when it is imported."""
    settings = {
        "HF_ENDPOINT": client.address,
        "HF_TOKEN": GOOD_TOKEN,
        "HF_HOME": str(Path(dataset.uri).with_name("home")),
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, "-c", PREAMBLE + code, dataset.uri]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_export_is_one_private_commit(client: Connection, on_disk: Dataset) -> None:
    done = export(on_disk, Trl(), URI)
    assert done.rows == 2
    assert done.left_out == {"its label is not kept": 1}
    assert done.destination == f"{client.address}/datasets/{NAME}"
    assert repository(client).visibility == "private"
    assert repository(client).changes() == [
        ["file README.md", "lfsFile trl/train-00000-of-00001.parquet"]
    ]


def test_second_export_replaces_files(
    client: Connection, on_disk: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as small:
        # One row per file, so that the first export has two files.
        small.setattr(files, "SHARD_BYTES", 1)
        small.setattr(parts, "BATCH_ROWS", 1)
        small.setattr(parts, "ROW_GROUP_BYTES", 1)
        export(on_disk, Trl(), f"{URI}/", private=False)
    assert repository(client).visibility == "public"
    export(on_disk, Trl(), URI)
    assert repository(client).changes()[1] == [
        "lfsFile trl/train-00000-of-00001.parquet",
        "deletedFile trl/train-00000-of-00002.parquet",
        "deletedFile trl/train-00001-of-00002.parquet",
    ]


def test_equal_export_makes_no_commit(client: Connection, on_disk: Dataset) -> None:
    for _ in range(2):
        export(on_disk, Trl(), URI)
    assert len(repository(client).changes()) == 1
    assert client.hub.count("PUT .*") == 1


def test_files_of_people_stay(client: Connection, on_disk: Dataset) -> None:
    export(on_disk, Trl(), URI)
    files = dict(repository(client).commits[-1].files)
    files |= {"notes.txt": b"n", "trl/notes.txt": b"n", "data/train-00000-of-00001.parquet": b"p"}
    repository(client).commit("main", files, [])
    export(on_disk, Trl(after_error="keep"), URI)
    kept = set(repository(client).commits[-1].files)
    assert {"notes.txt", "trl/notes.txt", "data/train-00000-of-00001.parquet"} <= kept


@pytest.mark.parametrize("count", [1, 9])
def test_foreign_files_of_config_are_rejected(
    client: Connection, on_disk: Dataset, count: int
) -> None:
    # A repository without a card.
    files = {f"trl/train-00000-of-{count:05d}.parquet": b"p"}
    client.hub.repositories[NAME] = made = Repository("public")
    made.commit("main", files, [])
    with pytest.raises(ConfigError, match=r"the file trl/train-00000-of-0000.\.parquet, which no"):
        export(on_disk, Trl(), URI)
    assert made.commits[-1].files == files
    export(on_disk, Trl(), URI, config="steps")
    assert made.commits[-1].files.items() >= files.items()


@pytest.mark.parametrize(
    ("revision", "tag", "message"),
    [
        ("main", "main", "'main' is the name of a branch"),
        ("dev", "dev", "'dev' is the name of a branch"),
        ("main", "dev", "has the branch dev already; choose another one"),
    ],
)
def test_tag_is_no_branch(
    client: Connection, on_disk: Dataset, revision: str, tag: str, message: str
) -> None:
    export(on_disk, Trl(), URI, revision="dev")
    with pytest.raises(ConfigError, match=message):
        export(on_disk, Trl(), URI, revision=revision, tag=tag)
    assert repository(client).tags == {}


# Every request of an upload, in order.
REQUESTS = (
    "GET /api/datasets/org/name/refs",
    "POST /api/repos/create",
    "POST /api/datasets/org/name/preupload/main",
    r"POST /datasets/org/name\.git/info/lfs/objects/batch",
    r"PUT /lfs/\w+",
    "POST /lfs/verify",
    "GET /api/datasets/org/name/revision/main",
    "GET /datasets/org/name/resolve/.*",
    "POST /api/validate-yaml",
    "POST /api/datasets/org/name/commit/main",
    "POST /api/datasets/org/name/tag/.*",
)
FAULTS = {
    "busy": Fault(pattern="", status=503),
    "rate limit": Fault(pattern="", status=429, headers={"Retry-After": "7"}),
    "dropped connection": Fault(pattern=""),
    "lost response": Fault(pattern="", is_served=True),
}


def upload_of(folder: Path, count: int = 1) -> Upload:
    """Return an upload of small files, with a tag."""
    files = {}
    for number in range(count):
        file = folder / f"{number}.parquet"
        file.write_bytes(bytes([number]) * 1000)
        files[f"trl/{file.name}"] = file
    return Upload(
        repository=hub.Repository(name=NAME, tag="v1"),
        files=files,
        card_of=lambda earlier: f"{earlier.removesuffix(CARD)}{CARD}",
        replaces=lambda path, card: False,
    )


@pytest.mark.parametrize("request_pattern", REQUESTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_upload_survives_fault(
    client: Connection, tmp_path: Path, request_pattern: str, fault: str
) -> None:
    # A card that the upload reads.
    existing = Repository("private")
    existing.commit("main", {"README.md": b"# Earlier\n"}, [])
    client.hub.repositories[NAME] = existing
    upload = upload_of(tmp_path)
    client.hub.faults.append(replace(FAULTS[fault], pattern=request_pattern))
    hub.check(upload.repository)
    upload.run()
    assert client.hub.faults == []
    assert existing.changes() == [["file README.md", "lfsFile trl/0.parquet"]]
    assert existing.commits[-1].files["README.md"] == b"# Earlier\n# Card\n"
    assert existing.tags == {"v1": existing.branches["main"]}
    if fault == "rate limit":
        assert max(client.waits) >= 7


def test_many_files_are_sent_once(
    client: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_BATCH_FILES", 2)
    # More failures than the client itself survives.
    client.hub.faults += [Fault(pattern=r"PUT /lfs/\w+", status=503)] * 6
    client.hub.faults += [Fault(pattern="POST .*/commit/main")] * 2
    upload_of(tmp_path, count=9).run()
    assert client.hub.faults == []
    assert client.hub.count(r"PUT /lfs/\w+") == 9 + 6
    assert len(repository(client).changes()) == 1


def test_failed_upload_continues(
    client: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_BATCH_FILES", 2)
    # The last of the files is refused as long as the upload tries.
    last = hashlib.sha256(bytes([4]) * 1000).hexdigest()
    client.hub.faults += [Fault(pattern=f"PUT /lfs/{last}", status=503)] * 100
    with pytest.raises(
        DatasetError,
        match=r"^cannot write to hf://datasets/org/name: .*503.*; 4 of 5 files are stored, none of "
        r"them is visible\. The same command continues from there$",
    ):
        upload_of(tmp_path, count=5).run()
    assert [wait for wait in client.waits if isinstance(wait, float)] == [1, 4, 16, 60]
    assert repository(client).changes() == []
    client.hub.faults.clear()
    client.hub.requests.clear()
    upload_of(tmp_path, count=5).run()
    assert client.hub.count(r"PUT /lfs/\w+") == 1
    assert len(repository(client).changes()) == 1


def test_signature_of_upload_is_not_shown(client: Connection, tmp_path: Path) -> None:
    client.hub.faults.append(Fault(pattern=r"PUT /lfs/\w+", status=410))
    with pytest.raises(DatasetError, match=r"X-Amz-Signature=REDACTED.*0 of 1 files are stored"):
        upload_of(tmp_path).run()


def test_missing_tag_is_named(client: Connection, on_disk: Dataset) -> None:
    client.hub.faults += [Fault(pattern="POST .*/tag/.*", status=403)]
    with pytest.raises(
        DatasetError, match="no right to write there; the export is stored, but not the tag v1"
    ):
        export(on_disk, Trl(), URI, tag="v1")
    export(on_disk, Trl(), URI, tag="v1")
    assert len(repository(client).changes()) == 1
    assert set(repository(client).tags) == {"v1"}


@pytest.mark.parametrize("method", ["create_commit", "create_tag"])
def test_killed_upload_continues(client: Connection, on_disk: Dataset, method: str) -> None:
    kill = f"""
HfApi.{method} = lambda *_, **__: os.kill(os.getpid(), 9)
export(dataset, Trl(), "{URI}", tag="v1")
"""
    assert run(client, kill, on_disk).returncode == -9
    assert client.hub.count(r"PUT /lfs/\w+") == 1
    export(on_disk, Trl(), URI, tag="v1")
    assert client.hub.count(r"PUT /lfs/\w+") == 1
    assert len(repository(client).changes()) == 1
    assert set(repository(client).tags) == {"v1"}


def test_concurrent_commit_is_kept(
    client: Connection, on_disk: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(on_disk, Trl(), URI)
    create_commit = HfApi.create_commit

    def after_another_commit(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(HfApi, "create_commit", create_commit)
        export(on_disk, ProcessBench(), URI)
        return create_commit(*arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", after_another_commit)
    export(on_disk, Trl(after_error="keep"), URI)
    configs = card_of(client).data["configs"]
    assert sorted(config["config_name"] for config in configs) == ["processbench", "trl"]


LOAD = """
import datasets, json
names = datasets.get_dataset_config_names("org/name")
rows = {}
for name in names:
    for split in datasets.get_dataset_split_names("org/name", name):
        rows[f"{name}/{split}"] = datasets.load_dataset("org/name", name, split=split).to_list()
rows["default"] = datasets.load_dataset("org/name", split="train").to_list()
rows["v1"] = datasets.load_dataset("org/name", "trl", split="train", revision="v1").to_list()
print(json.dumps(rows))
"""


def test_each_config_is_loaded(client: Connection, on_disk: Dataset) -> None:
    formats: list[Format] = [Trl(), ProcessBench()]
    for exporter in formats:
        export(on_disk, exporter, URI)
    export(on_disk, Trl(after_error="keep"), URI, tag="v1", config="uncut")
    done = run(client, LOAD, on_disk)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    trl_labels = [[True, True, True], [True, False]]
    assert [row["labels"] for row in rows["trl/train"]] == trl_labels
    assert [row["label"] for row in rows["processbench/test"]] == [-1, 1]
    assert [row["labels"] for row in rows["uncut/train"]] == [[True, True, True]]
    assert rows["default"] == rows["trl/train"] == rows["v1"]


def test_branch_has_its_own_files(client: Connection, on_disk: Dataset) -> None:
    export(on_disk, Trl(), URI)
    export(on_disk, ProcessBench(), URI, revision="try/2")
    main = repository(client).at("main")
    branch = repository(client).at("try/2")
    assert main is not None
    assert branch is not None
    assert set(branch.files) - set(main.files) == {"processbench/test-00000-of-00001.parquet"}
    assert "revision='try/2'" in card_of(client, "try/2").text
    assert "processbench" not in card_of(client).text


def test_existing_tag_is_rejected(client: Connection, on_disk: Dataset) -> None:
    export(on_disk, Trl(), URI, tag="v1")
    with pytest.raises(ConfigError, match="has the tag v1 already; choose another one"):
        export(on_disk, Trl(after_error="keep"), URI, tag="v1")
    assert len(repository(client).changes()) == 1


@pytest.mark.parametrize("reference", ["-a b", "../x", "a..b", "x/", "refs heads", "é", "a\n"])
def test_invalid_reference_is_rejected(on_disk: Dataset, reference: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a branch or a tag"):
        export(on_disk, Trl(), URI, tag=reference)
    with pytest.raises(ConfigError, match="cannot name a branch or a tag"):
        export(on_disk, Trl(), URI, revision=reference)


@pytest.mark.parametrize("config", ["a/b", "..", "a b", "x" * 81, "é"])
def test_invalid_config_is_rejected(on_disk: Dataset, config: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a config"):
        export(on_disk, Trl(), URI, config=config)


@pytest.mark.parametrize(
    ("token", "message"),
    [("hf_bad", "HF_TOKEN is not valid"), (" ", "HF_TOKEN is not set; make a write token")],
)
def test_rejected_token_error_is_one_line(
    client: Connection,
    on_disk: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    token: str,
    message: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises((ConfigError, DatasetError), match=message) as raised:
        export(on_disk, Trl(), URI)
    assert "\n" not in str(raised.value)
    assert client.hub.repositories == {}


def test_unreachable_hub_error_is_one_line(
    client: Connection, on_disk: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing listens on the discard port.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        DatasetError, match=r"^cannot write to hf://datasets/org/name: .*Connection refused$"
    ):
        export(on_disk, Trl(), URI)
    assert client.waits == [1, 4]


def test_foreign_card_fails_early(client: Connection, on_disk: Dataset) -> None:
    existing = Repository("private")
    existing.commit("main", {"README.md": b"# Mine"}, [])
    client.hub.repositories[NAME] = existing
    with pytest.raises(ConfigError, match=r"a README\.md that no export wrote"):
        export(on_disk, Trl(), URI)
    assert client.hub.count("POST .*") == 0


def test_dataset_can_be_on_hub(client: Connection) -> None:
    HfApi().create_repo("org/live", repo_type="dataset", private=True)
    live = Dataset("hf://datasets/org/live")
    live.check_writable()
    fill(live)
    assert live.has_part(TRACES, 0, "f")
    assert not live.has_part(TRACES, 0, "g")
    assert next(live.read(TRACES)) == TRACE
    assert live.methods("annotations") == ("formal", "judge")
    assert query(live, "SELECT count(*) AS steps FROM steps").to_pylist() == [{"steps": 8}]


def test_missing_token_fails_early(on_disk: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="HF_TOKEN is not set"):
        export(on_disk, Trl(), URI)
