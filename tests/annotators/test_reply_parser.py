"""Replies: verdicts are read in a known form or not at all, and a reply can do no harm."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.judging.reply_parser import (
    MAX_REPLY_CHARS,
    StepVerdict,
    read_verdicts,
    reply_schema,
)
from tests.annotators.simulated import C, I, U

HUGE = MAX_REPLY_CHARS - 100


def read(reply: str, steps: int = 3) -> str:
    return "".join(said.verdict[0] for said in read_verdicts(reply, steps))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Step 1: correct\nStep 2: incorrect\nStep 3: correct", "cic"),
        ("step 1: CORRECT\nSTEP 2: Incorrect.\nStep 3 - correct!", "cic"),
        ("Step 1: correct\r\nStep 2: incorrect\r\nStep 3: correct\r\n", "cic"),
        ("**Step 1**: Correct\n### Step 2: **incorrect**\n- Step 3: *correct*.", "cic"),
        ("Step 1: \\boxed{correct}\nStep 2: $\\boxed{incorrect}$\nStep 3: \\text{correct}", "cic"),
        ("> Step 1 : `correct`\n| Step 2 | incorrect |\n1) Step 3: correct", "ciu"),
        ("Step 2: incorrect\nStep 1: correct", "ciu"),
        (
            "First some words.\n\nStep 1: 24 + 7 = 31, so this is correct\n\nStep 2: the sum is 9, not 8: incorrect",
            "ciu",
        ),
        ("Step 1: x = 3 or -3, correct\nStep 2: it is not nine: incorrect", "ciu"),
        ("Step 3: builds on step 2, which is incorrect", "uui"),
        # no line of the form
        ("", "uuu"),
        ("All steps are correct.", "uuu"),
        ("correct\nincorrect", "uuu"),
        ("Step 1\ncorrect\nStep\n2: incorrect", "uuu"),
        ("Step one: correct", "uuu"),
        ("Steps 1 to 3: correct", "uuu"),
        ("The first step, Step 1: correct", "uuu"),
        ("Step 1: correct because 2 + 2 = 4", "uuu"),
        ("Step 1: incorrectly derived", "uuu"),
        ("Step 1.5x: correct\nStep 2nd: incorrect", "cuu"),
        # not so many steps
        ("Step 0: incorrect\nStep 4: incorrect\nStep 999999: incorrect\nStep 1: correct", "cuu"),
        ("Step 12345678: incorrect", "uuu"),
        # two verdicts on one step
        ("Step 1: correct\nStep 1: correct\nStep 2: correct\nStep 2: incorrect", "cuu"),
        # hedged
        ("Step 1: not correct\nStep 2: is not quite correct.\nStep 3: isn't correct", "uuu"),
        ("Step 1: correct or incorrect\nStep 2: correct/incorrect\nStep 3: never incorrect", "uuu"),
        ("Step 1: not correct\nStep 1: correct", "uuu"),
    ],
)
def test_reads_what_is_said_in_a_known_form(reply: str, said: str) -> None:
    assert read(reply) == said


@pytest.mark.parametrize(
    "reply",
    [
        "\n" * HUGE,
        "!\n" * (HUGE // 2),
        "_" * HUGE,
        "step" + " " * HUGE,
        "step\n" * (HUGE // 5),
        "Step 1 " * (HUGE // 7),
        "Step 1: " + "correct " * (HUGE // 8) + "x",
        "Step 1: correct" + "!" * HUGE + "x",
        "Step 1: " + "not " * (HUGE // 4) + "correct",
        "Step 1: " + "a" * HUGE,
        "Step " + "1" * HUGE + ": correct",
        "Step 1: " + "/ " * (HUGE // 2) + "correct",
        "Step 1: correct\ud800incorrectly\0" * (HUGE // 32),
    ],
    ids=lambda reply: repr(reply[:16]),
)
def test_a_hostile_reply_is_read_in_linear_time_and_says_nothing(reply: str) -> None:
    assert read(reply) == "uuu"


def in_json(*said: object) -> str:
    return json.dumps({"steps": said})


def step(number: object, verdict: object, critique: object = "2 + 2 = 4") -> dict[str, Any]:
    return {"step": number, "critique": critique, "verdict": verdict}


ALL = in_json(step(1, "correct"), step(2, "incorrect"), step(3, "unknown"))


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (ALL, "ciu"),
        (f"  {ALL}\r\n", "ciu"),
        (f"I look at each step.\n\n```json\n{ALL}\n```\n", "ciu"),
        (f"```python\n2 + 2\n```\nSo:\n```\n{ALL}\n```", "ciu"),
        (in_json(step(1, "correct", "```json {}"), step(2, "incorrect")), "ciu"),
        (in_json(step(2, "Incorrect"), step(1, "CORRECT")), "ciu"),
        (in_json({"step": 1, "verdict": "correct", "why": []}), "cuu"),
        # of another form, whole or in part
        (
            in_json(step(1, "correct"), 7, None, [], {}, step("2", "correct"), step(3, "right")),
            "cuu",
        ),
        (
            in_json(
                step(True, "incorrect"),
                step(2.0, "incorrect"),
                step(float("nan"), "correct"),
                step(None, "correct"),
            ),
            "uuu",
        ),
        (in_json(step(1, None), step(2, ["correct"]), step(3, float("inf"))), "uuu"),
        ('{"steps": {"step": 1, "verdict": "correct"}}', "uuu"),
        ('[\n{"step": 1, "verdict": "correct"}\n]', "uuu"),
        ('{"steps": []}', "uuu"),
        ('{"verdict": "correct"}', "uuu"),
        ('"correct"', "uuu"),
        (ALL[:-1], "uuu"),
        # not so many steps
        (
            in_json(
                step(0, "incorrect"),
                step(-1, "incorrect"),
                step(4, "incorrect"),
                step(10**30, "incorrect"),
            ),
            "uuu",
        ),
        # two verdicts on one step, or a key given twice
        (
            in_json(
                step(1, "correct"), step(1, "correct"), step(2, "correct"), step(2, "incorrect")
            ),
            "cuu",
        ),
        ('{"steps": [{"step": 1, "verdict": "correct", "verdict": "incorrect"}]}', "uuu"),
        (ALL[:-1] + ', "steps": []}', "uuu"),
        # what is no such JSON is read line by line
        ('{"steps": [\n{"step": 1, "verdict": "correct", "verdict": "incorrect"}\n]}', "uuu"),
        ('["Step 1: correct",\n"Step 2: incorrect"]', "ciu"),
        ("{x: 1}\nStep 1: correct", "cuu"),
    ],
)
def test_reads_json_of_the_schema(reply: str, said: str) -> None:
    assert read(reply) == said


def test_a_verdict_comes_with_its_words() -> None:
    assert read_verdicts(in_json(step(1, "correct", " it\nholds ")), 1) == [
        StepVerdict(C, "it\nholds")
    ]
    assert read_verdicts(in_json(step(1, "incorrect", ["no", "text"])), 1) == [
        StepVerdict(I, "['no', 'text']")
    ]
    assert read_verdicts("Well.\n- Step 1: 2 = 2, correct\n", 1) == [
        StepVerdict(C, "- Step 1: 2 = 2, correct")
    ]
    assert len(read_verdicts(in_json(step(1, "correct", "x" * 10_000)), 1)[0].rationale) == 500


@pytest.mark.parametrize(
    "reply",
    [
        "[" * MAX_REPLY_CHARS,
        '{"steps":' * (MAX_REPLY_CHARS // 9),
        '{"a":' * 1000 + "1" + "}" * 1000,
        '{"steps": [' + "[" * 100_000 + "]" * 100_000 + "]}",
        '{"steps": ' + "9" * (MAX_REPLY_CHARS - 20) + "}",
        '{"steps": [{"step": ' + "9" * 100_000 + ', "verdict": "correct"}]}',
        '{"steps": [{"step": 1e999999, "verdict": "correct"}]}',
        '{"steps": [{"step": NaN, "verdict": -Infinity}]}',
        '{"steps": [' + "{}," * 80_000 + "{}]}",
        '{"steps": [{"step": 1, "verdict": "' + "correct" * 30_000 + '"}]}',
        '{"steps": [{"step": 1, "verdict": "\\ud800correct"}]}',
        "```" * (MAX_REPLY_CHARS // 3),
        "```" + " " * (MAX_REPLY_CHARS - 3),
        "```json " * (MAX_REPLY_CHARS // 8),
        "```{" * (MAX_REPLY_CHARS // 4),
        "\0" * MAX_REPLY_CHARS,
    ],
    ids=lambda reply: repr(reply[:24]),
)
def test_hostile_json_says_nothing(reply: str) -> None:
    assert read(reply) == "uuu"


def test_lone_surrogates_in_a_critique_do_no_harm() -> None:
    (said,) = read_verdicts(
        '{"steps": [{"step": 1, "critique": "\\ud800", "verdict": "correct"}]}', 1
    )
    assert said == StepVerdict(C, "\ud800")


def test_a_reply_that_is_too_long_is_not_read() -> None:
    verdict = "Step 1: correct\n"
    assert read(verdict + " " * (MAX_REPLY_CHARS - len(verdict))) == "cuu"
    assert read(verdict + " " * MAX_REPLY_CHARS) == "uuu"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["correct", "incorrect", "Step 1: correct", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["steps", "step", "verdict", "critique"]), inner)
    ),
)


@given(JSON)
def test_any_json_is_read_without_harm(value: Any) -> None:
    for reply in (
        json.dumps(value),
        json.dumps({"steps": value}),
        f"```json\n{json.dumps({'steps': [value]}, indent=1)}\n```",
    ):
        assert [said.verdict in (C, I, U) for said in read_verdicts(reply, 2)] == [True, True]


@given(st.text(st.sampled_from('Step 12:\n`{}[]",*_corectin')))
def test_any_text_is_read_without_harm(reply: str) -> None:
    assert len(read_verdicts(reply, 3)) == 3


def test_the_schema_asks_for_every_step_a_critique_first() -> None:
    schema = json.loads(reply_schema(3))
    steps = schema["properties"]["steps"]
    assert (steps["minItems"], steps["maxItems"]) == (3, 3)
    assert list(steps["items"]["properties"]) == ["step", "critique", "verdict"]
    assert steps["items"]["properties"]["verdict"]["enum"] == ["correct", "incorrect", "unknown"]
