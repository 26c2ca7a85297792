"""The command line: an error that the user can fix is one line on stderr and exit status 2.

A failed command changes no existing data.
"""

import asyncio
import gc
import hashlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.importing.import_command import import_dataset
from pipelines.run import execution
from pipelines.run.config import load
from pipelines.run.job import Job
from pipelines.run.preparation import prepare
from pipelines.run.retries import RETRIES
from stepmark import plugins
from stepmark.records import Problem
from storage.dataset.dataset import Dataset
from storage.dataset.readme import README
from storage.dataset.tables import LABELS, PROBLEMS, REJECTED, TRACES
from tests.columns import column
from tests.pipelines.running import run_file

MEGABYTE = 2**20
QUESTION = '{"question": "1 + 1?", "answer": "2"}\n'
SOLUTION = '{"question": "1 + 1?", "answer": "2", "solution": "1 + 1 = 2.\\nThe answer is 2."}\n'
Stepmark = Callable[..., tuple[int, str, str]]

RUN_FILES = {
    "missing": (None, "cannot read the run file"),
    "no toml": ("a = = b", "is not TOML"),
    "no text": (b"\xff\xfe", "cannot read the run file"),
    "no dataset": ("seed = 1", "dataset: Field required"),
    "unknown table": ('dataset = "d"\n[nope]\n', "unknown key 'nope'; known: dataset, seed"),
    "unknown key": (
        'dataset = "d"\n[shards]\nnope = 1',
        "unknown key 'nope' in [shards]; known: problems_per_shard",
    ),
    "wrong type": (
        'dataset = "d"\n[generate]\nmax_tokens = "many"',
        "generate.max_tokens: Input should be a valid integer",
    ),
    "no such grader": (
        'dataset = "d"\n[generate]\ngrader = "judge"',
        "generate.grader: Input should be 'answers' or 'code'",
    ),
    "nested too deeply": ("x = " + "[" * 5000 + "]" * 5000, "is nested too deeply"),
    "one annotators table": (
        'dataset = "d"\n[annotators]\nuse = "formal"',
        "annotators: write every one under its own [[annotators]]",
    ),
    "one filters table": (
        'dataset = "d"\n[filters]\nuse = "balance"',
        "filters: write every one under its own [[filters]]",
    ),
    "filters of no labels": (
        'dataset = "d"\n[[filters]]\nuse = "balance"',
        "[[filters]] drop labelled traces, and without a [label] table",
    ),
    "nothing to run": ('dataset = "d"', "a run needs [problems] and [engine]"),
}
SETTINGS = {
    "no = in it": ("nonsense", "write it as table.key=value"),
    "no such entry": ("annotators.7.use=formal", "there is no '7' in the run file"),
    "unknown engine": (
        "engine.use=nope",
        "engines has no 'nope'; it has: openai, pocket, scripted, vllm",
    ),
    "unknown annotator": (
        "annotators.0.use=montecarlo",
        "annotators has no 'montecarlo'; it has: adaptive_search",
    ),
    "unknown parameter": (
        "engine.nope=1",
        "engines.scripted has no parameter 'nope'; it has: replies",
    ),
    "wrong parameter": (
        "engine.delay=soon",
        "engines.scripted: delay: Input should be a valid number",
    ),
    "no number": ("engine.delay=nan", "engine.delay: a number out of range"),
    "endless number": ("seed=1" + "0" * 40, "seed: a number out of range"),
    "nested too deeply": ("seed=" + "[" * 5000 + "]" * 5000, "nested too deeply"),
    "no address": (
        'engine={use="openai",model="m",base_urls=["http://[::1"]}',
        "'http://[::1' in base_urls is no address",
    ),
    "no such port": (
        'engine={use="openai",model="m",base_urls=["http://h:99999/v1"]}',
        "is no address; write it as http://127.0.0.1:8000/v1",
    ),
    "no threads": (
        'engine={use="pocket",workers=-1}',
        "engines.pocket: workers: Input should be greater than or equal to 0",
    ),
    "unknown numbers": (
        'engine={use="pocket",compute_type="foo"}',
        "engines.pocket: compute_type: Input should be 'float32'",
    ),
    "unknown split": ("generate.split=nope", "no way of splitting called 'nope'; there are: line"),
    "bad pattern": ("generate.split=regex:(", "is not a valid pattern"),
    "missing prompt": ("generate.prompt=/nope.txt", "no prompt '/nope.txt'"),
    "missing problems": (
        'problems={use="files",paths=["/nope.jsonl"]}',
        "/nope.jsonl does not exist",
    ),
    "unknown field": (
        'problems={use="files",paths=["questions.jsonl"],fields={nope="q"}}',
        "'nope' is no field of Stepmark",
    ),
    "unknown filter": (
        'filters=[{use="nope"}]',
        "filters has no 'nope'; it has: balance, confidence, contamination, duplicates",
    ),
    "unknown parameter of a filter": (
        'filters=[{use="balance",nope=1}]',
        "filters.balance has no parameter 'nope'; it has: negatives_per_positive",
    ),
    "missing evaluation set": (
        'filters=[{use="contamination",against=[{use="files",paths=["/nope.jsonl"]}]}]',
        "/nope.jsonl does not exist",
    ),
    "evaluation set without questions": (
        'filters=[{use="contamination",against=[{use="files",paths=["other.csv"]}]}]',
        "other.csv has no field 'question'; it has: trace_id",
    ),
    "missing model": ('engine={use="pocket",model="/nope"}', "engines.pocket: /nope"),
    "dataset under a file": ("dataset=questions.jsonl/dataset", "cannot write"),
    "dataset in /proc": ("dataset=/proc/dataset", "cannot write /proc/dataset"),
    "dataset nowhere": ("dataset=zz://x", "zz://x is not a location for a dataset"),
}
# Errors that are detected only after the flow has started.
IN_THE_RUN = {
    "refused every time": (
        'engine={use="scripted",context=1}',
        "the engine rejected every problem: the prompt has ",
    ),
    "missing key": (
        'engine={use="openai",model="m",api_key_env="STEPMARK_NO_SUCH_KEY"}',
        "STEPMARK_NO_SUCH_KEY contains no key",
    ),
    "wrong field map": (
        'problems={use="files",paths=["questions.jsonl"],fields={question="nope"}}',
        "has no field 'nope'; it has: question, answer",
    ),
    "no problems": (
        'problems={use="files",paths=["empty.jsonl"]}',
        "the source has no problem; nothing was changed",
    ),
    "no engine there": (
        'engine={use="openai",model="m",base_urls=["http://127.0.0.1:9/v1"],retries=0}',
        "no answer from http://127.0.0.1:9/v1/chat/completions: Connection error. "
        "Is the server running there?",
    ),
}
COMMANDS = {
    "sql that writes": (
        ["sql", "DROP TABLE labels", "--dataset", "made"],
        "a query is one SELECT statement; this is DROP",
    ),
    "sql twice": (
        ["sql", "SELECT 1; SELECT 2", "--dataset", "made"],
        "a query is one SELECT statement",
    ),
    "sql that fails": (
        ["sql", "SELECT nope FROM labels", "--dataset", "made"],
        "the query failed: Binder Error",
    ),
    "sql that is no text": (
        ["sql", "SELECT '\udcff'", "--dataset", "made"],
        "the query is not UTF-8",
    ),
    "sql of a date beyond": (
        ["sql", "SELECT 'infinity'::TIMESTAMP AS t", "--dataset", "made"],
        "column 't' has a value that cannot be shown",
    ),
    "sql without a dataset": (["sql", "SELECT 1"], "name the dataset: --dataset FOLDER"),
    "sql in several words": (
        ["sql", "SELECT", "1", "--dataset", "made"],
        "a query is one argument: put it in quotes",
    ),
    "sql of an unknown name": (["sql", ":nope", "-d", "made"], "there is no query 'nope'"),
    "sql with a missing argument": (
        ["sql", ":rollouts", "--dataset", "made"],
        "the query takes other arguments: :rollouts TRACE [PREFIX]",
    ),
    "sql into a strange file": (
        ["sql", "SELECT 1", "--output", "x.txt", "--dataset", "made"],
        "write a file with one of: .parquet",
    ),
    "ddl of nothing": (["sql", "--ddl", "--dataset", "none"], "no dataset at none"),
    "sql on nothing": (["sql", "SELECT 1", "--dataset", "none"], "no dataset at none"),
    "score on nothing": (["score", "--dataset", "none"], "no dataset at none"),
    "score without gold": (
        ["score", "--dataset", "made", "--gold", "human"],
        "made has no annotations of 'human' to score against; it has: formal",
    ),
    "score drawn as what it cannot be": (
        ["score", "--dataset", "made", "--plot", "a.gif"],
        "--plot a.gif: name a file that ends in .svg",
    ),
    "score against nothing": (
        ["score", "--dataset", "made", "--gold", "nope.csv"],
        "nope.csv does not exist",
    ),
    "score against other traces": (
        ["score", "--dataset", "made", "--gold", "other.csv"],
        "other.csv names the first error of no trace of made; "
        "row 1, field 'trace_id': no trace of this dataset",
    ),
    "score against questions": (
        ["score", "--dataset", "made", "--gold", "questions.jsonl"],
        "has no field 'trace_id'",
    ),
    "export unknown": (
        ["export", "nope", "--dataset", "made", "--to", "out"],
        "storage.formats has no 'nope'; it has: ",
    ),
    "export over files": (["export", "trl", "--dataset", "made", "--to", "made"], "it holds "),
    "export into the current folder": (
        ["export", "trl", "--dataset", "made", "--to", "."],
        "the command runs in it; name another folder",
    ),
    "export nothing": (["export", "trl", "--dataset", "none", "--to", "out"], "no dataset at none"),
    "export by nobody": (
        ["export", "trl", "--dataset", "made", "--to", "out", "--labels", "../x"],
        "made has no annotations of '../x' to export; it has: ",
    ),
    "export an unknown field": (
        ["export", "trl", "--dataset", "made", "--to", "out", "--set", "x=1"],
        "storage.formats.trl has no parameter 'x'; it has: after_error",
    ),
    "export soft labels as verdicts": (
        ["export", "trl", "--dataset", "made", "--to", "out", "--soft"],
        "trl contains verdicts, no soft labels; formats with soft labels: ",
    ),
    "export values as verdicts": (
        ["export", "trl", "--dataset", "made", "--to", "out", "--values", "pqm"],
        "trl contains verdicts, no soft labels; formats with soft labels: ",
    ),
    "export masked steps of trl": (
        ["export", "trl", "--dataset", "made", "--to", "out", "--after-error", "mask"],
        "storage.formats.trl: after_error: Input should be 'drop' or 'keep'",
    ),
    "export what a condition selects": (
        ["export", "trl", "--dataset", "made", "--to", "out", "--where", "confidence > 0.9"],
        "--where: the query failed: Parser Error: ",
    ),
    "export what no query selects": (
        ["export", "trl", "--dataset", "made", "--to", "out", "--where", "SELECT 1"],
        "the query has no column trace_id with the ids of the traces: write it as SELECT trace_id",
    ),
    "export and write a file": (
        ["export", "trl", "-d", "made", "--to", "out", "--where", "COPY traces TO 'out'"],
        "--where: a query is one SELECT statement; this is COPY; write it as SELECT trace_id",
    ),
    "export a field unset": (
        ["export", "trl", "--dataset", "made", "--to", "out", "--set", "x"],
        "--set x: write it as FIELD=VALUE",
    ),
    "label against nothing": (
        [
            "label",
            "run.toml",
            "--set",
            "dataset=made",
            "--set",
            'filters=[{use="contamination",against=[{use="files",paths=["nope.jsonl"]}]}]',
        ],
        "nope.jsonl does not exist",
    ),
    "query an unknown method": (
        ["sql", ":confusion", "method=judge", "-d", "made"],
        ":confusion: the dataset has no annotations of 'method=judge' for FIRST; it has: formal",
    ),
    "query the labels as true verdicts": (
        ["sql", ":calibration", "the labels", "the labels", "-d", "made"],
        ":calibration: the dataset has no annotations of 'the labels' for GOLD; it has: formal",
    ),
    "label nothing": (["label", "run.toml", "--set", "dataset=none"], "no dataset at none"),
    "import nothing": (["import", "nope.jsonl", "--dataset", "new"], "nope.jsonl does not exist"),
    "import an empty file": (
        ["import", "empty.jsonl", "--dataset", "new"],
        "nothing was changed, the files are empty",
    ),
    "import bad rows alone": (
        ["import", "bad.jsonl", "--dataset", "new"],
        "bad.jsonl, row 1, field '': not JSON",
    ),
    "import columns of other names": (
        ["import", "answers.jsonl", "--dataset", "new"],
        "answers.jsonl has no field 'question'; it has: prompt; name yours with --map question=",
    ),
    "import a column twice": (
        ["import", "twice.csv", "--dataset", "new"],
        "twice.csv has two columns called 'question'",
    ),
    "import unmapped": (
        ["import", "solutions.jsonl", "--dataset", "new", "--map", "x"],
        "--map x: write it as OURS=YOURS",
    ),
    "import unknown shape": (
        ["import", "solutions.jsonl", "--dataset", "new", "--shape", "x"],
        "no shape with solutions is called 'x'",
    ),
    "import another shape": (
        ["import", "solutions.jsonl", "--dataset", "new", "--shape", "prm800k"],
        "solutions.jsonl has no field 'question.problem'; it has: ",
    ),
    "import a known shape by a map": (
        ["import", "solutions.jsonl", "--dataset", "new", "--shape", "prm800k", "--map", "label=x"],
        "the shape prm800k defines its columns",
    ),
    "import labels by no name": (
        ["import", "solutions.jsonl", "--dataset", "new", "--labels-by", "../x"],
        "'../x' cannot name the method",
    ),
    "import into others": (
        ["import", "solutions.jsonl", "--dataset", "made"],
        "made holds other traces already",
    ),
    "schedule, no server": (
        ["schedule", "run.toml", "--cron", "0 2 * * *"],
        "a schedule needs a Prefect server: start one with",
    ),
}
USAGE = {
    "no command": [],
    "unknown command": ["nope"],
    "no argument": ["run"],
    "unknown option": ["run", "run.toml", "--nope"],
    "unknown format": ["sql", "SELECT 1", "--dataset", "made", "--format", "xml"],
}


