"""Labels that people make on the pages survive runs: other splits, and runs meanwhile."""

import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from engines.base import Completion, Prompt
from pipelines.run.options import RunOptions
from pipelines.scoring.gold import first_errors
from stepmark.records import Annotation, Sampling, Trace
from storage.dataset.dataset import Dataset
from storage.dataset.tables import STALE_LABELS, TRACES
from storage.dataset.verify import verify
from storage.labelling.carry_over import carry_over
from storage.labelling.events import Kind
from storage.labelling.label_store import LabelStore, LabelTarget
from tests.pipelines.simulated import Model, run_in
from tests.storage.labelling.samples import labels_of, target_of
from verifiers.isolation.pool import VerifierPool

BASE: dict[str, Any] = {
    "generate": {"traces_per_problem": 2},
    "annotators": [{"use": "formal"}],
    "label": {"use": "consensus", "rule": "majority", "min_agreeing": 1},
    "options": RunOptions(),
}
# A pattern that never matches: one step.
ONE_STEP: dict[str, Any] = {"generate": {"traces_per_problem": 2, "split": "regex:#"}}
METHOD = "human_ann"


@pytest_asyncio.fixture
async def workers() -> AsyncIterator[VerifierPool]:
    async with VerifierPool() as isolated:
        yield isolated


def traces_of(dataset: Dataset) -> dict[str, Trace]:
    return {trace.trace_id: trace for trace in dataset.read(TRACES)}


def label(store: LabelStore, target: LabelTarget) -> None:
    """Name the last step of a trace as its first error."""
    store.save(target, Kind.FIRST_ERROR, step=len(target.trace.steps) - 1)
    store.save(target, Kind.FINISH)


def check_carried_over(dataset: Dataset, label: Annotation, seen: Trace) -> None:
    (carried,) = labels_of(dataset, METHOD)
    steps = traces_of(dataset)[seen.trace_id].steps
    assert carried == carry_over(label, seen.steps, steps)


async def test_other_steps_keep_the_label(tmp_path: Path, workers: VerifierPool) -> None:
    dataset = (await run_in(tmp_path / "d", workers, Model(), **BASE)).dataset
    store = LabelStore.open(dataset)
    seen = next(trace for trace in traces_of(dataset).values() if len(trace.steps) > 2)
    label(store, target_of(store, seen.trace_id))
    (made,) = labels_of(dataset, METHOD)
    assert first_errors(dataset, METHOD)[0] == {seen.trace_id: len(seen.steps) - 1}
    await run_in(tmp_path / "d", workers, Model(), **{**BASE, **ONE_STEP})
    check_carried_over(dataset, made, seen)
    assert first_errors(dataset, METHOD)[0] == {seen.trace_id: 0}
    # The page shows the label on the steps that the trace has now, and it can be changed.
    target = target_of(store, seen.trace_id)
    assert store.label(target).draft.first_error == 0
    store.save(target, Kind.ACCEPT)
    store.save(target, Kind.FINISH)
    (changed,) = labels_of(dataset, METHOD)
    assert (changed.first_error, len(changed.steps)) == (-1, 1)
    await run_in(tmp_path / "d", workers, Model(), **BASE)
    assert labels_of(dataset, METHOD)
    rows = {row.fingerprint for row in dataset.read(STALE_LABELS)}
    assert rows | {row.fingerprint for row in labels_of(dataset, METHOD)} >= {
        made.fingerprint,
        changed.fingerprint,
    }


async def test_run_meanwhile_loses_no_label(tmp_path: Path, workers: VerifierPool) -> None:
    dataset = (await run_in(tmp_path / "d", workers, Model(), **BASE)).dataset
    store = LabelStore.open(dataset)
    seen = next(trace for trace in traces_of(dataset).values() if len(trace.steps) > 2)

    target = target_of(store, seen.trace_id)

    @functools.cache
    def label_once() -> None:
        # The page was opened before the run.
        label(store, target)
        assert store.store_finished().waiting == 1

    def before(prompt: Prompt, sampling: Sampling, index: int) -> str | Completion:
        label_once()
        return ""

    # One more problem, for whose traces the model is asked.
    longer = {**BASE, "problems": {"use": "word_problems", "count": 5, "max_steps": 4}}
    await run_in(tmp_path / "d", workers, Model(before=before), **{**longer, **ONE_STEP})
    assert label_once.cache_info().currsize == 1
    assert METHOD not in dataset.methods("annotations")
    # The rater has seen other steps than the trace has now.
    assert store.store_finished().waiting == 0
    (stale,) = dataset.read(STALE_LABELS)
    assert (stale.trace_id, stale.step_texts) == (seen.trace_id, seen.steps)
    await run_in(tmp_path / "d", workers, Model(), **{**longer, **ONE_STEP})
    (carried,) = labels_of(dataset, METHOD)
    assert carried.first_error == 0
    await run_in(tmp_path / "d", workers, Model(), **longer)
    (restored,) = labels_of(dataset, METHOD)
    assert (restored.first_error, len(restored.steps)) == (len(seen.steps) - 1, len(seen.steps))
    assert [finding for finding in verify(dataset) if "human" in finding.path] == []
