"""Formats of solutions and their evidence: read back, and compared with plain SQL row by row.

The exports are loaded with `datasets`. The readers repeat what each consumer does with a row.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from stepmark import plugins
from stepmark.records import (
    StepLabel,
    Verdict,
    first_error_of,
)
from stepmark.steps import SEPARATOR
from storage.dataset.dataset import Dataset
from storage.formats.base import Example, ExportedRow, Format, LeftOut, exported_rows
from storage.formats.er_prm import ErPrm
from storage.formats.kto import Kto
from storage.formats.openr import OpenR
from storage.formats.outcomes import Outcomes
from storage.formats.pairs import Pairs
from storage.formats.prefix_values import PrefixValues
from storage.formats.refinement import Refinement
from storage.formats.rollouts import Rollouts
from storage.formats.sft import Sft
from storage.formats.step_pairs import StepPairs
from storage.formats.visualprm import VisualPrm
from storage.publishing.export import export
from storage.queries import sql
from storage.values.rest_mcts import RestMcts
from tests.columns import column
from tests.storage.random_dataset import write_random_dataset
from tests.storage.samples import (
    BAD,
    GOOD,
    LABEL,
    PROBLEM,
    ROLLOUT,
    SOLUTION_FORMATS,
    TRACE,
    UNKNOWN,
)


@dataclass(frozen=True)
class Exports:
    """A dataset, one connection to it, and a folder for exports."""

    dataset: Dataset
    connection: duckdb.DuckDBPyConnection
    folder: Path

    def rows(self, exporter: Format, **options: Any) -> list[dict[str, Any]]:
        """Return the rows of an export as `datasets` loads them."""
        import datasets

        target = self.folder / f"out{len(list(self.folder.iterdir()))}"
        done = export(self.dataset, exporter, str(target), **options)
        loaded = datasets.load_dataset(
            str(target), split="train", cache_dir=str(self.folder.with_name("cache"))
        )
        assert loaded.column_names == exporter.schema.names
        assert loaded.num_rows == done.rows > 1
        rows: list[dict[str, Any]] = loaded.to_list()
        return rows

    def query(self, text: str) -> list[tuple[Any, ...]]:
        return self.connection.sql(text).fetchall()


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exports]:
    dataset = Dataset(str(tmp_path_factory.mktemp("dataset")))
    write_random_dataset(dataset)
    folder = tmp_path_factory.mktemp("exports") / "folders"
    folder.mkdir()
    with sql.connect(dataset) as connection:
        # The traces with a kept label, as all exports below have them.
        connection.execute("""
            CREATE TEMP VIEW kept AS
            SELECT trace_id, problem_id, question, domain, traces.steps AS steps, outcome,
              array_to_string(traces.steps, '') AS solution, labels.steps AS labels, first_error,
              list_contains([step.label FOR step IN labels.steps], 'incorrect') AS has_error
            FROM labels JOIN traces USING (trace_id) JOIN problems USING (problem_id)
            WHERE kept
        """)
        yield Exports(dataset, connection, folder)


def text_of(role: str, messages: Sequence[Mapping[str, str]]) -> str:
    """Read a conversation of one turn."""
    [message] = messages
    assert set(message) == {"role", "content"}
    assert message["role"] == role
    return message["content"]


def answers(row: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """Read a prompt and the answers to it."""
    prompt = text_of("user", row["prompt"])
    return (prompt, *(text_of("assistant", row[name]) for name in names))


def compare(rows: Sequence[Any], expected: Sequence[Any]) -> None:
    """Compare rows in any order; None precedes other values."""
    assert sorted(rows, key=repr) == sorted(expected, key=repr)


def test_all_formats_are_loaded_here(exports: Exports) -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for name in SOLUTION_FORMATS:
        assert f"{plugins.load('storage.formats', name).__name__}(" in source


def test_outcomes_agree_with_sql(exports: Exports) -> None:
    rows = exports.rows(Outcomes())
    expected = exports.query(
        "SELECT question, solution, (outcome = 'correct')::INTEGER FROM kept"
        " WHERE outcome <> 'unknown'"
    )
    compare([(*answers(row, "response"), row["label"]) for row in rows], expected)


def test_kto_agrees_with_sql(exports: Exports) -> None:
    rows = exports.rows(Kto())
    expected = exports.query(
        "SELECT question, solution, outcome = 'correct' FROM kept"
        " WHERE outcome = 'incorrect' OR (outcome = 'correct' AND NOT has_error)"
    )
    compare([(*answers(row, "completion"), row["label"]) for row in rows], expected)
    assert {row["label"] for row in rows} == {True, False}


SCORES = "list_min([step.value FOR step IN labels])"


def read_chat(row: Mapping[str, Any]) -> tuple[str, str]:
    user, assistant = row["messages"]
    return text_of("user", [user]), text_of("assistant", [assistant])


def test_sft_agrees_with_sql(exports: Exports) -> None:
    right = f"SELECT *, {SCORES} AS score FROM kept WHERE outcome = 'correct' AND NOT has_error"
    rows = exports.rows(Sft())
    expected = exports.query(f"SELECT question, solution, score FROM ({right})")
    compare([(*read_chat(row), row["score"]) for row in rows], expected)

    best = exports.rows(Sft(best=1))
    scores = exports.query(f"SELECT question, max(score) FROM ({right}) GROUP BY question")
    compare([(read_chat(row)[0], row["score"]) for row in best], scores)
    assert len(best) < len(rows)


def test_pairs_agree_with_sql(exports: Exports) -> None:
    rows = exports.rows(Pairs(per_problem=100))
    pairs = [(*answers(row, "chosen", "rejected"), *scores(row)) for row in rows]
    expected = exports.query(f"""
        WITH ranked AS (
          SELECT *, {SCORES} AS score, outcome = 'correct' AS is_right
          FROM kept WHERE outcome = 'incorrect' OR (outcome = 'correct' AND NOT has_error)
        )
        SELECT question, list_sort(list(score) FILTER (is_right), 'DESC', 'NULLS LAST'),
          list_sort(list(score) FILTER (NOT is_right), 'ASC', 'NULLS LAST'),
          list(solution) FILTER (is_right), list(solution) FILTER (NOT is_right)
        FROM ranked GROUP BY question
    """)
    count = 0
    for question, right_scores, wrong_scores, right, wrong in expected:
        of_problem = [pair for pair in pairs if pair[0] == question]
        assert len(of_problem) == min(len(right or ()), len(wrong or ()))
        for number, (_, chosen, rejected, *row_scores) in enumerate(of_problem):
            assert chosen in right
            assert rejected in wrong
            assert row_scores == [right_scores[number], wrong_scores[number]]
        count += len(of_problem)
    assert count == len(rows)


def scores(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return row["chosen_score"], row["rejected_score"]


PAIR_COLUMNS = "gap, chosen_value, rejected_value, chosen_trials, rejected_trials"


@pytest.mark.parametrize(
    ("exporter", "condition"),
    [
        (StepPairs(), "true"),
        (StepPairs(min_gap=0.5), "gap >= 0.5"),
        (
            StepPairs(pairs="first_error"),
            "chosen_verdict = 'correct' AND rejected_verdict = 'incorrect'",
        ),
    ],
)
def test_step_pairs_agree_with_siblings(
    exports: Exports, exporter: StepPairs, condition: str
) -> None:
    # With the annotations as labels all traces are kept, as in the view.
    rows = exports.rows(exporter, labels_by="monte_carlo")
    expected = exports.query(f"""
        SELECT question, array_to_string(prefix, ''), chosen, rejected, step_index, {PAIR_COLUMNS}
        FROM siblings(source := 'monte_carlo') JOIN problems USING (problem_id)
        WHERE {condition}
    """)
    pairs = []
    for row in rows:
        prompt, chosen, rejected = answers(row, "chosen", "rejected")
        prefix = row["prefix"]
        assert chosen.startswith(prefix)
        assert rejected.startswith(prefix)
        steps = (chosen.removeprefix(prefix), rejected.removeprefix(prefix))
        values = [row[name] for name in PAIR_COLUMNS.split(", ")]
        pairs.append((prompt, prefix, *steps, row["at"], *values))
    compare(pairs, expected)


def test_whole_pairs_end_as_solutions(exports: Exports) -> None:
    rows = exports.rows(StepPairs(whole=True, pairs="first_error"))
    solutions = exports.query("""
        SELECT question, outcome, array_to_string(solutions.steps, '')
        FROM solutions JOIN problems USING (problem_id)
    """)
    for row in rows:
        prompt, chosen, rejected = answers(row, "chosen", "rejected")
        assert (prompt, "correct", chosen) in solutions
        assert (prompt, "incorrect", rejected) in solutions


def test_rollouts_agree_with_sql(exports: Exports) -> None:
    rows = exports.rows(Rollouts())
    read = []
    for row in rows:
        lists = [row[name] for name in ("roll_ins", "roll_outs", "labels", "prefix_steps")]
        for values in zip(*lists, strict=True):
            read.append((row["problem"], *values))
    expected = exports.query("""
        SELECT question, array_to_string(kept.steps[:prefix_steps], ''), text,
          CASE WHEN rollouts.outcome = 'correct' THEN 1
            WHEN rollouts.outcome = 'incorrect' THEN 0 ELSE 2 END, prefix_steps
        FROM rollouts JOIN kept USING (trace_id)
        WHERE rollouts.outcome <> 'unknown' OR finish_reason = 'length'
    """)
    compare(read, expected)
    assert {label for _, _, _, label, _ in read} == {0, 1, 2}
    equal = exports.rows(Rollouts(per_problem=20))
    assert {len(row["labels"]) for row in equal} == {20}


def test_prefix_values_agree_with_sql(exports: Exports) -> None:
    rows = exports.rows(PrefixValues())
    read = []
    for row in rows:
        # The value model of ReST-MCTS* reads lines of JSON.
        line = json.loads(json.dumps(row))
        head, _, prefix = line["prompt_answer"].partition("\nSolution:\n")
        counts = (line["step"], line["successes"], line["trials"], line["domain"])
        read.append((head.removeprefix("Problem: "), prefix, line["label"], *counts))
    expected = exports.query("""
        SELECT question, array_to_string(kept.steps[:step_index + 1], ''),
          labels[step_index + 1].value, step_index, successes, trials, domain
        FROM kept JOIN (SELECT trace_id, step_index FROM step_values) USING (trace_id)
          LEFT JOIN (
            SELECT trace_id, step_index, successes, trials
            FROM estimates WHERE method = 'monte_carlo'
          ) USING (trace_id, step_index)
        WHERE labels[step_index + 1].value IS NOT NULL
    """)
    compare(read, expected)


def test_prefix_values_take_a_formula(exports: Exports) -> None:
    rows = exports.rows(PrefixValues(), values=RestMcts())
    expected = exports.query("""
        SELECT array_to_string(kept.steps[:step_index + 1], ''), value
        FROM rest_mcts() JOIN kept USING (trace_id) WHERE value IS NOT NULL
    """)
    read = [(row["prompt_answer"].partition("\nSolution:\n")[2], row["label"]) for row in rows]
    compare(read, expected)


def read_openr(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Find the steps as OpenR does, which looks for the token of the marker in the whole text."""
    text = f"{row['question']} {row['process']}".removeprefix(f"{row['question']} ")
    *steps, rest = text.split(" \n\n\n\n\n")
    assert rest == ""
    return list(zip(steps, row["label"], strict=True))