@pytest.fixture
def stepmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Stepmark:
    """Runs the command in this process and a new folder; returns status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    Path("questions.jsonl").write_text(QUESTION)
    Path("solutions.jsonl").write_text(SOLUTION)
    Path("empty.jsonl").write_text("")
    Path("bad.jsonl").write_text("{\n")
    Path("twice.csv").write_text("question,question\n1,2\n")
    Path("answers.jsonl").write_text(json.dumps({"prompt": "1 + 1?"}))
    Path("other.csv").write_text("trace_id,first_error\nnope,0\n")
    run_file(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["stepmark", *arguments])
        try:
            main()
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An imported and labelled dataset."""
    folder = tmp_path_factory.mktemp("made")
    solutions = folder / "solutions.jsonl"
    dataset = folder / "dataset"
    solutions.write_text(SOLUTION.replace("1 + 1", "1 + 2"))
    asyncio.run(
        import_dataset(
            [str(solutions)], str(dataset), shape="", fields={}, split="line", domain="", license=""
        )
    )
    asyncio.run(_annotate(prepare(load(Path(run_file(folder, engine={}))), makes_traces=False)))
    return dataset


@pytest.fixture
def made(stepmark: Stepmark, made_once: Path, tmp_path: Path) -> Path:
    """The imported and labelled dataset, in the command's folder."""
    return shutil.copytree(made_once, tmp_path / "made")


