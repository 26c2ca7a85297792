"""One trace for the terminal: the question, every step with all verdicts, and the label.

Nothing is shortened. Every text of the dataset is printed as `visible` text, never as markup.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from stepmark.records import (
    NO_ERROR,
    Annotation,
    Critique,
    Discovered,
    Label,
    Rollout,
    StepAnnotation,
    Trace,
    Verdict,
)
from stepmark.visible_text import visible
from storage.queries.trace_details import TraceDetails

__all__ = ["TraceDisplay"]

STYLES = {Verdict.CORRECT: "green", Verdict.INCORRECT: "bold red", Verdict.UNKNOWN: "dim"}
SYMBOLS = {Verdict.CORRECT: "✓", Verdict.INCORRECT: "✗", Verdict.UNKNOWN: "?"}
ASCII_SYMBOLS = {Verdict.CORRECT: "+", Verdict.INCORRECT: "x", Verdict.UNKNOWN: "?"}
LABEL = "label"
# The columns of a cell of the overview: the index of a step of at most three digits, and a space.
CELL_WIDTH = 4
INDENT = 2


@dataclass(frozen=True, kw_only=True)
class TraceDisplay:
    """A trace that rich can print.

    Args:
        details: The trace.
        critiques: Whether the replies of judges are printed in full.
        rollouts: Whether the rollouts are printed in full.
    """

    details: TraceDetails
    critiques: bool = False
    rollouts: bool = False

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Yield the parts of the display, from top to bottom."""
        symbols = ASCII_SYMBOLS if options.ascii_only else SYMBOLS
        details = self.details
        yield from _heading(details)
        if details.annotations or details.label is not None:
            yield _section("verdicts")
            yield from _overview(details, symbols, options.max_width)
        yield _section("steps, counted from 0")
        for index in range(len(details.trace.steps)):
            yield from _step(details, index, symbols)
        yield _section("methods")
        yield _methods(details.annotations)
        yield from _errors(details.annotations)
        yield from _label(details.label)
        yield from self._replies()

    def _replies(self) -> Iterator[RenderableType]:
        """Yield the critiques and rollouts, or how many there are."""
        critiques = self.details.critiques
        rollouts = self.details.rollouts
        if self.critiques:
            for critique in critiques:
                yield from _critique(critique)
        elif critiques:
            yield _note(f"{len(critiques)} replies of judges: --critiques prints them")
        if self.rollouts:
            for rollout in sorted(rollouts, key=lambda rollout: rollout.prefix_steps):
                yield from _rollout(rollout)
        elif rollouts:
            outcomes = Counter(str(rollout.outcome) for rollout in rollouts)
            counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
            yield _note(f"{len(rollouts)} rollouts ({counts}): --rollouts prints them")


def _heading(details: TraceDetails) -> Iterator[RenderableType]:
    trace = details.trace
    problem = details.problem
    table = _fields()
    table.add_row("trace", _text(trace.trace_id, "bold"))
    table.add_row("problem", _text(trace.problem_id))
    if problem is not None:
        table.add_row("source", _text(f"{problem.source}, {problem.domain}"))
    table.add_row("model", _text(_origin(trace)))
    if isinstance(trace, Discovered):
        table.add_row(
            "found by",
            _text(
                f"{trace.found_by}, from the first {trace.parent_steps} steps of"
                f" {trace.parent_trace_id}"
            ),
        )
    for name, value in trace.metadata.items():
        table.add_row(_text(name, "dim"), _text(value))
    if problem is None:
        table.add_row("question", _text("its problem is missing", "dim"))
    else:
        table.add_row("question", _text(problem.question))
        table.add_row("reference", _text(_or_dash(problem.answer)))
    answer = _text(_or_dash(trace.final_answer) + "  ")
    answer.append(_text(f"{trace.outcome}", STYLES[trace.outcome]))
    if trace.outcome_reason:
        answer.append(_text(f": {trace.outcome_reason}"))
    table.add_row("answer", answer)
    if trace.outcome_parts:
        table.add_row("tests", _text(", ".join(trace.outcome_parts)))
    if trace.reasoning:
        table.add_row("reasoning", _text(trace.reasoning))
    yield table


def _origin(trace: Trace) -> str:
    parts = [trace.model or "not named"]
    if trace.sampling is not None:
        parts.append(f"temperature {trace.sampling.temperature:g}, seed {trace.sampling.seed}")
    parts.append(f"{trace.generated_tokens} tokens, {trace.finish_reason}")
    return ", ".join(parts)


