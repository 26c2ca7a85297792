"""Datasets for the pages: a mixed one that is generated from a seed, and one with hostile texts."""

import random
from collections.abc import Sequence
from dataclasses import replace

from stepmark.records import (
    Annotation,
    Cost,
    Critique,
    Discovered,
    Label,
    Problem,
    Rollout,
    StepAnnotation,
    StepLabel,
    Trace,
    Verdict,
)
from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    TRACES,
    annotations,
    critiques,
    discovered,
    rollouts,
)

GOOD = Verdict.CORRECT
BAD = Verdict.INCORRECT
UNKNOWN = Verdict.UNKNOWN
STEPS = ("First, $2 + 3 = 5$.\n", "Then \\(5 \\cdot 4 = 21\\).\n", "So the answer is 21.")
TRACE = Trace(
    trace_id="t",
    problem_id="p",
    steps=STEPS,
    final_answer="21",
    outcome=BAD,
    outcome_reason="different",
    model="some/model",
    generated_tokens=9,
)
METHODS = ("formal", "human_ann", "judge", "monte_carlo")
SHARDS = 3
TRACES_PER_SHARD = 20


def annotation(trace: Trace, method: str, first_error: int | None) -> Annotation:
    """Build an annotation whose verdicts follow from its first error."""
    steps = []
    for index in range(len(trace.steps)):
        steps.append(_step(index, first_error))
    confidence = None if first_error is None else (first_error + 2) / (len(steps) + 1)
    return Annotation(
        trace_id=trace.trace_id,
        method=method,
        fingerprint="f",
        first_error=first_error,
        confidence=confidence if method == "judge" else None,
        steps=tuple(steps),
        cost=Cost(rollouts=3, prompt_tokens=5, generated_tokens=7, seconds=0.5),
    )


def _step(index: int, first_error: int | None) -> StepAnnotation:
    if first_error is None:
        return StepAnnotation()
    is_good = first_error < 0 or index < first_error
    return StepAnnotation(
        verdict=GOOD if is_good else BAD,
        value=0.75 if is_good else 0.25,
        successes=3 if is_good else 1,
        trials=4,
        unknowns=1,
        rationale="5 * 4 = 20, not 21" if index == first_error else "",
    )


def label(trace: Trace, first_error: int | None, *, kept: bool, confidence: float) -> Label:
    """Build a label whose steps follow from its first error."""
    steps = tuple(
        StepLabel(label=_step(index, first_error).verdict, value=0.5)
        for index in range(len(trace.steps))
    )
    reason = "agreement: judge, monte_carlo" if kept else "disagreement: judge 2, monte_carlo -1"
    return Label(
        trace_id=trace.trace_id,
        first_error=first_error,
        steps=steps,
        confidence=confidence,
        kept=kept,
        reason=reason,
        sources=("judge", "monte_carlo"),
        fingerprint="f",
    )


def write_mixed(dataset: Dataset) -> None:
    """Write three shards, in which methods skip traces, and one method discovers a trace."""
    chance = random.Random(19)
    for shard in range(SHARDS):
        problem = Problem(
            problem_id=f"p{shard}",
            question=f"What is $2 + 3$, times {shard}?",
            answer="20",
            domain=("arithmetic", "algebra", "")[shard],
            source="samples",
        )
        traces = []
        for number in range(TRACES_PER_SHARD):
            outcome = chance.choice((GOOD, BAD, UNKNOWN))
            traces.append(
                replace(
                    TRACE,
                    trace_id=f"t{shard}-{number}",
                    problem_id=problem.problem_id,
                    outcome=outcome,
                    steps=STEPS[: chance.randint(1, 3)],
                )
            )
        dataset.write_part(PROBLEMS, shard, [problem], "f")
        dataset.write_part(TRACES, shard, traces, "f")
        _write_verdicts(dataset, shard, traces, chance)
    dataset.write_part(discovered("tree_search"), 1, [_discovery()], "f")
    dataset.write_run_file('dataset = "x"\n')


def _write_verdicts(
    dataset: Dataset, shard: int, traces: Sequence[Trace], chance: random.Random
) -> None:
    for method in METHODS:
        rows = []
        for trace in traces:
            first_error = chance.choice((None, -1, *range(len(trace.steps))))
            if method != "human_ann" or chance.random() < 0.7:
                rows.append(annotation(trace, method, first_error))
        if method == "judge" and shard == 2:
            rows.reverse()
            rows[0] = replace(rows[0], first_error=None, error="it broke")
        dataset.write_part(annotations(method), shard, rows, "f")
    # The last shard is not labelled yet.
    if shard < SHARDS - 1:
        labels = []
        for trace in traces:
            first_error = chance.choice((None, -1, *range(len(trace.steps))))
            kept = first_error is not None and chance.random() < 0.7
            labels.append(label(trace, first_error, kept=kept, confidence=chance.random()))
        dataset.write_part(LABELS, shard, labels, "f")
    dataset.write_part(rollouts("monte_carlo"), shard, _rollouts(traces[0]), "f")
    dataset.write_part(critiques("judge"), shard, [_critique(traces[0])], "f")


def _discovery() -> Discovered:
    fields = {name: getattr(TRACE, name) for name in TRACE.__dataclass_fields__}
    return Discovered(
        **{**fields, "trace_id": "t1-found", "problem_id": "p1"},
        found_by="tree_search",
        method="tree_search",
        parent_trace_id="t1-0",
        parent_steps=1,
        rollout_id="r0",
    )