async def _annotate(job: Job) -> None:
    await job.make_annotations(0, "formal")
    await job.labelling.label(0)
    await job.close()


def file_digests(folder: Path) -> Mapping[str, str]:
    """Return the digest of every file but the lock, which names its last owner."""
    digests = dict[str, str]()
    for file in folder.rglob("*"):
        if file.is_file() and file.name != ".lock":
            digests[str(file)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return digests


def check_user_error(result: tuple[int, str, str], reason: str) -> None:
    """Check that a command failed with one line that contains the reason."""
    status, out, err = result
    # The first line of a run is printed before the run is prepared.
    out = re.sub(r"\A(?:run|label) .* into.*\n", "", out)
    assert (status, out, err.count("\n")) == (2, "", 1), (out, err)
    assert err.startswith("stepmark: ")
    assert reason in err


@pytest.mark.parametrize("case", RUN_FILES)
def test_invalid_run_file_is_rejected(case: str, stepmark: Stepmark, tmp_path: Path) -> None:
    content, reason = RUN_FILES[case]
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    check_user_error(stepmark("run", str(path)), reason)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("case", SETTINGS)
def test_invalid_setting_is_rejected(case: str, stepmark: Stepmark) -> None:
    setting, reason = SETTINGS[case]
    check_user_error(stepmark("run", "run.toml", "--set", setting), reason)


@pytest.mark.parametrize("case", COMMANDS)
def test_failed_command_changes_nothing(case: str, stepmark: Stepmark, made: Path) -> None:
    arguments, reason = COMMANDS[case]
    before = file_digests(made)
    assert before
    check_user_error(stepmark(*arguments), reason)
    assert file_digests(made) == before


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_is_explained(case: str, stepmark: Stepmark) -> None:
    status, out, err = stepmark(*USAGE[case])
    assert status == 2
    assert "Usage: stepmark" in out + err
    assert "Traceback" not in err


@pytest.mark.parametrize("case", IN_THE_RUN)
def test_runtime_error_is_one_line(
    case: str, stepmark: Stepmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "RETRIES", replace(RETRIES, seconds=(0.0, 0.0, 0.0)))
    setting, reason = IN_THE_RUN[case]
    check_user_error(stepmark("run", "run.toml", "--set", setting), reason)


def test_failed_method_sets_exit_status(stepmark: Stepmark) -> None:
    judge = {"use": "scripted", "error": "no credit", "retryable": False}
    run_file(Path.cwd(), annotators=[{"use": "judge"}, {"use": "formal"}], judge_engine=judge)
    status, out, err = stepmark("run", "run.toml")
    assert status == 1
    assert "most often (8): " in out
    assert err == (
        "stepmark: methods failed on more than 5% of the traces (limits.failed_share): judge on"
        " 100%; `--retry-failed` repeats them\n"
    )
    assert Dataset("dataset").count(LABELS) == 8
    status, _, err = stepmark("label", "run.toml", "--set", "limits.failed_share=1")
    assert (status, err) == (0, "")
    # The annotations of the method stay, but the run file no longer names it.
    formal = 'annotators=[{use="formal"}]'
    status, _, err = stepmark("label", "run.toml", "--set", formal)
    assert (status, err) == (0, "")


def test_sql_has_several_outputs(stepmark: Stepmark, made: Path) -> None:
    status, out, _ = stepmark("sql", "--list")
    assert status == 0
    assert "    FIRST: the method of the rows (default: judge)\n" in out
    _, out, _ = stepmark("sql", ":confusion", "formal", "formal", "--format=jsonl", "-d", "made")
    # The solution claims that 1 + 2 = 2.
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["row_verdict"] for row in rows} == {"incorrect", "unknown"}
    assert {(row["row_method"], row["column_method"]) for row in rows} == {("formal", "formal")}
    status, out, _ = stepmark("sql", "FROM labels", "--output", "labels.json", "-d", "made")
    assert (status, out) == (0, "")
    assert len(json.loads(Path("labels.json").read_text())) == 1
    _, out, _ = stepmark("sql", "--ddl", "--dataset", "made")
    assert f"read_parquet(['{made}/traces/part-00000.parquet'])" in out