def _overview(
    details: TraceDetails, symbols: dict[Verdict, str], width: int
) -> Iterator[RenderableType]:
    """Yield tables with a row per method and a column per step, as many as the width requires."""
    rows = dict[str, Sequence[Verdict]]()
    if details.label is not None:
        rows[LABEL] = [step.label for step in details.label.steps]
    for annotation in details.annotations:
        rows[annotation.method] = [step.verdict for step in annotation.steps]
    name_width = max(map(len, rows))
    cells = max((width - name_width) // CELL_WIDTH, 1)
    for start in range(0, len(details.trace.steps), cells):
        indices = range(start, min(start + cells, len(details.trace.steps)))
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(min_width=name_width, overflow="fold")
        for _ in indices:
            table.add_column(justify="right", min_width=CELL_WIDTH - 1, no_wrap=True)
        table.add_row(_text(""), *[_text(str(index), "dim") for index in indices])
        for name, verdicts in rows.items():
            marks = [_mark(verdicts, index, symbols) for index in indices]
            table.add_row(_text(name), *marks)
        yield table


def _mark(verdicts: Sequence[Verdict], index: int, symbols: dict[Verdict, str]) -> Text:
    if index >= len(verdicts):
        return _text("")
    verdict = verdicts[index]
    return _text(symbols[verdict], STYLES[verdict])


def _step(
    details: TraceDetails, index: int, symbols: dict[Verdict, str]
) -> Iterator[RenderableType]:
    """Yield the text of a step, then the label and each method with its reason."""
    first_errors = [
        annotation.method for annotation in details.annotations if annotation.first_error == index
    ]
    if details.label is not None and details.label.first_error == index:
        first_errors.insert(0, LABEL)
    title = Text(f"step {index}", "bold")
    if first_errors:
        title.append(_text(f"  first error: {', '.join(first_errors)}", "bold red"))
    yield title
    yield Padding(_text(details.trace.steps[index].rstrip("\n")), (0, 0, 0, INDENT))
    table = Table.grid(padding=(0, 2, 0, 0))
    # The method, its verdict, its value, and its reason, which takes the remaining width.
    for _ in range(4):
        table.add_column(overflow="fold")
    if details.label is not None and index < len(details.label.steps):
        step = details.label.steps[index]
        table.add_row(_text(LABEL), *_verdict(step.label, step.value, symbols), "")
    for annotation in details.annotations:
        if index < len(annotation.steps):
            annotated = annotation.steps[index]
            cells = _verdict(annotated.verdict, annotated.value, symbols)
            reason = _reason(annotated, index in annotation.neutral_steps)
            table.add_row(_text(annotation.method), *cells, _text(reason))
    yield Padding(table, (0, 0, 1, 2 * INDENT))


def _verdict(
    verdict: Verdict, value: float | None, symbols: dict[Verdict, str]
) -> tuple[Text, Text]:
    number = "" if value is None else f"{value:.2f}"
    return _text(f"{symbols[verdict]} {verdict}", STYLES[verdict]), _text(number)


def _reason(step: StepAnnotation, is_neutral: bool) -> str:
    parts = list[str]()
    if is_neutral:
        parts.append("neutral in the source")
    if step.trials or step.unknowns:
        count = f"{step.successes} of {step.trials}"
        if step.unknowns:
            count += f", {step.unknowns} unknown"
        parts.append(count)
    if step.rationale:
        parts.append(step.rationale.strip())
    return "; ".join(parts)


def _methods(annotations: Sequence[Annotation]) -> RenderableType:
    if not annotations:
        return _note("no method has annotated this trace")
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("method")
    for name in ("first error", "confidence", "rollouts", "tokens"):
        table.add_column(name, justify="right")
    for annotation in annotations:
        confidence = "" if annotation.confidence is None else f"{annotation.confidence:.2f}"
        table.add_row(
            _text(annotation.method),
            _text(_first_error(annotation.first_error)),
            confidence,
            f"{annotation.cost.rollouts:,}",
            f"{annotation.cost.generated_tokens:,}",
        )
    return table


def _errors(annotations: Sequence[Annotation]) -> Iterator[RenderableType]:
    for annotation in annotations:
        if annotation.error is not None:
            yield _text(f"{annotation.method} failed: {annotation.error}", "red")


def _label(label: Label | None) -> Iterator[RenderableType]:
    yield _section("label")
    if label is None:
        yield _note("this trace has no label")
        return
    state = _text("kept", "green") if label.kept else _text("dropped", "bold red")
    if label.reason:
        state.append(_text(f": {label.reason}"))
    table = _fields()
    table.add_row("first error", _text(_first_error(label.first_error)))
    table.add_row("state", state)
    if label.confidence is not None:
        table.add_row("confidence", _text(f"{label.confidence:.2f}"))
    table.add_row("made from", _text(", ".join(label.sources)))
    yield table


def _critique(critique: Critique) -> Iterator[RenderableType]:
    yield _section(f"critique of {critique.method}")
    table = _fields()
    table.add_row("prompt", _text(f"{critique.prompt}, vote {critique.vote}"))
    if critique.step is not None:
        table.add_row("about", _text(f"step {critique.step}"))
    table.add_row("model", _text(_or_dash(critique.model)))
    table.add_row("first error", _text(_first_error(critique.first_error)))
    table.add_row("tokens", _text(f"{critique.generated_tokens:,}, {critique.finish_reason}"))
    if critique.reasoning:
        table.add_row("reasoning", _text(critique.reasoning))
    table.add_row("reply", _text(critique.text))
    yield table


def _rollout(rollout: Rollout) -> Iterator[RenderableType]:
    yield _section(f"rollout of {rollout.method}")
    outcome = _text(_or_dash(rollout.final_answer) + "  ")
    outcome.append(_text(rollout.outcome, STYLES[rollout.outcome]))
    if rollout.outcome_reason:
        outcome.append(_text(f": {rollout.outcome_reason}"))
    table = _fields()
    table.add_row("after", _text(f"{rollout.prefix_steps} steps"))
    table.add_row("answer", outcome)
    table.add_row("tokens", _text(f"{rollout.generated_tokens:,}, {rollout.finish_reason}"))
    if rollout.reasoning:
        table.add_row("reasoning", _text(rollout.reasoning))
    table.add_row("text", _text(rollout.text))
    yield table


def _section(title: str) -> Rule:
    return Rule(_text(title, "bold"), align="left", style="dim")


def _fields() -> Table:
    """Return a table for names and values; long values are wrapped in their column."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    return table


def _first_error(index: int | None) -> str:
    if index is None:
        return "undecided"
    return "none" if index == NO_ERROR else f"step {index}"


def _or_dash(text: str | None) -> str:
    return "–" if text is None else text


def _note(text: str) -> Text:
    return Text(text, "dim")


def _text(text: str, style: str = "") -> Text:
    """Return text of the dataset without control characters and without markup."""
    return Text(visible(text), style, overflow="fold")
