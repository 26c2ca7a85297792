"""Labels by hand beside a dataset: scores, exports, import and fusion, also after another split."""

import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytest_asyncio

import stepmark
from pipelines.__main__ import main
from pipelines.importing.side_label_import import import_side_labels
from pipelines.run.options import RunOptions
from pipelines.scoring.gold import first_errors
from stepmark.errors import ConfigError, DatasetError, InputError, UnusedLabelWarning
from stepmark.records import StepAnnotation, Verdict
from storage.dataset.dataset import Dataset
from storage.dataset.folder import Folder
from storage.dataset.tables import LABELS, STALE_LABELS, TRACES, annotations
from storage.dataset.verify import verify
from storage.formats.processbench import ProcessBench
from storage.labelling.carry_over import CARRIED_OVER, CUT, GONE
from storage.labelling.events import Kind
from storage.labelling.label_store import LabelStore
from storage.labelling.side_labels import open_side_labels
from storage.publishing.export import export
from tests.pipelines.simulated import Model, run_in
from tests.storage.labelling.samples import human, labels_of, target_of, write_traces
from verifiers.isolation.pool import VerifierPool

METHOD = "human_ann"
C = Verdict.CORRECT
I = Verdict.INCORRECT  # noqa: E741

# How the traces are cut again: a label on the second step is exact for the first one only.
OTHER_STEPS = {"t0-0": ("a b ", "c"), "t0-1": ("a b", " c")}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    sample = Dataset(str(tmp_path / "data"))
    write_traces(sample)
    judged = []
    for trace in sample.read_part(TRACES, 0):
        judged.append(replace(human(1, C, I, C), trace_id=trace.trace_id, method="judge"))
    sample.write_part(annotations("judge"), 0, judged, "f")
    return sample


@pytest.fixture
def folder(dataset: Dataset, tmp_path: Path) -> str:
    """Labels of the rater ann beside the dataset: the second step of two traces is wrong."""
    store = LabelStore.open(dataset, str(tmp_path / "labels"))
    for trace_id in ("t0-0", "t0-1"):
        finish(store, trace_id, 1)
    finish(store, "t0-2", -1)
    return store.location


def finish(store: LabelStore, trace_id: str, first_error: int, rater: str = "ann") -> None:
    target = target_of(store, trace_id, rater)
    step = None if first_error < 0 else first_error
    store.save(target, Kind.ACCEPT, step=step)
    store.save(target, Kind.FINISH)