def read_er_prm(row: Mapping[str, Any], question: str) -> list[tuple[str, float]]:
    """Find the steps as ER-PRM does, which joins the lines first."""
    text = row["text"].removeprefix(f"{question}\n").replace(" ки\n", " ки")
    *steps, rest = text.split(" ки")
    assert rest == ""
    return list(zip(steps, row["value"], strict=True))


def stripped(steps: Sequence[str]) -> list[str]:
    return [step.strip() for step in steps]


def signs(verdicts: Sequence[str]) -> list[str]:
    """Return "+" for correct steps, and "-" for others."""
    return ["+" if verdict == "correct" else "-" for verdict in verdicts]


def supervised(exports: Exports, condition: str) -> list[tuple[Any, ...]]:
    """Return the question, the stripped steps and the labels of some kept traces."""
    rows = exports.query(f"""
        SELECT question, steps, [step.label FOR step IN labels], [step.value FOR step IN labels],
          first_error
        FROM kept WHERE NOT contains(solution, 'ки') AND {condition}
    """)
    return [(question, stripped(steps), *rest) for question, steps, *rest in rows]


def test_openr_chains_are_read_back(exports: Exports) -> None:
    rows = exports.rows(OpenR())
    read = [(row["question"], *read_openr(row)) for row in rows]
    expected = []
    everything = exports.query("""
        SELECT question, steps, [step.label FOR step IN labels], first_error
        FROM kept WHERE first_error IS NOT NULL
    """)
    for question, steps, labels, first_error in everything:
        end = first_error + 1 if first_error >= 0 else len(steps)
        marked = list(zip(stripped(steps), signs(labels), strict=True))
        expected.append((question, *marked[:end]))
    compare(read, expected)


