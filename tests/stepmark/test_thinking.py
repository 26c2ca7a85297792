"""Thinking: final answers and replies of judges are read behind the same markers."""

import time

import pytest

from annotators.judging.reply_parser import read_verdicts
from stepmark.final_answers import final_answer
from stepmark.records import Verdict
from stepmark.thinking import after_thinking

MARKERS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("<Think>", "</Think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
]


@pytest.mark.parametrize(("start", "end"), MARKERS)
def test_response_follows_thinking(start: str, end: str) -> None:
    assert after_thinking(f"{start}a{end}b") == "b"
    assert after_thinking(f"a{end}b") == "b"
    assert after_thinking(f"{start}a{end}b{start}c{end}d") == "d"


@pytest.mark.parametrize(("start", "end"), MARKERS)
def test_thinking_without_end_has_no_response(start: str, end: str) -> None:
    assert after_thinking(f"{start}a") is None
    assert after_thinking(f"{start}a{end}b{start}c") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 < 2 and [0, 1]",
        "He has <<1+2=3>>3 apples.",
        "I think [that] it is <b>5</b>.",
        "a <-> b <= c </",
        "<th>5</th>",
    ],
)
def test_other_text_is_response(text: str) -> None:
    assert after_thinking(text) == text


@pytest.mark.parametrize(("start", "end"), MARKERS)
def test_answers_and_verdicts_share_markers(start: str, end: str) -> None:
    draft = f"{start}The answer is 3.\nStep 1: incorrect\n{end}\n"
    text = f"{draft}Step 1: correct\nThe answer is 4."
    assert final_answer(text) == "4"
    assert read_verdicts(text, 1)[0].verdict is Verdict.CORRECT
    unfinished = f"Step 1: correct\nThe answer is 4.\n{start}Wait."
    assert final_answer(unfinished) is None
    assert read_verdicts(unfinished, 1)[0].verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("text", ["<think>" * 150_000, "</think>" * 125_000, "[THINK" * 160_000])
def test_hostile_thinking_takes_linear_time(text: str) -> None:
    started = time.process_time()
    after_thinking(text)
    assert time.process_time() - started < 2