def _rollouts(trace: Trace) -> Sequence[Rollout]:
    found = []
    for number in range(25):
        outcome = (GOOD, BAD, UNKNOWN)[number % 3]
        found.append(
            Rollout(
                method="monte_carlo",
                rollout_id=f"r{number}",
                trace_id=trace.trace_id,
                prefix_steps=1,
                text=f"rollout number {number}",
                steps=(f"rollout number {number}",),
                final_answer=None if outcome is UNKNOWN else "20",
                outcome=outcome,
                outcome_reason="equal",
                seed=number,
                finish_reason="length" if outcome is UNKNOWN else "stop",
                prompt_tokens=1,
                cached_tokens=0,
                generated_tokens=2,
            )
        )
    return found


def _critique(trace: Trace) -> Critique:
    return Critique(
        method="judge",
        trace_id=trace.trace_id,
        prompt="judge",
        system="You judge.",
        request="Is every step right?",
        model="a judge",
        vote=0,
        step=None,
        text="Step 1: it adds. correct\nStep 2: the product is wrong. incorrect\nStep 3: unknown",
        verdicts=(GOOD, BAD, UNKNOWN)[: len(trace.steps)],
        first_error=None,
        finish_reason="stop",
        prompt_tokens=1,
        cached_tokens=0,
        generated_tokens=2,
    )


# What model and data texts contain in the worst case. None of it may run, leave its place on the
# page, or stop the page from being drawn.
HOSTILE_TEXTS = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">",
    "[link](javascript:document.title='owned') javascript:alert(1) {{ 7 * 7 }} {% raw %}",
    "$\\href{javascript:alert(1)}{x}$ $\\htmlStyle{color:red}{x}$ \\(\\url{http://evil.test}\\)",
    "$\\frac{1}{$ and \\(\\undefined\\) and $$\\begin{matrix} 1 & 2$$",
    "$\\def\\a{\\a\\a}\\a$ $\\pmb{x}$ $\\fcolorbox{red}{blue}{y}$ $x^2$",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\x1b[31mred\x07",
    "e" + "\u0301" * 300 + " Z" + "\u0351\u036b\u0343" * 200,
    "ab " * (1 << 18) + "end of text",
    "<a href='http://evil.test' hx-get='http://evil.test' hx-trigger='load'>x</a>",
)
# Ids that mean something in a path or in an address, or are longer than a name of a file.
STRANGE_IDS = (
    "..",
    ".",
    "../../etc/passwd",
    "/",
    "a/tree",
    "a/steps/1",
    "%2e%2e",
    "a?id=b&c#d",
    "a b+c;d\\e",
    "~.-_",
    "\x00\u202e\U0001f600",
    "con",
    "A",
    "a",
    "x" * 10_000,
    "\u6f22" * 10_000,
)
HOSTILE_ID = "a/../b?c=#d\"'<script>&"


def write_strange_ids(dataset: Dataset) -> None:
    """Write a trace for each of `STRANGE_IDS`, all of one problem."""
    traces = [replace(TRACE, trace_id=trace_id) for trace_id in STRANGE_IDS]
    problem = Problem(problem_id="p", question="?", answer="20", domain="", source="")
    dataset.write_part(PROBLEMS, 0, [problem], "f")
    dataset.write_part(TRACES, 0, traces, "f")
    judged = [annotation(trace, "judge", 1) for trace in traces]
    dataset.write_part(annotations("judge"), 0, judged, "f")
    dataset.write_run_file('dataset = "x"\n')


def write_hostile(dataset: Dataset) -> Trace:
    """Write one trace in which everything is hostile, and return it."""
    text = HOSTILE_TEXTS[0]
    problem = Problem(
        problem_id=text,
        question=" ".join(HOSTILE_TEXTS[:7]),
        answer=text,
        domain=text,
        source=text,
        license=text,
        metadata={text: text},
    )
    trace = replace(
        TRACE,
        trace_id=HOSTILE_ID,
        problem_id=text,
        steps=HOSTILE_TEXTS,
        final_answer=text,
        outcome_reason=text,
        model=text,
        reasoning=text,
        metadata={text: text},
    )
    judged = annotation(trace, "judge", 0)
    steps = tuple(replace(step, rationale=text) for step in judged.steps)
    dataset.write_part(PROBLEMS, 0, [problem], "f")
    dataset.write_part(TRACES, 0, [trace], "f")
    dataset.write_part(annotations("judge"), 0, [replace(judged, steps=steps, error=text)], "f")
    hostile_label = replace(label(trace, 0, kept=False, confidence=0.5), reason=text)
    dataset.write_part(LABELS, 0, [hostile_label], "f")
    hostile_rollouts = []
    for rollout in _rollouts(trace):
        hostile_rollouts.append(
            replace(rollout, text=text, final_answer=text, outcome_reason=text, finish_reason=text)
        )
    dataset.write_part(rollouts("judge"), 0, hostile_rollouts, "f")
    critique = replace(_critique(trace), text=text, request=text, system=text, model=text)
    dataset.write_part(critiques("judge"), 0, [critique], "f")
    dataset.write_run_file('dataset = "x"\n')
    return trace
