"""`stepmark import --shape potato`: add the step labels of people to the traces of a dataset.

Potato's PRM export has one JSON object per trace and person:

    {"instance_id": TRACE_ID, "annotator": NAME, "mode": "per_step",
     "steps": [{"index": 0, "reward": 1, "source": "human", "verified": true}, ...]}

Each person becomes the method `human_NAME`. An import replaces the labels that the same person gave
the same trace before, and no others. An equal label stays, since it can have comments.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from problems.solution_formats.base import list_at
from problems.tabular.columns import UnusableError, require_columns, text_of, value_at
from problems.tabular.readers import Row, expand, read
from stepmark.errors import InputError
from stepmark.identity import digest
from stepmark.records import Annotation, Rejected, StepAnnotation, Verdict, first_error_of
from storage.dataset.dataset import Dataset
from storage.dataset.tables import HUMAN, TRACES, Table, annotations, discovered
from storage.labelling.human_parts import add_labels, read_labels

__all__ = ["POTATO", "AnnotationImport", "import_annotations"]

POTATO = "potato"
COLUMNS = ("instance_id", "annotator", "steps")
FIRST_ERROR = "first_error"
VERDICTS: Mapping[int | None, Verdict] = {
    1: Verdict.CORRECT,
    -1: Verdict.INCORRECT,
    None: Verdict.UNKNOWN,
    # Potato writes 0 for a step without a mark, and for a neutral one if the scheme allows that.
    0: Verdict.UNKNOWN,
}
NEUTRAL = 0
# A method has at most 63 characters; the rest is for `human_` and a digest.
MAX_NAME_CHARS = 40
DIGEST_CHARS = 8
PLAIN_NAME = re.compile(rf"[a-z0-9_]{{1,{MAX_NAME_CHARS}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AnnotationImport:
    """The result of an import: the labelled traces by method, and the rows that are not used."""

    labelled: Mapping[str, int]
    rejected: Sequence[Rejected]


@dataclass(frozen=True, slots=True)
class _Label:
    """The label that a person gave a trace, and its row."""

    row: Row
    steps: tuple[StepAnnotation, ...]
    neutral_steps: tuple[int, ...]

    def rejected(self, column: str, reason: str) -> Rejected:
        """Return the record of the rejection."""
        return UnusableError(column, reason).rejected(self.row)


def import_annotations(
    paths: Sequence[str], uri: str, *, zero_is_neutral: bool = False
) -> AnnotationImport:
    """Add the labels in files to the dataset at `uri`.

    Args:
        paths: Files or glob patterns.
        uri: The dataset that has the traces.
        zero_is_neutral: Whether the reward 0 is a neutral rating, which counts as correct, as the 0
            of PRM800K does. Otherwise the step is unknown.

    Raises:
        InputError: The files cannot be read, or have no label of a trace of the dataset.
        DatasetError: The dataset is missing or busy.
    """
    dataset = Dataset(uri)
    dataset.require()
    rejected = list[Rejected]()
    labels = _read_files(paths, zero_is_neutral, rejected)
    labelled = Counter[str]()
    with dataset.writer_lock():
        for shard in dataset.shards(TRACES):
            rows = defaultdict[str, list[Annotation]](list)
            for trace_id, step_count in _step_counts(dataset, shard):
                for method, label in labels.pop(trace_id, {}).items():
                    if len(label.steps) == step_count:
                        rows[method].append(_annotation(trace_id, method, label))
                        continue
                    reason = f"{len(label.steps)} steps, but the trace has {step_count}"
                    rejected.append(label.rejected("steps", reason))
            for method, added in rows.items():
                labelled[method] += len(added)
                changed = _changed(added, read_labels(dataset, annotations(method), shard))
                if changed:
                    add_labels(dataset, annotations(method), shard, changed)
    for by_method in labels.values():
        for label in by_method.values():
            rejected.append(label.rejected("instance_id", "the dataset has no such trace"))
    if not labelled:
        raise InputError(_nothing_imported(paths, rejected))
    return AnnotationImport(labelled, rejected)


def _read_files(
    paths: Sequence[str], zero_is_neutral: bool, rejected: list[Rejected]
) -> dict[str, dict[str, _Label]]:
    """Return the labels in files by trace and method, and collect the rows without one."""
    labels = defaultdict[str, dict[str, _Label]](dict)
    for path in expand(paths):
        for row in require_columns(read(path), [[column] for column in COLUMNS]):
            if isinstance(row, Rejected):
                rejected.append(row)
                continue
            try:
                trace_id = text_of(value_at(row.value, "instance_id"), "instance_id")
                annotator = text_of(value_at(row.value, "annotator"), "annotator")
                label = _label(row, zero_is_neutral)
            except UnusableError as error:
                rejected.append(error.rejected(row))
                continue
            # A person can label a trace again; the last row counts.
            labels[trace_id][_method_of(annotator)] = label
    return labels


def _method_of(annotator: str) -> str:
    """Return the method of a person; different names give different methods.

    >>> _method_of("ann"), _method_of("Ann Lee")
    ('human_ann', 'human_ann_lee_69ea001a')
    """
    # As `export potato` writes the rater of a method, which can begin with `_` too.
    if PLAIN_NAME.fullmatch(annotator):
        return f"{HUMAN}_{annotator}"
    name = re.sub(r"[^a-z0-9]+", "_", annotator.lower(), flags=re.ASCII).strip("_")
    name = name[:MAX_NAME_CHARS]
    name = f"{name}_{digest('annotator', annotator)[:DIGEST_CHARS]}".lstrip("_")
    return f"{HUMAN}_{name}"


def _label(row: Row, zero_is_neutral: bool) -> _Label:
    is_first_error_mode = value_at(row.value, "mode") == FIRST_ERROR
    steps = list[StepAnnotation]()
    neutral_steps = list[int]()
    has_error = False
    for position, step in enumerate(list_at(row.value, "steps")):
        reward = _reward(step, position)
        verdict = VERDICTS[reward]
        if reward == NEUTRAL and zero_is_neutral:
            verdict = Verdict.CORRECT
            neutral_steps.append(position)
        # In this mode, Potato marks all steps after the first error as incorrect by itself.
        if is_first_error_mode and has_error:
            verdict = Verdict.UNKNOWN
        has_error = has_error or verdict is Verdict.INCORRECT
        steps.append(StepAnnotation(verdict=verdict))
    if all(step.verdict is Verdict.UNKNOWN for step in steps):
        raise UnusableError("steps", "no step is labelled by a person")
    return _Label(row, tuple(steps), tuple(neutral_steps))


def _reward(step: object, position: int) -> int | None:
    """Return the reward that a person gave a step; None if there is none."""
    path = f"steps.{position}"
    if not isinstance(step, Mapping):
        raise UnusableError(path, "not an object")
    index = step.get("index", position)
    if isinstance(index, bool) or index != position:
        raise UnusableError(f"{path}.index", f"not {position}: the steps are not in order")
    reward = step.get("reward")
    is_number = isinstance(reward, int | float) and not isinstance(reward, bool)
    if reward is not None and (not is_number or reward not in VERDICTS):
        raise UnusableError(f"{path}.reward", "not 1, 0, -1 or null")
    # A suggestion of a model that no person has confirmed.
    if step.get("source") == "ai" and step.get("verified") is not True:
        return None
    return None if reward is None else int(reward)


def _step_counts(dataset: Dataset, shard: int) -> Iterator[tuple[str, int]]:
    """Yield the id and the number of steps of the traces of a shard."""
    tables: list[Table[Any]] = [TRACES, *map(discovered, dataset.methods("discovered"))]
    for table in tables:
        if shard in dataset.shards(table):
            for trace in dataset.read_part(table, shard):
                yield trace.trace_id, len(trace.steps)


def _annotation(trace_id: str, method: str, label: _Label) -> Annotation:
    verdicts = [step.verdict for step in label.steps]
    return Annotation(
        trace_id=trace_id,
        method=method,
        fingerprint=digest(POTATO, trace_id, method, verdicts, label.neutral_steps),
        first_error=first_error_of(verdicts),
        steps=label.steps,
        neutral_steps=label.neutral_steps,
    )


def _changed(
    added: Sequence[Annotation], present: Mapping[str, Annotation]
) -> Sequence[Annotation]:
    """Return the labels that the dataset lacks, or has with other verdicts."""
    changed = list[Annotation]()
    for label in added:
        existing = present.get(label.trace_id)
        if existing is None or not _is_same(existing, label):
            changed.append(label)
    return changed


def _is_same(existing: Annotation, imported: Annotation) -> bool:
    """Return whether a label has the verdicts of the one that the dataset has.

    The reward 0, which is unknown if it is not imported as neutral, is what `export potato` writes
    for a neutral step.
    """
    verdicts = [step.verdict for step in imported.steps]
    for index in existing.neutral_steps:
        if index < len(verdicts) and verdicts[index] is Verdict.UNKNOWN:
            verdicts[index] = Verdict.CORRECT
    return (
        verdicts == [step.verdict for step in existing.steps]
        and first_error_of(verdicts) == existing.first_error
        and set(imported.neutral_steps) <= set(existing.neutral_steps)
    )


def _nothing_imported(paths: Sequence[str], rejected: Sequence[Rejected]) -> str:
    message = f"no label to import in {', '.join(paths)}, nothing was changed"
    if not rejected:
        return f"{message}, the files are empty"
    first = rejected[0]
    return f"{message}; {first.file}, row {first.row}, field '{first.field}': {first.reason}"
