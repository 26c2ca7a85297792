"""The label store: finished labels become annotations, and none is lost or replaced wrongly."""

import contextlib
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stepmark.errors import ConfigError, DatasetError
from stepmark.records import Verdict
from storage.dataset import lease
from storage.dataset.dataset import Dataset
from storage.dataset.readme import write_readme
from storage.dataset.tables import STALE_LABELS, TRACES, annotations
from storage.dataset.verify import verify
from storage.labelling import label_store
from storage.labelling.drafts import BAD_PROBLEM
from storage.labelling.events import Kind, Mark
from storage.labelling.label_store import (
    ChangedDraftError,
    HumanLabel,
    LabelStore,
    MissingMarksError,
)
from storage.labelling.raters import check_rater, method_of
from tests.columns import column
from tests.storage.labelling.samples import labels_of, target_of, write_traces

WAIT_SECONDS = 120


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    sample = Dataset(str(tmp_path / "data"))
    write_traces(sample)
    return sample


@pytest.fixture
def store(dataset: Dataset) -> LabelStore:
    return LabelStore.open(dataset)


def finish(store: LabelStore, trace_id: str, first_error: int, rater: str = "ann") -> None:
    target = target_of(store, trace_id, rater)
    if first_error < 0:
        store.save(target, Kind.NO_ERROR)
    else:
        store.save(target, Kind.FIRST_ERROR, step=first_error)
    store.save(target, Kind.FINISH)


def first_errors(dataset: Dataset, rater: str = "ann") -> dict[str, int | None]:
    labels = labels_of(dataset, method_of(rater))
    return {label.trace_id: label.first_error for label in labels}


def test_finished_label_is_an_annotation(store: LabelStore, dataset: Dataset) -> None:
    target = target_of(store)
    store.save(target, Kind.COMMENT, step=1, text="no")
    store.save(target, Kind.FIRST_ERROR, step=1)
    assert labels_of(dataset, "human_ann") == []
    label = store.save(target, Kind.FINISH)
    assert not label.is_changed
    (annotation,) = labels_of(dataset, "human_ann")
    assert annotation.first_error == 1
    assert column(annotation.steps, "verdict") == [
        Verdict.CORRECT,
        Verdict.INCORRECT,
        Verdict.UNKNOWN,
    ]
    assert annotation.steps[1].rationale == "no"
    assert list(verify(dataset)) == []


