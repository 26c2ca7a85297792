"""Labels beside a dataset: carried over to the steps that traces have now, or not used."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepmark.errors import ConfigError, DatasetError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, annotations
from storage.labelling.carry_over import CUT, GONE, OTHER_TEXT, UNKNOWN_STEPS
from storage.labelling.events import Kind
from storage.labelling.label_store import LabelStore
from storage.labelling.side_labels import SideLabels, open_side_labels
from tests.storage.labelling.samples import target_of, write_traces

METHOD = "human_ann"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    sample = Dataset(str(tmp_path / "data"))
    write_traces(sample)
    return sample


@pytest.fixture
def store(dataset: Dataset, tmp_path: Path) -> LabelStore:
    return LabelStore.open(dataset, str(tmp_path / "labels"))


def finish(store: LabelStore, trace_id: str, first_error: int) -> None:
    target = target_of(store, trace_id)
    store.save(target, Kind.NO_ERROR)
    if first_error >= 0:
        store.save(target, Kind.FIRST_ERROR, step=first_error)
    store.save(target, Kind.FINISH)


def cut(dataset: Dataset, **steps: Sequence[str]) -> None:
    """Cut traces of the first shard into other steps: `t0_1=...` for the trace `t0-1`."""
    traces = list(dataset.read_part(TRACES, 0))
    changed = []
    for trace in traces:
        new_steps = steps.get(trace.trace_id.replace("-", "_"), trace.steps)
        changed.append(replace(trace, steps=tuple(new_steps)))
    dataset.write_part(TRACES, 0, changed, "g")


def opened(store: LabelStore) -> SideLabels:
    return open_side_labels(store.location, store.source)


def test_unchanged_steps_keep_labels(store: LabelStore) -> None:
    finish(store, "t0-0", 1)
    finish(store, "t1-2", -1)
    fitted = opened(store).fitted(METHOD)
    assert {key: label.first_error for key, label in fitted.usable.items()} == {
        "t0-0": 1,
        "t1-2": -1,
    }
    assert fitted.describe() == "2 used"


def test_other_steps_carry_labels_over(store: LabelStore, dataset: Dataset) -> None:
    for trace_id, first_error in (("t0-0", 2), ("t0-1", 1), ("t0-2", 1), ("t1-0", 1)):
        finish(store, trace_id, first_error)
    cut(dataset, t0_0=("a b ", "c"), t0_1=("a b", " c"), t0_2=("x", "y", "z"))
    dataset.write_part(TRACES, 1, [], "g")
    fitted = opened(store).fitted(METHOD)
    (carried,) = fitted.usable.values()
    assert (carried.trace_id, carried.first_error, len(carried.steps)) == ("t0-0", 1, 2)
    reasons = {"t0-1": CUT, "t0-2": OTHER_TEXT, "t1-0": GONE}
    assert fitted.unusable == reasons
    assert fitted.describe() == (
        f"1 used (1 carried over to other steps), 3 not used: 1 × {CUT}, 1 × {OTHER_TEXT},"
        f" 1 × {GONE}"
    )
    # The queue offers the other traces again.
    assert store.finished_labels(METHOD).keys() == {"t0-0"}
    assert store.labels_on_other_steps(METHOD) == reasons


def test_new_label_replaces_stale_one(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 1)
    finish(store, "t0-1", 2)
    cut(dataset, t0_0=("a b", " c"), t0_1=("a b ", "c"))
    # The page continues the label that is carried over, and begins the other one again.
    assert store.label(target_of(store, "t0-0")).finished is None
    carried = store.label(target_of(store, "t0-1"))
    assert (carried.draft.first_error, carried.is_changed) == (1, False)
    finish(store, "t0-0", 1)
    finish(store, "t0-1", 0)
    assert {
        key: label.first_error for key, label in opened(store).fitted(METHOD).usable.items()
    } == {
        "t0-0": 1,
        "t0-1": 0,
    }
    # An opinion that the rater has replaced never comes back.
    cut(dataset, t0_0=("a b c",), t0_1=("a ", "b ", "c"))
    fitted = opened(store).fitted(METHOD)
    assert {key: label.first_error for key, label in fitted.usable.items()} == {
        "t0-0": 0,
        "t0-1": 0,
    }


def test_steps_that_return_restore_labels(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 1)
    cut(dataset, t0_0=("a b", " c"))
    assert store.finished_labels(METHOD) == {}
    cut(dataset, t0_0=("a ", "b ", "c"))
    assert store.finished_labels(METHOD)["t0-0"].first_error == 1
    assert store.labels_on_other_steps(METHOD) == {}


def test_labels_without_journal_are_unused(store: LabelStore) -> None:
    finish(store, "t0-0", 1)
    finish(store, "t0-1", 1)
    path = Path(store.location, "labelling", f"{METHOD}.jsonl")
    # A damaged entry, and after it no journal at all.
    lines = path.read_bytes().splitlines(keepends=True)
    finishes = [line for line in lines if b'"finish"' in line]
    path.write_bytes(
        path.read_bytes().replace(finishes[1], finishes[1].replace(b"right", b"wrong"))
    )
    assert opened(store).fitted(METHOD).usable.keys() == {"t0-0"}
    assert opened(store).fitted(METHOD).unusable == {"t0-1": UNKNOWN_STEPS}
    path.unlink()
    fitted = opened(store).fitted(METHOD)
    assert fitted.usable == {}
    assert fitted.unusable == dict.fromkeys(("t0-0", "t0-1"), UNKNOWN_STEPS)
    again = LabelStore.open(store.source, store.location)
    target = target_of(again)
    assert again.annotation(METHOD, 0, target.trace) is None


def test_lost_entry_revives_no_older_label(store: LabelStore) -> None:
    finish(store, "t0-0", 1)
    finish(store, "t0-0", 2)
    path = Path(store.location, "labelling", f"{METHOD}.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    newest = [line for line in lines if b'"finish"' in line][-1]
    path.write_bytes(path.read_bytes().replace(newest, b""))
    assert opened(store).fitted(METHOD).usable == {}
    target = target_of(store)
    assert LabelStore.open(store.source, store.location).annotation(METHOD, 0, target.trace) is None


def test_label_after_lost_entry_counts(store: LabelStore) -> None:
    finish(store, "t0-0", 1)
    Path(store.location, "labelling", f"{METHOD}.jsonl").unlink()
    again = LabelStore.open(store.source, store.location)
    finish(again, "t0-0", 2)
    for labels in (opened(again).fitted(METHOD).usable, again.finished_labels(METHOD)):
        assert {key: label.first_error for key, label in labels.items()} == {"t0-0": 2}


def test_older_journal_revives_no_label(store: LabelStore) -> None:
    finish(store, "t0-0", 1)
    path = Path(store.location, "labelling", f"{METHOD}.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    # A backup that was made before the label was stored.
    older = [line for line in lines if b'"stored"' not in line]
    finish(store, "t0-0", 2)
    path.write_bytes(b"".join(older))
    again = LabelStore.open(store.source, store.location)
    again.store_finished()
    assert opened(again).fitted(METHOD).unusable == {"t0-0": UNKNOWN_STEPS}
    assert again.annotation(METHOD, 0, target_of(again).trace) is None


def test_replaced_dataset_label_is_hidden(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 1)
    (label,) = store.home.read(annotations(METHOD))
    cut(dataset, t0_0=("a b", " c"))
    own = replace(label, first_error=0, steps=label.steps[:2], fingerprint="imported")
    dataset.write_part(annotations(METHOD), 0, [own], "f")
    assert store.finished_labels(METHOD) == {}
    assert target_of(store).annotation is None


def test_side_label_precedes_the_dataset(store: LabelStore, dataset: Dataset) -> None:
    finish(store, "t0-0", 1)
    (label,) = store.home.read(annotations(METHOD))
    older = replace(label, first_error=0, fingerprint="imported")
    dataset.write_part(annotations(METHOD), 0, [older, replace(older, trace_id="t0-1")], "f")
    assert {key: label.first_error for key, label in store.finished_labels(METHOD).items()} == {
        "t0-0": 1,
        "t0-1": 0,
    }
    cut(dataset, t0_0=("a b", " c"))
    assert store.finished_labels(METHOD).keys() == {"t0-1"}


def test_folder_without_labels_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, reason in (
        (str(tmp_path / "empty"), "has no labels by hand"),
        (str(tmp_path / "missing"), "is no folder of this machine"),
        ("memory://labels", "is no folder of this machine"),
        (dataset.uri, "is a dataset"),
    ):
        with pytest.raises(ConfigError, match=reason):
            open_side_labels(folder, dataset)


def test_copy_has_the_labels(store: LabelStore, tmp_path: Path) -> None:
    finish(store, "t0-0", 1)
    shutil.copytree(store.source.uri, tmp_path / "copy")
    copy = Dataset(str(tmp_path / "copy"))
    assert open_side_labels(store.location, copy).fitted(METHOD).usable.keys() == {"t0-0"}


def test_unchanged_shards_are_read_once(
    store: LabelStore, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trace_id in ("t0-0", "t1-0"):
        finish(store, trace_id, 1)
    labels = opened(store)
    labels.fitted(METHOD)
    shards = list[int]()
    matching_records = Dataset.matching_records

    def count(self: Dataset, table: Any, shard: int, *arguments: Any) -> Any:
        if table == TRACES:
            shards.append(shard)
        return matching_records(self, table, shard, *arguments)

    monkeypatch.setattr(Dataset, "matching_records", count)
    assert len(labels.fitted(METHOD).usable) == 2
    assert shards == []
    cut(dataset, t0_0=("a b ", "c"))
    assert labels.fitted(METHOD).usable["t0-0"].first_error == 0
    assert shards == [0]


def test_linked_journal_stops_no_others(store: LabelStore, tmp_path: Path) -> None:
    finish(store, "t0-0", 1)
    target = replace(target_of(store, "t0-1"), rater="bob")
    store.save(target, Kind.NO_ERROR)
    store.save(target, Kind.FINISH)
    path = Path(store.location, "labelling", "human_bob.jsonl")
    path.rename(tmp_path / "moved.jsonl")
    path.symlink_to(tmp_path / "moved.jsonl")
    labels = opened(store)
    assert labels.fitted(METHOD).usable.keys() == {"t0-0"}
    assert labels.fitted("human_bob").usable == {}
    (fault,) = labels.faults()
    assert f"cannot read the journal {path}" in fault
    assert fault.endswith("; no label of human_bob is used")
    labels.require(METHOD)
    with pytest.raises(DatasetError, match="cannot read the journal"):
        labels.require("human_bob")