def test_er_prm_values_are_read_back(exports: Exports) -> None:
    rows = exports.rows(ErPrm())
    read = []
    for row in rows:
        question = row["text"][: row["text"].index("\x1b[0m") + len("\x1b[0m")]
        read.append((question, *read_er_prm(row, question)))
    expected = []
    has_values = "NOT list_contains([step.value IS NULL FOR step IN labels], true)"
    for question, steps, _, step_values, _ in supervised(exports, has_values):
        expected.append((question, *zip(steps, step_values, strict=True)))
    compare(read, expected)


def test_visualprm_becomes_signs(exports: Exports) -> None:
    rows = exports.rows(VisualPrm())
    read = []
    for row in rows:
        assert row["image"] is None
        turns = []
        for step in row["steps_with_score"]:
            # The conversion of InternVL with its threshold 0.
            turns.append((step["step"], "+" if step["score"] > 0 else "-"))
            assert step["score"] == step["num_mc_correct"] / step["num_mc_total"]
        read.append((row["question"], row["response"], *turns))
    expected = []
    for question, solution, steps, verdicts in exports.query("""
        SELECT question, solution, kept.steps, [step.verdict FOR step IN annotations.steps]
        FROM kept JOIN annotations USING (trace_id)
        WHERE NOT list_contains([step.verdict FOR step IN annotations.steps], 'unknown')
    """):
        marked = zip(stripped(steps), signs(verdicts), strict=True)
        expected.append((question, solution, *marked))
    compare(read, expected)