def cut(dataset: Dataset, steps: Mapping[str, Sequence[str]] = OTHER_STEPS) -> None:
    """Cut traces into other steps, and their annotations of the judge too."""
    traces = []
    judged = []
    for trace in dataset.read_part(TRACES, 0):
        changed = replace(trace, steps=tuple(steps.get(trace.trace_id, trace.steps)))
        traces.append(changed)
        marks = (StepAnnotation(verdict=I),) * len(changed.steps)
        judged.append(replace(human(0, I), trace_id=trace.trace_id, method="judge", steps=marks))
    dataset.write_part(TRACES, 0, traces, "g")
    dataset.write_part(annotations("judge"), 0, judged, "g")


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Run a command; return its exit status, output and error output."""
    monkeypatch.setattr("pipelines.cli.environment_guard.check_names", lambda: None)
    monkeypatch.setattr(sys, "argv", ["stepmark", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_score_carries_labels_over(dataset: Dataset, folder: str) -> None:
    assert first_errors(dataset, METHOD, open_side_labels(folder, dataset))[0] == {
        "t0-0": 1,
        "t0-1": 1,
        "t0-2": -1,
    }
    cut(dataset)
    for gold in (METHOD, "human"):
        labels = open_side_labels(folder, dataset)
        assert first_errors(dataset, gold, labels)[0] == {"t0-0": 0, "t0-2": -1}
    with pytest.warns(UnusedLabelWarning, match=f"1 not used: 1 × {CUT}"):
        (judge, *_) = stepmark.score(dataset.uri, METHOD, side_labels=folder).values()
    # With the old indices, no first error of the judge would be right.
    assert (judge.traces, judge.exact) == (2, 1 / 2)


def test_command_reports_unused_labels(
    dataset: Dataset,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut(dataset)
    options = ("score", "-d", dataset.uri, "--side-labels", folder, "--gold")
    status, out, err = command(monkeypatch, capsys, *options, "human")
    assert (status, "judge" in out) == (0, True)
    assert err == (
        f"labels of {METHOD}: 2 used (1 carried over to other steps), 1 not used: 1 × {CUT}\n"
    )
    status, _, err = command(monkeypatch, capsys, *options, "oracle")
    assert (status, err) == (
        2,
        f"stepmark: {folder} has no labels of 'oracle'; it has: {METHOD}\n",
    )


def test_python_warns_of_unused_labels(dataset: Dataset, folder: str, tmp_path: Path) -> None:
    # Labels that are all used are no reason for a warning, which is an error in these tests.
    assert stepmark.score(dataset.uri, METHOD, side_labels=folder)
    journal = Path(folder, "labelling", f"{METHOD}.jsonl")
    journal.write_bytes(journal.read_bytes() + b"no entry\x1b[2J\n")
    damaged = f"{journal}: lines that are no entries: 1"
    for gold in (METHOD, "human"):
        with pytest.warns(UnusedLabelWarning) as warned:
            stepmark.score(dataset.uri, gold, side_labels=folder)
        assert [str(warning.message) for warning in warned] == [damaged]
        assert [warning.filename for warning in warned] == [__file__]
    cut(dataset)
    with pytest.warns(UnusedLabelWarning) as warned:
        result = stepmark.export(
            dataset.uri,
            "processbench",
            tmp_path / "out",
            labels_by=METHOD,
            side_labels=folder,
        )
    unused = f"labels of {METHOD}: 2 used (1 carried over to other steps), 1 not used: 1 × {CUT}"
    assert [str(warning.message) for warning in warned] == [damaged, unused]
    assert (result.rows, warned[0].filename) == (2, __file__)


def test_python_warns_of_gold_rows(dataset: Dataset, tmp_path: Path) -> None:
    gold = tmp_path / "gold.csv"
    gold.write_text("trace_id,first_error\nt0-0,1\nnone,0\n")
    with pytest.warns(UnusedLabelWarning, match="row 2, field 'trace_id': no trace of this data"):
        assert stepmark.score(dataset.uri, str(gold))["judge"].traces == 1


def test_old_indices_are_no_gold_file(dataset: Dataset, folder: str, tmp_path: Path) -> None:
    parts = f"{folder}/annotations/{METHOD}/*.parquet"
    with pytest.raises(ConfigError, match=f"--gold {METHOD} --side-labels {folder}"):
        first_errors(dataset, parts)
    # A copy of the files alone has the number of steps at least.
    shutil.copytree(f"{folder}/annotations/{METHOD}", tmp_path / "files")
    cut(dataset)
    gold, rejected = first_errors(dataset, f"{tmp_path}/files/*.parquet")
    assert gold == {"t0-2": -1}
    assert {row.reason for row in rejected} == {"3 steps, but the trace has 2"}


def test_raters_disagree_on_bad_problem(dataset: Dataset, folder: str) -> None:
    store = LabelStore.open(dataset, folder)
    target = target_of(store, "t0-0", "bob")
    store.save(target, Kind.BAD_PROBLEM, is_set=True)
    store.save(target, Kind.FINISH)
    finish(store, "t0-1", 1, "bob")
    labels = open_side_labels(folder, dataset)
    assert first_errors(dataset, "human", labels)[0] == {"t0-1": 1, "t0-2": -1}
    finish(store, "t0-0", 0, "zoe")
    assert "t0-0" not in first_errors(dataset, "human", open_side_labels(folder, dataset))[0]


def test_linked_journal_is_set_aside(
    dataset: Dataset,
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finish(LabelStore.open(dataset, folder), "t0-1", 2, "bob")
    journal = Path(folder, "labelling", "human_bob.jsonl")
    journal.rename(tmp_path / "moved.jsonl")
    journal.symlink_to(tmp_path / "moved.jsonl")
    options = ("score", "-d", dataset.uri, "--side-labels", folder, "--gold")
    status, _, err = command(monkeypatch, capsys, *options, METHOD)
    assert (status, err.count("no label of human_bob is used")) == (0, 1)
    # Bob may disagree with the others, so `human` needs his labels.
    for gold in ("human_bob", "human"):
        status, _, err = command(monkeypatch, capsys, *options, gold)
        assert (status, "cannot read the journal" in err) == (2, True)
    done = import_side_labels(folder, dataset.uri)
    assert (done.labelled, len(done.faults)) == ({METHOD: 3}, 1)


def test_damaged_part_stops_one_rater(dataset: Dataset, folder: str) -> None:
    finish(LabelStore.open(dataset, folder), "t0-1", 2, "bob")
    Path(folder, "annotations", METHOD, "part-00000.parquet").write_bytes(b"PAR1")
    assert stepmark.score(dataset.uri, "human_bob", side_labels=folder)["judge"].traces == 1
    for gold in (METHOD, "human"):
        with pytest.raises(DatasetError, match="is damaged"):
            stepmark.score(dataset.uri, gold, side_labels=folder)


def exported(folder: Path) -> Mapping[str, Any]:
    (file,) = (folder / "data").iterdir()
    if file.suffix == ".jsonl":
        rows = list(map(json.loads, file.read_text().splitlines()))
        return {row["instance_id"]: [step["reward"] for step in row["steps"]] for row in rows}
    return {row["trace_id"]: row["label"] for row in pq.read_table(file).to_pylist()}


def test_exports_take_side_labels(
    dataset: Dataset,
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(path for path in Path(dataset.uri).rglob("*"))
    for form, old, new in (
        ("processbench", {"t0-0": 1, "t0-1": 1, "t0-2": -1}, {"t0-0": 0, "t0-2": -1}),
        ("potato", None, {"t0-0": [-1, 1], "t0-2": [1, 1, 1]}),
    ):
        options = ("-d", dataset.uri, "--side-labels", folder, "--labels", METHOD, "--with-ids")
        for expected, name in ((old, "old"), (new, "new")):
            if name == "new":
                cut(dataset)
            to = tmp_path / f"{form}-{name}"
            status, _, err = command(monkeypatch, capsys, "export", form, *options, "--to", str(to))
            assert (status, "used" in err) == (0, True), err
            if expected is not None:
                assert exported(to).keys() == expected.keys()
                if form == "processbench":
                    assert exported(to) == expected
        cut(dataset, {key: ("a ", "b ", "c") for key in OTHER_STEPS})
    # Nothing is written to the source.
    assert sorted(path for path in Path(dataset.uri).rglob("*")) == before
    status, _, err = command(
        monkeypatch,
        capsys,
        "export",
        "trl",
        "-d",
        dataset.uri,
        "--side-labels",
        folder,
        "--to",
        str(tmp_path / "none"),
    )
    assert (status, "name a rater with --labels" in err) == (2, True)


def test_export_processes_take_side_labels(dataset: Dataset, folder: str, tmp_path: Path) -> None:
    labels = open_side_labels(folder, dataset).fitted(METHOD).by_trace
    result = export(
        dataset,
        ProcessBench(),
        str(tmp_path / "out"),
        labels_by=METHOD,
        side_labels=labels,
        processes=2,
    )
    assert result.rows == 3


def test_bucket_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Dataset(f"memory://{tmp_path.name}/data")
    write_traces(bucket)
    store = LabelStore.open(bucket, str(tmp_path / "labels"))
    finish(store, "t0-0", 1)
    finish(store, "t1-0", 0)
    (first, *others) = bucket.read_part(TRACES, 0)
    bucket.write_part(TRACES, 0, [replace(first, steps=("a b ", "c")), *others], "g")
    writing = Folder.writing

    def write_locally(self: Folder, path: str) -> Any:
        assert self.is_local, "the bucket is only read"
        return writing(self, path)

    monkeypatch.setattr(Folder, "writing", write_locally)
    labels = open_side_labels(store.location, bucket)
    assert first_errors(bucket, METHOD, labels)[0] == {"t0-0": 0, "t1-0": 0}
    by_hand = labels.fitted(METHOD).by_trace
    result = export(
        bucket, ProcessBench(), str(tmp_path / "out"), labels_by=METHOD, side_labels=by_hand
    )
    assert result.rows == 2


def test_import_writes_annotations(dataset: Dataset, folder: str) -> None:
    done = import_side_labels(folder, dataset.uri)
    assert (done.labelled, done.carried_over, done.unused) == ({METHOD: 3}, 0, {})
    assert {label.trace_id: label.first_error for label in labels_of(dataset, METHOD)} == {
        "t0-0": 1,
        "t0-1": 1,
        "t0-2": -1,
    }
    assert dataset.count(STALE_LABELS) == 0
    assert [finding for finding in verify(dataset) if "human" in finding.path] == []
    # The rater goes on beside the dataset; the next import replaces what has changed.
    store = LabelStore.open(dataset, folder)
    finish(store, "t0-0", 2)
    finish(store, "t1-0", 0)
    assert import_side_labels(folder, dataset.uri).labelled == {METHOD: 4}
    labels = {label.trace_id: label.first_error for label in labels_of(dataset, METHOD)}
    assert labels == {"t0-0": 2, "t0-1": 1, "t0-2": -1, "t1-0": 0}


def test_import_after_another_split(dataset: Dataset, folder: str, tmp_path: Path) -> None:
    copy = Dataset(str(tmp_path / "copy"))
    shutil.copytree(dataset.uri, copy.uri)
    cut(copy)
    for _ in range(2):
        done = import_side_labels(folder, copy.uri)
        assert (done.labelled, done.carried_over, done.unused) == ({METHOD: 2}, 1, {CUT: 1})
        assert {label.trace_id: label.first_error for label in labels_of(copy, METHOD)} == {
            "t0-0": 0,
            "t0-2": -1,
        }
        stale = {row.trace_id: (row.reason, row.step_texts) for row in copy.read(STALE_LABELS)}
        seen = ("a ", "b ", "c")
        assert stale == {"t0-0": (CARRIED_OVER, seen), "t0-1": (CUT, seen)}


def test_import_keeps_labels_of_the_dataset(dataset: Dataset, folder: str) -> None:
    own = replace(human(2, C, C, I), trace_id="t0-0", method=METHOD, fingerprint="imported")
    dataset.write_part(annotations(METHOD), 0, [own], "f")
    done = import_side_labels(folder, dataset.uri)
    assert done.labelled == {METHOD: 2}
    assert done.unused == {"the dataset has another label by the same person": 1}
    assert own in labels_of(dataset, METHOD)


def test_import_keeps_labels_without_fingerprint(dataset: Dataset, folder: str) -> None:
    # As another tool writes it. The rater did not see it.
    own = replace(human(2, C, C, I), trace_id="t0-0", method=METHOD)
    dataset.write_part(annotations(METHOD), 0, [own], "f")
    assert import_side_labels(folder, dataset.uri).labelled == {METHOD: 2}
    assert own in labels_of(dataset, METHOD)


@pytest.mark.parametrize("fingerprint", ["imported", ""])
def test_import_replaces_corrected_labels(
    dataset: Dataset, tmp_path: Path, fingerprint: str
) -> None:
    own = replace(human(2, C, C, I), trace_id="t0-0", method=METHOD, fingerprint=fingerprint)
    dataset.write_part(annotations(METHOD), 0, [own], "f")
    store = LabelStore.open(dataset, str(tmp_path / "labels"))
    # The rater sees the label of the dataset, replaces it, and corrects the new one.
    finish(store, "t0-0", 1)
    finish(store, "t0-0", 0)
    done = import_side_labels(store.location, dataset.uri)
    assert (done.labelled, done.unused) == ({METHOD: 1}, {})
    assert [label.first_error for label in labels_of(dataset, METHOD)] == [0]


def test_labels_of_another_dataset_are_refused(folder: str, tmp_path: Path) -> None:
    other = Dataset(str(tmp_path / "other"))
    write_traces(other, shards=1, per_shard=0)
    with pytest.raises(InputError, match=f"nothing was changed; 3 × {GONE}"):
        import_side_labels(folder, other.uri)
    assert METHOD not in other.methods("annotations")


def test_import_command_reports(
    dataset: Dataset,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut(dataset)
    journal = Path(folder, "labelling", f"{METHOD}.jsonl")
    journal.write_bytes(journal.read_bytes() + b"no entry\n")
    options = ("import", folder, "-d", dataset.uri, "--shape", "side_labels")
    status, out, err = command(monkeypatch, capsys, *options)
    assert (status, err) == (0, f"{journal}: lines that are no entries: 1\n")
    for part in (f"labels by {METHOD}", "carried over to other steps", "not used"):
        assert part in out
    for more, message in (
        ((folder,), "--shape side_labels takes one folder: import several one by one"),
        (("--split", "sentence"), "--shape side_labels adds labels only"),
        (("--zero-is-neutral",), "--zero-is-neutral is for --shape potato: leave it out"),
    ):
        status, _, err = command(monkeypatch, capsys, *options, *more)
        assert (status, message in err) == (2, True)


# A run whose labeler can learn from people, in two ways to cut the traces.
BASE: dict[str, Any] = {
    "generate": {"traces_per_problem": 2},
    "annotators": [{"use": "formal"}, {"use": "monte_carlo", "rollouts": 2}],
    "label": {"use": "fusion", "threshold": 0.5},
    "options": RunOptions(),
}
ONE_STEP: dict[str, Any] = {"generate": {"traces_per_problem": 2, "split": "regex:#"}}


@pytest_asyncio.fixture
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool() as isolated:
        yield isolated


async def test_fusion_learns_from_side_labels(tmp_path: Path, workers: VerifierPool) -> None:
    source = (await run_in(tmp_path / "source", workers, Model(), **BASE)).dataset
    store = LabelStore.open(source, str(tmp_path / "labels"))
    for trace in source.read(TRACES):
        finish(store, trace.trace_id, len(trace.steps) - 1)
    assert METHOD not in source.methods("annotations")
    # A copy that may be written to, cut into other steps meanwhile.
    shutil.copytree(source.uri, tmp_path / "copy")
    await run_in(tmp_path / "copy", workers, Model(), **{**BASE, **ONE_STEP})
    copy = Dataset(str(tmp_path / "copy"))
    before = {label.trace_id: label.confidence for label in copy.read(LABELS)}
    done = import_side_labels(store.location, copy.uri)
    assert done.labelled == {METHOD: len(before)}
    assert {label.first_error for label in labels_of(copy, METHOD)} == {0}
    gold = {**BASE["label"], "gold": METHOD}
    await run_in(tmp_path / "copy", workers, Model(), **{**BASE, **ONE_STEP, "label": gold})
    after = {label.trace_id: label.confidence for label in copy.read(LABELS)}
    assert after != before
    assert first_errors(copy, METHOD)[0] == dict.fromkeys(before, 0)
    # Back to the steps that the rater has seen: the labels are as they were made.
    await run_in(tmp_path / "copy", workers, Model(), **{**BASE, "label": gold})
    made = {label.trace_id: label.first_error for label in labels_of(copy, METHOD)}
    assert made == {trace.trace_id: len(trace.steps) - 1 for trace in source.read(TRACES)}
    assert [finding for finding in verify(copy) if "human" in finding.path] == []