def test_commands_write_a_readme(stepmark: Stepmark, made: Path) -> None:
    assert "- config_name: annotations-human\n" not in (made / README).read_text()
    assert "- config_name: traces\n" in (made / README).read_text()
    status, _, _ = stepmark("run", "run.toml")
    assert status == 0
    assert "- config_name: annotations-formal\n" in Path("dataset", README).read_text()


def test_json_progress_ends_with_totals(stepmark: Stepmark) -> None:
    status, out, err = stepmark("run", "run.toml", "--json-progress")
    assert status == 0
    assert "next: stepmark sql " in out
    lines = [json.loads(line) for line in err.splitlines()]
    stage = {"done": 8, "total": 8, "failed": 0, "done_by_this_run": 8}
    assert lines[-1]["stages"]["formal"] == stage
    assert lines[-1]["seconds_left"] == 0


def test_run_skips_unusable_rows(stepmark: Stepmark) -> None:
    good = [
        {"question": "1 + 1?", "answer": "2"},
        {"question": "a" * (MEGABYTE - 2**17), "answer": "1"},
        {"question": "no answer"},
    ]
    bad = [
        '{"question": ',
        "[1]",
        '{"question": ""}',
        '{"question": "  "}',
        '{"question": 7}',
        '{"question": "' + "a" * MEGABYTE + '"}',
        '{"answer": "1"}',
    ]
    Path("rows.jsonl").write_text("\n".join([*map(json.dumps, good), *bad]) + "\n")
    status, out, err = stepmark(
        "run", "run.toml", "--set", 'problems={use="files",paths=["rows.jsonl"]}'
    )
    assert (status, err) == (0, "")
    assert "rows set aside" in out
    dataset = Dataset("dataset")
    questions = [problem.question for problem in dataset.read(PROBLEMS)]
    assert questions == [row["question"] for row in good]
    # The unusable rows follow the usable ones.
    assert column(dataset.read(REJECTED), "row") == [4, 5, 6, 7, 8, 9, 10]
    assert dataset.count(TRACES) == 2 * len(good)