def read_refinement(row: Mapping[str, Any]) -> tuple[str, str, str]:
    request, target = read_chat(row)
    question, _, rest = request.partition("\n\nThe draft below")
    return question, rest.partition("\n\nDraft:\n")[2], target


def test_openr_steps_have_no_margins() -> None:
    """Export steps of an imported list, which are not stripped."""
    trace = replace(TRACE, steps=("\na\n", "b\n\n\n\n\n"), metadata={SEPARATOR: ""})
    label = replace(LABEL, steps=(StepLabel(label=GOOD),) * 2)
    [row] = OpenR().rows(Example(problem=PROBLEM, trace=trace, label=label))
    assert not isinstance(row, LeftOut)
    assert row["process"] == "a \n\n\n\n\nb \n\n\n\n\n"


def right_and_wrong() -> list[Example]:
    """Return two traces of one problem, each with a rollout from its first step."""
    examples = []
    for name, outcome in (("t0", GOOD), ("t1", BAD)):
        trace = replace(TRACE, trace_id=name, steps=("a\n", f"{name}\n"), outcome=UNKNOWN)
        label = replace(LABEL, trace_id=name, steps=(StepLabel(label=GOOD), StepLabel()))
        steps = ("b\n", f"end of {name}")
        rollout = replace(
            ROLLOUT,
            trace_id=name,
            steps=steps,
            text="".join(steps),
            outcome=outcome,
            finish_reason="stop",
        )
        other = replace(
            rollout, steps=("c\n",), text="c\n", outcome=BAD if outcome is GOOD else UNKNOWN
        )
        examples.append(
            Example(problem=PROBLEM, trace=trace, label=label, rollouts=(rollout, other))
        )
    return examples


