"""A small dataset with a record of every kind."""

from dataclasses import replace

from stepmark.records import (
    Annotation,
    Cost,
    Critique,
    Discovered,
    Label,
    Problem,
    Rejected,
    Rollout,
    Sampling,
    StaleLabel,
    StepAnnotation,
    StepLabel,
    Trace,
    Verdict,
)
from storage.dataset.dataset import Dataset
from storage.dataset.tables import (
    LABELS,
    PROBLEMS,
    REJECTED,
    TRACES,
    annotations,
    critiques,
    rollouts,
)

SOLUTION_FORMATS = (
    "er_prm",
    "kto",
    "openr",
    "outcomes",
    "pairs",
    "prefix_values",
    "refinement",
    "rollouts",
    "sft",
    "step_pairs",
    "visualprm",
)
"""The formats that need more than this dataset has: values, wrong solutions or trials."""

GOOD = Verdict.CORRECT
BAD = Verdict.INCORRECT
UNKNOWN = Verdict.UNKNOWN

PROBLEM = Problem(
    problem_id="p0",
    question="How many are 2 and 3?\nTimes 4?",
    answer="20",
    domain="arithmetic",
    source="samples",
    license="MIT",
    metadata={"steps": "2", "empty": ""},
)
# The seed is the largest integer that every reader of JSON keeps exact.
SAMPLING = Sampling(
    n=3, temperature=0.7, top_p=0.9, max_tokens=64, stop=("\n\n", "END"), seed=2**53 - 1
)
TRACE = Trace(
    trace_id="t0",
    problem_id="p0",
    steps=("2 + 3 = 5\n", "5 * 4 = 20\n", "The answer is 20."),
    final_answer="20",
    outcome=GOOD,
    outcome_reason="equal",
    outcome_parts=(GOOD, BAD),
    model="some/model",
    sampling=SAMPLING,
    prompt_tokens=5,
    cached_tokens=1,
    generated_tokens=9,
    metadata={"k": "v"},
)
DISCOVERED = Discovered(
    **{name: getattr(TRACE, name) for name in TRACE.__dataclass_fields__ if name != "trace_id"},
    trace_id="t3",
    found_by="tree_search",
    method="tree_search",
    parent_trace_id="t0",
    parent_steps=1,
    rollout_id="r0",
)
# A truncated rollout: it has no final answer and an unknown outcome.
ROLLOUT = Rollout(
    method="judge",
    rollout_id="r0",
    trace_id="t0",
    prefix_steps=1,
    text="5 * 4 = 20\nThe",
    steps=("5 * 4 = 20\n", "The"),
    final_answer=None,
    outcome=UNKNOWN,
    outcome_reason="cut",
    outcome_parts=(GOOD, UNKNOWN),
    seed=2**53 - 1,
    finish_reason="length",
    prompt_tokens=3,
    cached_tokens=2,
    generated_tokens=7,
)
CRITIQUE = Critique(
    method="judge",
    trace_id="t0",
    prompt="judge",
    system="You judge.",
    request="Is 2 + 3 = 5?",
    model="a model",
    vote=1,
    step=None,
    text="Step 1: correct\nStep 2: incorrect",
    verdicts=(GOOD, BAD, UNKNOWN),
    first_error=1,
    finish_reason="stop",
    prompt_tokens=3,
    cached_tokens=2,
    generated_tokens=6,
)
# Its steps have all fields, two fields, and only the defaults.
ANNOTATION = Annotation(
    trace_id="t0",
    method="judge",
    fingerprint="f",
    first_error=None,
    confidence=0.25,
    steps=(
        StepAnnotation(
            verdict=GOOD, value=0.5, successes=1, trials=2, unknowns=3, rationale="because"
        ),
        StepAnnotation(verdict=BAD, value=0.0),
        StepAnnotation(),
    ),
    neutral_steps=(0,),
    cost=Cost(
        rollouts=4,
        prompt_tokens=5,
        cached_tokens=6,
        generated_tokens=7,
        seconds=0.5,
        waited_seconds=0.25,
    ),
    error="it broke",
)
STALE_LABEL = StaleLabel(
    trace_id="t0",
    method="human",
    first_error=1,
    steps=(StepAnnotation(verdict=GOOD), StepAnnotation(verdict=BAD, rationale="because")),
    cost=Cost(waited_seconds=0.25),
    problem_id="p0",
    reason="the dataset has no such trace",
    is_carried_over=True,
    step_texts=("1 + 1 = 2\n", "2 + 1 = 4"),
)
LABEL = Label(
    trace_id="t0",
    first_error=-1,
    steps=(
        StepLabel(label=GOOD, value=1.0),
        StepLabel(label=GOOD, value=0.5),
        StepLabel(label=GOOD),
    ),
    confidence=0.9,
    kept=True,
    reason="agree",
    sources=("judge", "monte_carlo"),
    fingerprint="f",
)
REJECTED_ROW = Rejected(file="a.jsonl", row=7, field="question", reason="empty")


def labelled(name: str, *verdicts: Verdict, kept: bool = True) -> tuple[Trace, Label]:
    """Build a trace and a label whose steps have these verdicts."""
    trace = replace(
        TRACE, trace_id=name, steps=tuple(f"step {index}\n" for index in range(len(verdicts)))
    )
    steps = tuple(StepLabel(label=verdict) for verdict in verdicts)
    first_error: int | None = -1
    if BAD in verdicts:
        first_error = verdicts.index(BAD)
    # An unknown step does not hide an error. Without an error it leaves the first error open.
    elif UNKNOWN in verdicts:
        first_error = None
    return trace, replace(LABEL, trace_id=name, steps=steps, first_error=first_error, kept=kept)


def fill(dataset: Dataset) -> None:
    """Write one part of every table, with three traces.

    The traces are correct, incorrect from step 1, and undecided with a label that is not kept.
    """
    trace_1, label_1 = labelled("t1", GOOD, BAD, UNKNOWN)
    trace_2, label_2 = labelled("t2", GOOD, UNKNOWN, kept=False)
    dataset.write_part(PROBLEMS, 0, [PROBLEM], "f")
    dataset.write_part(REJECTED, 0, [REJECTED_ROW], "f")
    dataset.write_part(TRACES, 0, [TRACE, trace_1, trace_2], "f")
    dataset.write_part(rollouts("judge"), 0, [ROLLOUT], "f")
    dataset.write_part(
        critiques("judge"), 0, [CRITIQUE, replace(CRITIQUE, step=1, verdicts=(BAD,))], "f"
    )
    dataset.write_part(annotations("judge"), 0, [ANNOTATION], "f")
    dataset.write_part(
        annotations("formal"), 0, [replace(ANNOTATION, method="formal", trace_id="t1")], "f"
    )
    dataset.write_part(LABELS, 0, [LABEL, label_1, label_2], "f")
    dataset.write_run_file('dataset = "x"\n')
