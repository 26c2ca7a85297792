"""`stepmark show`: one trace for people, with everything that the dataset contains about it."""

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.__main__ import main
from pipelines.trace_display import TraceDisplay
from stepmark.errors import ConfigError
from storage.dataset.dataset import Dataset
from storage.dataset.tables import TRACES, annotations, discovered, rollouts
from storage.queries.trace_details import TraceDetails, find_trace, read_details, select_traces
from tests.columns import column
from tests.storage.samples import (
    ANNOTATION,
    BAD,
    CRITIQUE,
    DISCOVERED,
    GOOD,
    LABEL,
    PROBLEM,
    ROLLOUT,
    TRACE,
    fill,
    labelled,
)

HOSTILE = "\x1b]0;title\x07[red]\u202e[/red]\r"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = Dataset(str(tmp_path / "dataset"))
    fill(made)
    return made


@pytest.fixture
def details(dataset: Dataset) -> TraceDetails:
    return read_details(dataset, find_trace(dataset, "t0"))


def rendered(details: TraceDetails, width: int = 80, encoding: str = "utf-8") -> str:
    """Return the display with critiques and rollouts, without colours."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    console = Console(file=file, width=width)
    console.print(TraceDisplay(details=details, critiques=True, rollouts=True))
    file.seek(0)
    return file.read()


def show(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[object, str, str]:
    """Run the command, and return its exit status, output and errors."""
    monkeypatch.setattr(sys, "argv", ["stepmark", "show", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return (ended.value.code or 0, *capsys.readouterr())


def test_details_are_those_of_the_trace(details: TraceDetails) -> None:
    assert details == TraceDetails(
        trace=TRACE,
        problem=PROBLEM,
        annotations=[ANNOTATION],
        label=LABEL,
        critiques=[CRITIQUE, replace(CRITIQUE, step=1, verdicts=(BAD,))],
        rollouts=[ROLLOUT],
    )


def test_trace_is_found_in_its_shard(dataset: Dataset) -> None:
    dataset.write_part(TRACES, 3, [replace(TRACE, trace_id="u1")], "f")
    dataset.write_part(annotations("judge"), 3, [replace(ANNOTATION, trace_id="u1")], "f")
    dataset.write_part(discovered("tree_search"), 0, [DISCOVERED], "f")
    found = read_details(dataset, find_trace(dataset, "u"))
    assert (found.problem, found.label) == (None, None)
    assert column(found.annotations, "trace_id") == ["u1"]
    assert read_details(dataset, find_trace(dataset, "t3")).trace == DISCOVERED


def test_prefix_must_be_unique(dataset: Dataset) -> None:
    dataset.write_part(TRACES, 1, [replace(TRACE, trace_id="t01")], "f")
    # The id of a trace names this trace, although another id begins with it.
    assert find_trace(dataset, "t0").trace_id == "t0"
    with pytest.raises(ConfigError, match="4 traces have an id that begins with 't', such as t0, "):
        find_trace(dataset, "t")
    with pytest.raises(ConfigError, match=r"no trace whose id begins with '\\x1b'"):
        find_trace(dataset, "\x1b")


def test_condition_selects_traces(dataset: Dataset) -> None:
    def select(where: str, limit: int = 5, *, at_random: bool = False) -> tuple[set[str], int]:
        locations, count = select_traces(dataset, where, limit, at_random=at_random)
        return {location.trace_id for location in locations}, count

    assert select("") == ({"t0", "t1", "t2"}, 3)
    assert select("kept -- and more") == ({"t0", "t1"}, 2)
    assert select("judge_first_error IS NULL AND judge_error IS NOT NULL") == ({"t0"}, 1)
    assert select("false") == (set(), 0)
    chosen, count = select("kept", 1, at_random=True)
    assert (len(chosen), count) == (1, 2)
    assert chosen < {"t0", "t1"}
    with pytest.raises(ConfigError, match="the query failed"):
        select("nothing = 1")
    with pytest.raises(ConfigError, match="the query failed"):
        select("true); DROP TABLE x; SELECT (1")


def test_display_contains_every_text(details: TraceDetails) -> None:
    texts = [PROBLEM.question, *TRACE.steps, "because", "agree", "it broke", "some/model,"]
    texts += [CRITIQUE.text, ROLLOUT.text, "1 of 2, 3 unknown; neutral in the source;"]
    for method in ("judge", "m" * 63):
        named = replace(details, annotations=[replace(ANNOTATION, method=method)])
        for width in (80, 160):
            text = rendered(named, width)
            for expected in texts:
                assert set(expected.split()) <= set(text.split()), (width, expected)
            assert max(map(len, text.splitlines())) <= width


def test_first_errors_are_marked(details: TraceDetails) -> None:
    _, label = labelled("t0", GOOD, BAD, BAD)
    judge = replace(ANNOTATION, first_error=1)
    text = rendered(replace(details, label=label, annotations=[judge]))
    assert "step 1  first error: label, judge\n" in text.replace(" \n", "\n").replace(" \n", "\n")
    assert "step 0\n" in text.replace(" \n", "\n")


def test_overview_has_a_mark_per_step(details: TraceDetails) -> None:
    lines = [line.split() for line in rendered(details).splitlines()]
    assert ["label", "✓", "✓", "✓"] in lines
    assert ["judge", "✓", "✗", "?"] in lines
    ascii_lines = [line.split() for line in rendered(details, encoding="ascii").splitlines()]
    assert ["judge", "+", "x", "?"] in ascii_lines


def test_long_traces_have_several_overviews(details: TraceDetails) -> None:
    trace, label = labelled("t0", *[GOOD] * 40)
    judge = replace(ANNOTATION, steps=(ANNOTATION.steps[0],) * 40)
    long = replace(details, trace=trace, label=label, annotations=[judge], critiques=[])
    lines = [line.split() for line in rendered(long).splitlines()]
    marks = [len(line) - 1 for line in lines if line[:1] == ["judge"] and set(line[1:]) == {"✓"}]
    assert len(marks) > 1
    assert sum(marks) == 40


def test_hostile_text_is_visible(dataset: Dataset) -> None:
    trace = replace(TRACE, steps=(HOSTILE,) * 3, model=HOSTILE, metadata={HOSTILE: HOSTILE})
    dataset.write_part(TRACES, 0, [trace], "f")
    dataset.write_part(rollouts("judge"), 0, [replace(ROLLOUT, text=HOSTILE)], "f")
    text = rendered(read_details(dataset, find_trace(dataset, "t0")), width=200)
    assert not set("\x1b\x07\r\u202e") & set(text)
    assert "\\x1b]0;title\\x07[red]\\u202e[/red]\\x0d" in text


def test_command_prints_and_counts(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_dataset = ["--dataset", dataset.uri]
    status, out, err = show(["t0", *in_dataset], monkeypatch, capsys)
    assert (status, err) == (0, "")
    assert "2 replies of judges: --critiques prints them" in out
    assert "1 rollouts (1 unknown): --rollouts prints them" in out
    _, out, _ = show(["--where", "kept", *in_dataset], monkeypatch, capsys)
    assert out.rstrip().endswith("1 of 2 traces; --limit shows more")
    _, out, _ = show(["t0", "--json", *in_dataset], monkeypatch, capsys)
    assert show(["--where", "false", *in_dataset], monkeypatch, capsys) == (
        0,
        "no trace fulfils the condition\n",
        "",
    )
    record = json.loads(out)
    assert record["trace"]["steps"] == list(TRACE.steps)
    assert record["rollouts"][0]["seed"] == ROLLOUT.seed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a trace, or choose some with --where or --random"),
        (["t0", "--random"], "name a trace, or choose some with --where or --random"),
        (["x"], "no trace whose id begins with 'x'"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: Sequence[str],
    message: str,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = show([*arguments, "--dataset", dataset.uri], monkeypatch, capsys)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