def test_labels_of_all_shards_are_added(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", -1)
    finish(store, "t1-2", 2)
    finish(store, "t0-1", 0)
    finish(store, "t0-0", 1)
    finish(store, "t0-0", 0, "bob")
    assert first_errors(dataset) == {"t0-0": 1, "t0-1": 0, "t1-2": 2}
    assert first_errors(dataset, "bob") == {"t0-0": 0}
    assert store.methods() == ["human_ann", "human_bob"]
    assert store.finished_labels("human_ann")["t1-2"] == HumanLabel(
        first_error=2, is_bad_problem=False
    )


def test_first_label_adds_a_config(store: LabelStore, dataset: Dataset) -> None:
    write_readme(dataset)
    finish(store, "t0-0", 1)
    assert "config_name: annotations-human_ann" in Path(dataset.uri, "README.md").read_text()


def test_half_labelled_trace_is_refused(store: LabelStore, dataset: Dataset) -> None:
    target = target_of(store)
    store.save(target, Kind.MARK, step=1, mark=Mark.RIGHT)
    with pytest.raises(MissingMarksError, match="no mark on steps 1, 3") as refused:
        store.save(target, Kind.FINISH)
    assert refused.value.steps == [0, 2]
    assert labels_of(dataset, "human_ann") == []
    store.save(target, Kind.MARK, step=0, mark=Mark.WRONG)
    store.save(target, Kind.FINISH)
    assert first_errors(dataset) == {"t0-0": 0}


def test_step_must_exist(store: LabelStore) -> None:
    for step in (-1, 3, 10**9):
        with pytest.raises(ConfigError, match="the trace has 3 steps"):
            store.save(target_of(store), Kind.MARK, step=step, mark=Mark.RIGHT)


def test_bad_problem_has_no_verdict(store: LabelStore, dataset: Dataset) -> None:
    target = target_of(store)
    store.save(target, Kind.NO_ERROR)
    store.save(target, Kind.BAD_PROBLEM, is_set=True)
    store.save(target, Kind.FINISH)
    (annotation,) = labels_of(dataset, "human_ann")
    assert (annotation.first_error, annotation.error) == (None, BAD_PROBLEM)
    assert store.finished_labels("human_ann")["t0-0"].is_bad_problem


def test_labels_wait_for_a_run(store: LabelStore, dataset: Dataset) -> None:
    with dataset.writer_lock():
        finish(store, "t0-0", 1)
        assert labels_of(dataset, "human_ann") == []
        storing_state = store.store_finished()
        assert storing_state.waiting == 1
        assert "a run is writing" in storing_state.reason
        # They count before they are stored.
        assert store.finished_labels("human_ann")["t0-0"].first_error == 1
        (finding,) = verify(dataset)
        assert "1 finished label not stored" in str(finding)
    assert store.store_finished().waiting == 0
    assert first_errors(dataset) == {"t0-0": 1}


def test_new_start_stores_finished_labels(
    store: LabelStore, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # Between the journal and the annotation.
        patch.setattr(label_store, "store", crash)
        with pytest.raises(KeyboardInterrupt):
            finish(store, "t0-0", 1)
    with monkeypatch.context() as patch:
        # Between the annotation and the journal.
        patch.setattr(label_store, "_stored_events", crash)
        with pytest.raises(KeyboardInterrupt):
            finish(store, "t0-1", 2)
    assert list(verify(dataset))
    assert LabelStore.open(dataset).store_finished().waiting == 0
    assert first_errors(dataset) == {"t0-0": 1, "t0-1": 2}
    assert list(verify(dataset)) == []


def test_torn_journal_is_reported(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 1)
    path = Path(dataset.uri, "labelling", "human_ann.jsonl")
    with path.open("ab") as file:
        file.write(b'{"event_id": "x')
    (finding,) = verify(dataset)
    assert "the last line is incomplete" in str(finding)
    again = LabelStore.open(dataset)
    assert again.label(target_of(again)).draft.first_error == 1


def test_imported_label_is_continued(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 1)
    (imported,) = labels_of(dataset, "human_ann")
    other = Dataset(dataset.uri + "-other")
    write_traces(other)
    other.write_part(annotations("human_ann"), 0, [imported], "f")
    beside = LabelStore.open(other)
    label = beside.label(target_of(beside))
    assert label.draft.first_error == 1
    assert not label.is_changed
    edited = beside.save(target_of(beside), Kind.MARK, step=0, mark=Mark.NEUTRAL)
    assert edited.draft.marks == (Mark.NEUTRAL, Mark.WRONG, Mark.NONE)
    undone = beside.save(target_of(beside), Kind.UNDO)
    assert undone.draft.first_error == 1
    beside.save(target_of(beside), Kind.FIRST_ERROR, step=2)
    beside.save(target_of(beside), Kind.FINISH)
    assert first_errors(other) == {"t0-0": 2}


def test_newer_import_is_not_replaced(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 1)
    (label,) = labels_of(dataset, "human_ann")
    with dataset.writer_lock():
        finish(store, "t0-0", 2)
        newer = replace(label, fingerprint="imported", first_error=0)
        dataset.write_part(annotations("human_ann"), 0, [newer], "f")
    assert store.store_finished().waiting == 0
    assert labels_of(dataset, "human_ann") == [newer]
    # The rater sees the newer label, and can replace it knowingly.
    finish(store, "t0-0", 2)
    assert first_errors(dataset) == {"t0-0": 2}


def test_label_of_replaced_steps_is_stale(store: LabelStore, dataset: Dataset) -> None:
    target = target_of(store)
    gone = target_of(store, "t1-0")
    with dataset.writer_lock():
        for seen in (target, gone):
            store.save(seen, Kind.FIRST_ERROR, step=1)
            store.save(seen, Kind.FINISH)
        traces = list(dataset.read_part(TRACES, 0))
        dataset.write_part(TRACES, 0, [replace(traces[0], steps=("a b ", "c"))], "g")
        dataset.write_part(TRACES, 1, [], "g")
    assert store.store_finished().waiting == 0
    assert "human_ann" not in dataset.methods("annotations")
    stale = list(dataset.read(STALE_LABELS))
    assert column(stale, "trace_id") == ["t0-0", "t1-0"]
    assert stale[0].step_texts == ("a ", "b ", "c")
    assert (stale[0].first_error, stale[0].problem_id) == (1, "p0")
    assert set(store.labels_on_other_steps("human_ann")) == {"t0-0", "t1-0"}
    # The page shows the new steps without marks.
    assert store.label(target_of(store)).draft.marks == (Mark.NONE, Mark.NONE)


def test_damaged_entry_changes_no_finished_label(store: LabelStore, dataset: Dataset) -> None:
    target = target_of(store)
    with dataset.writer_lock():
        store.save(target, Kind.COMMENT, text="about all")
        store.save(target, Kind.NO_ERROR)
        store.save(target, Kind.FIRST_ERROR, step=0)
        store.save(target, Kind.UNDO)
        store.save(target, Kind.FINISH)
    path = Path(dataset.uri, "labelling", "human_ann.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"undo"', b'"undO"'))
    again = LabelStore.open(dataset)
    label = again.label(target)
    assert label.is_changed
    assert label.finished is not None
    assert (label.finished.first_error, label.finished.comment) == (-1, "about all")
    assert again.store_finished().waiting == 0
    assert first_errors(dataset) == {"t0-0": -1}


def test_waiting_label_stays_with_its_steps(store: LabelStore, dataset: Dataset) -> None:
    target = target_of(store)
    with dataset.writer_lock():
        store.save(target, Kind.FIRST_ERROR, step=1)
        store.save(target, Kind.FINISH)
        traces = list(dataset.read_part(TRACES, 0))
        # As many steps as before, with another text.
        changed = replace(traces[0], steps=("a", " b", " c"))
        dataset.write_part(TRACES, 0, [changed, *traces[1:]], "g")
        assert store.annotation("human_ann", 0, traces[0]) is not None
        assert store.annotation("human_ann", 0, changed) is None
        assert store.label(target_of(store)).finished is None
        # The queue offers it again.
        assert store.finished_labels("human_ann") == {}


def test_label_beside_stays_with_its_steps(dataset: Dataset, tmp_path: Path) -> None:
    store = LabelStore.open(dataset, str(tmp_path / "labels"))
    finish(store, "t0-0", 1)
    traces = list(dataset.read_part(TRACES, 0))
    changed = replace(traces[0], steps=("a", " b", " c"))
    dataset.write_part(TRACES, 0, [changed, *traces[1:]], "g")
    assert store.annotation("human_ann", 0, traces[0]) is not None
    assert store.annotation("human_ann", 0, changed) is None
    # The rater begins again, and replaces the label of the old steps.
    target = target_of(store)
    label = store.label(target)
    assert (label.draft.marks, label.finished) == ((Mark.NONE,) * 3, None)
    store.save(target, Kind.FIRST_ERROR, step=2)
    store.save(target, Kind.FINISH)
    assert first_errors(store.home) == {"t0-0": 2}


def test_foreign_journal_stops_nobody_else(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 1, "bob")
    Path(dataset.uri, "labelling", "human_ann.jsonl").symlink_to("human_bob.jsonl")
    # Another user of this machine owns it.
    Path(dataset.uri, "labelling", "human_zoe.jsonl").mkdir()
    again = LabelStore.open(dataset)
    finish(again, "t0-1", 2, "bob")
    assert first_errors(dataset, "bob") == {"t0-0": 1, "t0-1": 2}
    assert again.finished_labels("human_ann") == {}
    assert again.touched_traces("human_ann") == []
    assert ["cannot read" in fault for fault in again.faults()] == [True]
    with pytest.raises(DatasetError, match="cannot"):
        finish(again, "t0-1", 2, "ann")
    (finding,) = verify(dataset)
    assert "human_ann.jsonl: cannot be read" in str(finding)


def test_damaged_part_stops_nobody_else(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 1, "ann")
    Path(dataset.uri, "annotations/human_ann/part-00000.parquet").write_bytes(b"damaged")
    with dataset.writer_lock():
        store.save(target_of(store, "t0-1", "bob"), Kind.NO_ERROR)
        store.save(target_of(store, "t0-1", "bob"), Kind.FINISH)
        ann = replace(target_of(store, "t0-1", "bob"), rater="ann")
        store.save(ann, Kind.NO_ERROR)
        store.save(ann, Kind.FINISH)
    state = store.store_finished()
    assert (state.waiting, "is damaged" in state.reason) == (1, True)
    assert first_errors(dataset, "bob") == {"t0-1": -1}


def test_entry_needs_the_shown_draft(store: LabelStore, dataset: Dataset) -> None:
    target = target_of(store)
    shown = store.save(target, Kind.NO_ERROR).draft.draft_id
    # Another window of the same rater.
    changed = store.save(target, Kind.FIRST_ERROR, step=0)
    for kind in (Kind.FINISH, Kind.UNDO):
        with pytest.raises(ChangedDraftError) as refused:
            store.save(target, kind, seen=shown)
        assert refused.value.label == changed
    assert labels_of(dataset, "human_ann") == []
    store.save(target, Kind.FINISH, seen=changed.draft.draft_id)
    assert first_errors(dataset) == {"t0-0": 0}


def test_moved_trace_keeps_its_label(store: LabelStore, dataset: Dataset) -> None:
    target = target_of(store)
    with dataset.writer_lock():
        store.save(target, Kind.NO_ERROR)
        store.save(target, Kind.FINISH)
        rows = list(dataset.read_part(TRACES, 0))
        dataset.write_part(TRACES, 0, rows[1:], "g")
        dataset.write_part(TRACES, 1, rows[:1], "g")
    store.store_finished()
    assert dataset.shards(annotations("human_ann")) == (1,)


def test_damaged_labels_are_not_replaced(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 1)
    part = Path(dataset.uri, "annotations/human_ann/part-00000.parquet")
    content = part.read_bytes()
    target = target_of(store, "t0-1")
    store.save(target, Kind.NO_ERROR)
    part.write_bytes(b"damaged")
    store.save(target, Kind.FINISH)
    assert part.read_bytes() == b"damaged"
    state = store.store_finished()
    assert (state.waiting, "is damaged" in state.reason) == (1, True)
    part.write_bytes(content)
    assert store.store_finished().waiting == 0
    assert first_errors(dataset) == {"t0-0": 1, "t0-1": -1}


def label_in_process(uri: str, rater: str, traces: list[str]) -> None:
    store = LabelStore.open(Dataset(uri))
    for number, trace_id in enumerate(traces):
        finish(store, trace_id, number % 3, rater)
    while store.store_finished().waiting:
        pass


def test_two_processes_lose_no_label(dataset: Dataset) -> None:
    traces = ["t0-0", "t0-1", "t0-2", "t1-0", "t1-1", "t1-2"]
    context = multiprocessing.get_context("spawn")
    # Two raters, and one of them in two browsers.
    jobs = (("ann", traces[:3]), ("ann", traces[3:]), ("bob", traces))
    processes = []
    for rater, labelled in jobs:
        process = context.Process(target=label_in_process, args=(dataset.uri, rater, labelled))
        process.start()
        processes.append(process)
    for process in processes:
        process.join(WAIT_SECONDS)
        assert process.exitcode == 0
    assert sorted(first_errors(dataset)) == traces
    assert sorted(first_errors(dataset, "bob")) == traces
    assert list(verify(dataset)) == []


def test_run_waits_for_a_page(
    store: LabelStore, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "ORPHANS_SECONDS", 0.0)
    monkeypatch.setattr("sys.argv", ["stepmark", "view", "--dataset", "d"])
    second = Dataset(dataset.uri)
    refusal = pytest.raises(DatasetError, match="stepmark view")
    with dataset.writer_lock(), refusal, second.writer_lock():
        pass
    monkeypatch.setattr(lease, "ORPHANS_SECONDS", 60.0)
    held = contextlib.ExitStack()
    # The page ends while the run waits.
    monkeypatch.setattr(time, "sleep", lambda seconds: held.close())
    held.enter_context(dataset.writer_lock())
    with second.writer_lock():
        pass


def test_bucket_has_labels_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    bucket = Dataset(f"memory://{tmp_path.name}/data")
    write_traces(bucket)
    store = LabelStore.open(bucket)
    assert store.is_beside
    assert store.location.startswith(str(tmp_path / "state" / "stepmark" / "labels"))
    finish(store, "t1-0", 1)
    assert bucket.methods("annotations") == ()
    assert first_errors(store.home) == {"t1-0": 1}
    again = LabelStore.open(bucket)
    assert again.location == store.location
    assert again.label(target_of(again, "t1-0")).draft.first_error == 1


def test_folder_for_labels_is_checked(dataset: Dataset, tmp_path: Path) -> None:
    folder = str(tmp_path / "labels")
    store = LabelStore.open(dataset, folder)
    assert store.is_beside
    finish(store, "t0-0", 1)
    assert dataset.methods("annotations") == ()
    other = Dataset(str(tmp_path / "other"))
    write_traces(other)
    with pytest.raises(ConfigError, match=r"has labels of .*: name another folder"):
        LabelStore.open(other, folder)
    with pytest.raises(ConfigError, match="another dataset in this folder"):
        LabelStore.open(other, dataset.uri)
    with pytest.raises(ConfigError, match="name a folder of this machine"):
        LabelStore.open(other, "memory://labels")
    assert not LabelStore.open(dataset, dataset.uri).is_beside


def test_paths_of_a_dataset_share_labels(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.labelling.homes._is_writable", lambda _: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "link").symlink_to(dataset.uri)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    name = Path(dataset.uri).name
    locations = set[str]()
    for uri in (dataset.uri, f"../{name}", f"{tmp_path}//{name}/", "../link"):
        locations.add(LabelStore.open(Dataset(uri)).location)
    assert len(locations) == 1


def test_moved_dataset_can_be_named(dataset: Dataset, tmp_path: Path) -> None:
    folder = str(tmp_path / "labels")
    finish(LabelStore.open(dataset, folder), "t0-0", 1)
    moved = Path(dataset.uri).rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match=f"new location, {moved}, into source.txt"):
        LabelStore.open(Dataset(str(moved)), folder)
    Path(folder, "source.txt").write_text(f"{moved}\n")
    store = LabelStore.open(Dataset(str(moved)), folder)
    assert store.label(target_of(store, "t0-0")).draft.first_error == 1


def test_folder_without_permission_is_left_alone(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests run as root, who may write anywhere.
    def refuse(self: Dataset) -> None:
        if self is dataset:
            raise DatasetError("read-only")

    monkeypatch.setattr(Dataset, "check_writable", refuse)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    store = LabelStore.open(dataset)
    finish(store, "t0-0", 1)
    assert store.is_beside
    assert not Path(dataset.uri, "labelling").exists()


@pytest.mark.parametrize(
    "name",
    ["", "Ann", "a b", "a_b", "../x", "a" * 33, "é", "a\n", "<b>", "\x1b[31m", "adjudicated"],
)
def test_invalid_raters_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="rater"):
        check_rater(name)


def test_raters_have_different_methods() -> None:
    names = ["a", "a-b", "ab", "-", "--", "0", "a" * 32]
    methods = {method_of(check_rater(name)) for name in names}
    assert len(methods) == len(names)


def test_waiting_correction_replaces_the_import(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 2)
    (label,) = labels_of(dataset, "human_ann")
    imported = replace(label, fingerprint="imported")
    dataset.write_part(annotations("human_ann"), 0, [imported], "f")
    with dataset.writer_lock():
        # The second label replaces the first one, which is not stored yet.
        finish(store, "t0-0", 1)
        finish(store, "t0-0", 0)
    assert store.store_finished().waiting == 0
    assert first_errors(dataset) == {"t0-0": 0}