def test_ids_are_those_of_the_text() -> None:
    first, second = right_and_wrong()
    # The step b is tried by both traces, and the end of the chosen answer is from the second one.
    pairs = exported_rows(StepPairs(whole=True), [second, first])
    [row] = [pair for pair in pairs if isinstance(pair, ExportedRow) and pair.row["at"] == 1]
    [chosen] = row.row["chosen"]
    assert chosen["content"] == "a\nb\nend of t0"
    assert column(row.examples, "trace.trace_id") == ["t0"]
    items = list(exported_rows(Rollouts(per_problem=1), [first, second]))
    [row] = [item for item in items if isinstance(item, ExportedRow)]
    assert column(row.examples, "trace.trace_id") == ["t0"]


def test_global_refinement_ends_right(exports: Exports) -> None:
    rows = [read_refinement(row) for row in exports.rows(Refinement())]
    drafts = exports.query("""
        SELECT question, solution FROM kept WHERE outcome = 'incorrect' AND question IN (
          SELECT question FROM kept WHERE outcome = 'correct' AND NOT has_error
        )
    """)
    compare([row[:2] for row in rows], drafts)
    right = exports.query(
        "SELECT question, solution FROM kept WHERE outcome = 'correct' AND NOT has_error"
    )
    for question, _, target in rows:
        assert (question, target) in right


def test_local_refinement_keeps_sound_prefix(exports: Exports) -> None:
    rows = [read_refinement(row) for row in exports.rows(Refinement(style="local"))]
    first_errors = {}
    for question, solution, steps, first_error in exports.query(
        "SELECT question, solution, steps, first_error FROM kept"
        " WHERE outcome = 'incorrect' AND first_error >= 0"
    ):
        first_errors[question, solution] = "".join(steps[:first_error])
    solutions = exports.query("""
        SELECT question, array_to_string(solutions.steps, '')
        FROM solutions JOIN problems USING (problem_id) WHERE outcome = 'correct'
    """)
    for question, draft, target in rows:
        prefix, _, rest = draft.partition("[BAD] ")
        assert first_errors[question, prefix + rest] == prefix
        assert target.startswith(prefix)
        assert (question, target) in solutions


@pytest.mark.parametrize(
    ("exporter", "outcome", "label", "reason"),
    [
        (Outcomes(), UNKNOWN, GOOD, "its final answer is undecided"),
        (Kto(), GOOD, BAD, "a step of a correct answer is incorrect"),
        (Sft(), BAD, BAD, "its final answer is incorrect"),
        (Pairs(), GOOD, GOOD, "its problem has no further solution to pair it with"),
        (StepPairs(), GOOD, GOOD, "its problem has no such pair of steps"),
        (Refinement(), BAD, BAD, "its problem has no right solution"),
        (Refinement(style="local"), BAD, UNKNOWN, "its first error is undecided"),
        (
            Refinement(style="local"),
            BAD,
            BAD,
            "no correct solution continues the steps before its first error",
        ),
        (Rollouts(), GOOD, GOOD, "its problem has too few rollouts"),
        (VisualPrm(), GOOD, GOOD, "a step has no decided rollout"),
        (PrefixValues(), GOOD, GOOD, "a step has no value"),
        (ErPrm(), GOOD, GOOD, "a step has no value"),
        (OpenR(), GOOD, UNKNOWN, "a step is undecided"),
    ],
)
def test_unfit_solutions_are_counted(
    exporter: Format, outcome: Verdict, label: Verdict, reason: str
) -> None:
    trace = replace(TRACE, steps=("a\n",), outcome=outcome)
    trace_label = replace(
        LABEL, steps=(StepLabel(label=label),), first_error=first_error_of([label])
    )
    example = Example(problem=PROBLEM, trace=trace, label=trace_label)
    assert list(exported_rows(exporter, [example])) == [LeftOut(reason)]


def test_markers_in_text_are_left_out() -> None:
    label = replace(LABEL, steps=(StepLabel(label=BAD, value=0.5),), first_error=0)
    cases: list[tuple[Format, str]] = [
        (OpenR(), "a\n\n\n\n\nb"),
        (ErPrm(), "книжки"),
        (Refinement(style="local"), "a [BAD] b"),
    ]
    for exporter, text in cases:
        example = Example(
            problem=PROBLEM, trace=replace(TRACE, steps=(text,), outcome=BAD), label=label
        )
        [item] = exported_rows(exporter, [example])
        assert isinstance(item, LeftOut)
        assert "its text holds" in item.reason