def test_import_names_query_of_rejected(stepmark: Stepmark) -> None:
    row = {"question": "1 + 1?", "answer": "2", "solution": "The answer is 2."}
    lines = [json.dumps(row), json.dumps({**row, "solution": ["The answer is 2."]})]
    Path("rows.jsonl").write_text("\n".join(lines) + "\n")
    status, out, err = stepmark("import", "rows.jsonl", "--dataset", "new")
    assert (status, err) == (0, "")
    _, found, command = out.partition("next: stepmark ")
    assert found
    status, out, _ = stepmark(*shlex.split(command))
    assert status == 0
    assert "--map steps=solution reads lists" in " ".join(out.split())
    Path("rows.jsonl").write_text(lines[0] + "\n")
    status, out, _ = stepmark("import", "rows.jsonl", "--dataset", "good")
    assert status == 0
    assert "next:" not in out


def test_megabyte_step_is_kept(stepmark: Stepmark) -> None:
    reply = "1 + 1 = 2 " * (MEGABYTE // 10) + "\nThe answer is \\boxed{2}."
    run_file(
        Path.cwd(),
        engine={"use": "scripted", "replies": {"": [reply]}},
        generate={"traces_per_problem": 2, "max_tokens": 10 * MEGABYTE},
    )
    status, _, err = stepmark("run", "run.toml", "--set", "problems.count=1")
    assert (status, err) == (0, "")
    (first, second) = Dataset("dataset").read(TRACES)
    assert "".join(first.steps) == "".join(second.steps) == reply


def test_list_names_plugins(stepmark: Stepmark) -> None:
    status, out, _ = stepmark("list")
    assert status == 0
    for name in ("word_problems", "scripted", "pocket", "formal", "consensus", "trl"):
        assert name in out


def test_import_prints_counts(stepmark: Stepmark) -> None:
    status, out, err = stepmark("import", "solutions.jsonl", "--dataset", "new")
    assert (status, err) == (0, "")
    assert out.startswith("imported into new")
    assert [type(problem) for problem in Dataset("new").read(PROBLEMS)] == [Problem]


@pytest.mark.parametrize(
    ("file", "content"),
    [("top_level.txt", "verifiers\n"), ("RECORD", "bin/v,,\nverifiers/__init__.py,sha256=x,1\n")],
    ids=["declared", "recorded"],
)
def test_name_conflict_is_rejected(
    file: str, content: str, stepmark: Stepmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    metadata = tmp_path / "site" / "prime_verifiers-0.4.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: prime-verifiers\nVersion: 0.4.0\n"
    )
    (metadata / file).write_text(content)
    (tmp_path / "site" / "half_installed-1.0.dist-info").mkdir()
    assert stepmark("list")[0] == 0
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    check_user_error(
        stepmark("list"),
        "prime-verifiers also installs a package named 'verifiers': "
        "install stepmark in an environment of its own",
    )


def test_interrupt_exits_with_130(stepmark: Stepmark, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plugins, "describe", interrupt)
    assert stepmark("list") == (130, "", "")
