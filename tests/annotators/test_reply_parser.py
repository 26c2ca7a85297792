"""Parsing of judge replies: known forms are read, and hostile replies do no harm."""

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
from stepmark.records import Verdict
from tests.annotators.simulated import C, I, U
from tests.columns import column

# Smaller than the limit by more than the text around the repeated part.
HUGE = MAX_REPLY_CHARS - 100


def initials(reply: str, steps: int = 3) -> str:
    """Return the verdicts of a reply as initials: "ciu"."""
    return "".join(step_verdict.verdict[0] for step_verdict in read_verdicts(reply, steps))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Step 1: correct\nStep 2: incorrect\nStep 3: correct", "cic"),
        ("step 1: CORRECT\nSTEP 2: Incorrect.\nStep 3 - correct!", "cic"),
        ("Step 1: correct\r\nStep 2: incorrect\r\nStep 3: correct\r\n", "cic"),
        ("**Step 1**: Correct\n### Step 2: **incorrect**\n- Step 3: *correct*.", "cic"),
        ("Step 1: \\boxed{correct}\nStep 2: $\\boxed{incorrect}$\nStep 3: \\text{correct}", "cic"),
        ("> Step 1 : `correct`\n| Step 2 | incorrect |\n1) Step 3: correct", "ciu"),
        # Steps in any order.
        ("Step 2: incorrect\nStep 1: correct", "ciu"),
        (
            "First some words.\n\nStep 1: 24 + 7 = 31, so this is correct\n\n"
            "Step 2: the sum is 9, not 8: incorrect",
            "ciu",
        ),
        # These "or" and "not" do not belong to the verdict.
        ("Step 1: x = 3 or -3, correct\nStep 2: it is not nine: incorrect", "ciu"),
        ("Step 3: builds on step 2, which is incorrect", "uuu"),
        # No line of this form.
        ("", "uuu"),
        ("All steps are correct.", "uuu"),
        ("correct\nincorrect", "uuu"),
        ("Step 1\ncorrect\nStep\n2: incorrect", "uuu"),
        ("Step one: correct", "uuu"),
        ("Steps 1 to 3: correct", "uuu"),
        ("The first step, Step 1: correct", "uuu"),
        ("Step 1: correct because 2 + 2 = 4", "uuu"),
        ("Step 1: incorrectly derived", "uuu"),
        ("Step 1.5x: correct\nStep 2nd: incorrect", "uuu"),
        # Step numbers out of range.
        ("Step 0: incorrect\nStep 1: correct\nStep 2: correct", "uuu"),
        ("Step 1: correct\nStep 2: correct\nStep 3: correct\nStep 4: incorrect", "uuu"),
        ("Step 999999: incorrect\nStep 1: correct", "uuu"),
        # Fewer than all steps.
        ("Step 1: correct\nStep 2: incorrect", "ciu"),
        ("Step 12345678: incorrect", "uuu"),
        # Two verdicts on one step.
        ("Step 1: correct\nStep 1: correct\nStep 2: correct\nStep 2: incorrect", "cuu"),
        # Hedged verdicts.
        ("Step 1: not correct\nStep 2: is not quite correct.\nStep 3: isn't correct", "uuu"),
        ("Step 1: correct or incorrect\nStep 2: correct/incorrect\nStep 3: never incorrect", "uuu"),
        ("Step 1: not correct\nStep 1: correct", "uuu"),
    ],
)
def test_verdict_lines_are_read(reply: str, expected: str) -> None:
    assert initials(reply) == expected


@pytest.mark.parametrize(
    "line",
    [
        "wrong, 3 + 4 = 7 would be correct",
        "far from correct",
        "it cannot be correct",
        "only partially correct",
        "this could be correct",
        "might well be correct",
        "I am not sure that this is correct",
        "I doubt that this is correct",
        "hardly anything here is correct",
        "no part of it is correct",
        "nothing but the last number is correct",
        "the method is wrong; the sum is correct",
        "an error in the sign, the arithmetic is correct",
        "if x were positive, this would be correct",
        "if x > 0, this is correct",
        "unless x is 0, it is correct",
        "it seems correct",
        "apart from the unit, this is correct",
        "correct?",
        "is this correct?",
        "is this step correct? ...",
        "(not) correct",
        "not: correct",
        "in-correct",
        "~~correct~~",
        "incorrect -> correct",
        "neither right nor correct",
        "never correct",
        "it isn't correct",
        "everything except the sign is correct",
        "correct, wrong: correct",
        "❌ correct",
    ],
)
def test_negated_verdict_is_not_correct(line: str) -> None:
    assert initials(f"Step 1: correct\nStep 2: {line}")[:2] == "cu"


@pytest.mark.parametrize(
    "line",
    [
        "not incorrect",
        "it cannot be incorrect",
        "might be incorrect",
        "calling this incorrect",
        "the sum is correct, so not incorrect",
        "correct, incorrect",
        "correct or incorrect",
        "neither correct nor incorrect",
        "I do not see why this would be incorrect",
        "if x is 0, this is incorrect",
        "incorrect?",
        "nothing here is incorrect",
        "✅ incorrect",
    ],
)
def test_negated_verdict_is_not_incorrect(line: str) -> None:
    assert initials(f"Step 1: correct\nStep 2: {line}")[:2] == "cu"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("this is correct", "c"),
        ("This step is also correct.", "c"),
        ("If x = 3, then 2x = 6, so this is correct", "c"),
        ("I find no errors. Correct!", "c"),
        ("Without any mistakes: correct", "c"),
        ("7 × 2 = 14 — correct", "c"),
        ("[Verdict: **correct**]", "c"),
        ("Verdict: \\textbf{Correct}", "c"),
        ("The correct sum is 7, so this is incorrect", "i"),
        ("3 + 4 is not 8: incorrect", "i"),
        ("this is clearly incorrect.", "i"),
        ("It cannot be 8, hence incorrect", "i"),
        ("it would be 7. Therefore, the result is incorrect", "i"),
        ("**Incorrect** ❌", "i"),
    ],
)
def test_plain_verdict_is_read(line: str, expected: str) -> None:
    assert initials(f"Step 1: correct\nStep 2: {line}")[:2] == f"c{expected}"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        # A verdict on several steps, on a part of a step, or on another step.
        ("Step 1: fine. Step 2: incorrect\nStep 3: incorrect", "uui"),
        ("| Step 1 | ok | Step 2 | incorrect |\nStep 3: OK, step 2: incorrect", "uuu"),
        (
            "Step 1 → Step 2: incorrect\nStep 2 to 3: incorrect\nStep 3: as step 2: correct",
            "uuu",
        ),
        ("Step 1-3: incorrect\nStep 2–3: incorrect\nStep 3 - 3 + 4 = 7: correct", "uuc"),
        (
            "Step 1 & 2: incorrect\nStep 2 through 3 are incorrect\nStep 3, so this is correct",
            "uuc",
        ),
        ("Step 2.1: correct\nStep 2.2: the sum is off\nStep 3/3: incorrect", "uui"),
        ("Step 1: correct\nStep 2: fine, unlike step 1, which is incorrect", "cuu"),
        ("Step 2: independent of the previous step, which is incorrect", "uuu"),
        ("Step 2: uses 5 from step 1, and 5 + 2 = 8, which is incorrect", "uiu"),
        ("Step 2: it follows from step 1, so this is correct", "ucu"),
        ("Step 2: It builds on step 1. Correct.\nStep 3: Fine. Step 1. Incorrect.", "ucu"),
        # A verdict on a part, on a correction, or by somebody else.
        (
            "Step 1: Method: correct\nStep 2: It is bad. Logic: correct\nStep 3: nein, correct",
            "uuu",
        ),
        ("Step 1: Review 1: incorrect\nStep 2: According to the key: incorrect", "uuu"),
        ("Step 1: should be 7 instead of 8. With this change: correct", "uuu"),
        (
            "Step 1: should be 7 → correct\nStep 2: otherwise: correct\nStep 3: corrected: correct",
            "uuu",
        ),
        ("Step 1: a slip (7 and not 8). The rest: correct\nStep 2: Suppose: correct", "uuu"),
        ("Step 1: Any other value, such as 8, is incorrect", "uuu"),
        ("Step 1: It avoids dividing by zero, which is incorrect", "uuu"),
        ("Step 1: They wrote 8 but the sum is 7, which is correct", "uuu"),
        (
            "Step 1: It has 3 + 4 = 8, which is incorrect\nStep 2: 2 * 7 = 14, which is correct",
            "icu",
        ),
        ("Step 1: [ ] correct\nStep 2: ☐ incorrect\nStep 3: ✖ correct", "uuu"),
        # A verdict that is withdrawn, or that the last words contradict.
        ("Step 1: correct\nStep 2: correct\nWait, 12 is not 13.\nStep 3: incorrect", "cui"),
        ("Step 1: incorrect\nHmm, let me check. It is fine.\nStep 2: correct", "ucu"),
        ("Step 1: correct\nStep 2: correct\n\nThe first error is in step 2.", "uuu"),
        ("Step 1: correct\nStep 2: correct\n\nOverall: the solution is incorrect.", "uuu"),
        ("Step 1: correct\nStep 2: incorrect\n\nAll the steps are correct.", "uuu"),
        ("Step 1: correct\nStep 2: incorrect\nStep 3: correct\n\nThe error is in step 3.", "uuu"),
        ("Step 1: correct\nStep 2: incorrect\nis the form, but I cannot judge this.", "uuu"),
        ("Step 1: correct\nStep 2: correct\nUnable to judge.", "uuu"),
        ("Step 1: correct\nStep 2: correct\n\nI found a slip in step 2.", "uuu"),
        ("Step 1: correct\nStep 2: incorrect\n\nHowever, step 2 is in fact correct.", "uuu"),
        ("Step 1: correct\nStep 2: incorrect\n\nIn all, step 2 is not correct.", "ciu"),
        ("Step 1: correct\nStep 2: correct\nActually, 12 is not 13.", "uuu"),
        (
            "Step 1: correct\nStep 2: incorrect\nStep 3: incorrect\nThe error of step 2 stays.",
            "cii",
        ),
        ("Step 1: correct\nStep 2: correct\nThe solution does not contain any mistakes.", "ccu"),
    ],
)
def test_verdict_must_be_on_the_step(reply: str, expected: str) -> None:
    assert initials(reply) == expected


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
        "Step 1: " + "no " * (HUGE // 3) + "correct",
        "Step 1: no" + " " * HUGE + "correct",
        "Step 1: step 1" + ",1" * (HUGE // 2) + " correct?",
        "Step 1 and" + " " * HUGE + "correct?",
        "Step 1: " + ". " * (HUGE // 2 - 9) + "x step 2 correct",
        "Step 1: correct\n" + "all the " * (HUGE // 8) + "cannot judge",
        "Step 1: " + "correct and " * (HUGE // 12) + "incorrect",
        "Step 1: " + ". " * (HUGE // 2) + "if correct",
        "Step 1: " + "- " * (HUGE // 2) + "x correct",
        "<think>" * (HUGE // 7) + "Step 1: correct",
    ],
    ids=lambda reply: repr(reply[:16]),
)
def test_hostile_lines_have_no_verdict(reply: str) -> None:
    assert initials(reply) == "uuu"


def json_reply(*steps: object) -> str:
    return json.dumps({"steps": steps})


def step(number: object, verdict: object, critique: object = "2 + 2 = 4") -> dict[str, Any]:
    return {"step": number, "critique": critique, "verdict": verdict}


COMPLETE = json_reply(step(1, "correct"), step(2, "incorrect"), step(3, "unknown"))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (COMPLETE, "ciu"),
        (f"  {COMPLETE}\r\n", "ciu"),
        (f"I look at each step.\n\n```json\n{COMPLETE}\n```\n", "ciu"),
        (f"```python\n2 + 2\n```\nSo:\n```\n{COMPLETE}\n```", "ciu"),
        (json_reply(step(1, "correct", "```json {}"), step(2, "incorrect")), "ciu"),
        (json_reply(step(2, "Incorrect"), step(1, "CORRECT")), "ciu"),
        (json_reply({"step": 1, "verdict": "correct", "why": []}), "cuu"),
        # Violations of the schema, in the whole or in a part.
        (
            json_reply(step(1, "correct"), 7, None, [], {}, step("2", "correct"), step(3, "right")),
            "cuu",
        ),
        (
            json_reply(
                # In Python True equals 1, and 2.0 equals 2.
                step(True, "incorrect"),
                step(2.0, "incorrect"),
                step(float("nan"), "correct"),
                step(None, "correct"),
            ),
            "uuu",
        ),
        (json_reply(step(1, None), step(2, ["correct"]), step(3, float("inf"))), "uuu"),
        ('{"steps": {"step": 1, "verdict": "correct"}}', "uuu"),
        ('[\n{"step": 1, "verdict": "correct"}\n]', "uuu"),
        ('{"steps": []}', "uuu"),
        ('{"verdict": "correct"}', "uuu"),
        ('"correct"', "uuu"),
        # Truncated before the last brace.
        (COMPLETE[:-1], "uuu"),
        # Step numbers out of range.
        (
            json_reply(
                step(0, "incorrect"),
                step(-1, "incorrect"),
                step(4, "incorrect"),
                step(10**30, "incorrect"),
            ),
            "uuu",
        ),
        # Two verdicts on one step, or a duplicate key.
        (
            json_reply(
                step(1, "correct"), step(1, "correct"), step(2, "correct"), step(2, "incorrect")
            ),
            "cuu",
        ),
        ('{"steps": [{"step": 1, "verdict": "correct", "verdict": "incorrect"}]}', "uuu"),
        (COMPLETE[:-1] + ', "steps": []}', "uuu"),
        # Replies without a verdict in JSON are read line by line.
        ('{"steps": [\n{"step": 1, "verdict": "correct", "verdict": "incorrect"}\n]}', "uuu"),
        ('["Step 1: correct",\n"Step 2: incorrect"]', "ciu"),
        ("{x: 1}\nStep 1: correct", "cuu"),
    ],
)
def test_json_replies_are_read(reply: str, expected: str) -> None:
    assert initials(reply) == expected


DRAFT = json_reply(step(1, "incorrect"), step(2, "correct"))
SHORT = json_reply(step(1, "correct"), step(2, "incorrect"))


@pytest.mark.parametrize(
    "reply",
    [
        f"<think>hm</think>\n{SHORT}",
        f"<think>\n{DRAFT}\nStep 1: incorrect\n</think>\n\n{SHORT}",
        f"{DRAFT}</think>{SHORT}",
        f"[THINK]{DRAFT}[/THINK]{SHORT}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|channel|>final<|message|>{SHORT}",
        f"◁think▷{DRAFT}◁/think▷{SHORT}",
        f"<|begin_of_thought|>{DRAFT}<|end_of_thought|>{SHORT}",
        f"<scratchpad>Step 1: incorrect\n</scratchpad>{SHORT}",
        f"```json\n{SHORT}\n```\nDone.",
        f"```JSON\n{SHORT}\n```\n\n```\nx\n```",
        f"Here it is: {SHORT} I hope this helps {{x}}.",
        f'{{not JSON}} {{"a": 1}} {SHORT}',
        SHORT.replace("2 + 2 = 4", r"$\\sqrt{2}$"),
        SHORT.replace("2 + 2 = 4", r"$\sqrt{2}$, \( x \), \frac12, \u"),
        SHORT.replace("2 + 2 = 4", "two\nlines\tand a tab"),
        f"{SHORT}\n{SHORT}",
        "<think>Step 1: incorrect\n</think>Step 1: correct\nStep 2: incorrect",
        "Step 1: incorrect\n</think>\nStep 1: correct\nStep 2: incorrect",
    ],
)
def test_verdicts_are_read_anywhere(reply: str) -> None:
    assert initials(reply) == "ciu"


@pytest.mark.parametrize(
    "reply",
    [
        # Reasoning that does not end.
        f"<think>{SHORT}",
        f"</think><think>{SHORT}",
        f"◁think▷{SHORT}",
        # Two replies that disagree, and last words that do.
        f"{DRAFT}\n{SHORT}",
        f"{SHORT}\nThe first error is in step 1.",
        f"{SHORT}\nWait, 2 + 2 is 4.",
        f"{SHORT}\nStep 1: incorrect\nStep 2: correct",
        # Numbers of other steps.
        json_reply(step(0, "correct"), step(1, "correct"), step(2, "incorrect")),
        json_reply(
            step(1, "correct"), step(2, "correct"), step(3, "correct"), step(4, "incorrect")
        ),
        json.dumps(SHORT),
    ],
)
def test_unclear_json_has_no_verdict(reply: str) -> None:
    assert initials(reply) == "uuu"


def test_tex_in_json_is_kept() -> None:
    reply = SHORT.replace("2 + 2 = 4", r"$\sqrt{2} = \frac{2}{\sqrt 2}$ \(\beta\)")
    assert read_verdicts(reply, 1)[0].rationale == ""
    assert read_verdicts(reply, 2)[0].rationale == r"$\sqrt{2} = \frac{2}{\sqrt 2}$ \(\beta\)"


def test_rationale_is_the_replys_wording() -> None:
    assert read_verdicts(json_reply(step(1, "correct", " it\nholds ")), 1) == [
        StepVerdict(C, "it\nholds")
    ]
    assert read_verdicts(json_reply(step(1, "incorrect", ["no", "text"])), 1) == [
        StepVerdict(I, "['no', 'text']")
    ]
    assert read_verdicts("Well.\n- Step 1: 2 = 2, correct\n", 1) == [
        StepVerdict(C, "- Step 1: 2 = 2, correct")
    ]
    assert len(read_verdicts(json_reply(step(1, "correct", "x" * 10_000)), 1)[0].rationale) == 500


@pytest.mark.parametrize(
    "reply",
    [
        "[" * MAX_REPLY_CHARS,
        '{"steps":' * (MAX_REPLY_CHARS // 9),
        '{"a":' * 1000 + "1" + "}" * 1000,
        '{"steps": [' + "[" * 100_000 + "]" * 100_000 + "]}",
        # Python converts at most 4,300 digits to an integer.
        '{"steps": ' + "9" * (MAX_REPLY_CHARS - 20) + "}",
        '{"steps": [{"step": ' + "9" * 100_000 + ', "verdict": "correct"}]}',
        # This number overflows to infinity.
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
        '{"a": 1' * (MAX_REPLY_CHARS // 7),
        '{"' * (MAX_REPLY_CHARS // 2),
        '{"a": [' * (MAX_REPLY_CHARS // 7),
        '{"steps": [1, ' * (MAX_REPLY_CHARS // 13),
        '{"a": "' + "\\(" * (MAX_REPLY_CHARS // 2 - 10),
        '{"a": {"a": 1, "a": 2}} ' * (MAX_REPLY_CHARS // 24),
    ],
    ids=lambda reply: repr(reply[:24]),
)
def test_hostile_json_has_no_verdict(reply: str) -> None:
    assert initials(reply) == "uuu"


def test_lone_surrogates_are_kept() -> None:
    (step_verdict,) = read_verdicts(
        '{"steps": [{"step": 1, "critique": "\\ud800", "verdict": "correct"}]}', 1
    )
    assert step_verdict == StepVerdict(C, "\ud800")


def test_too_long_reply_is_not_read() -> None:
    verdict = "Step 1: correct\n"
    assert initials(verdict + " " * (MAX_REPLY_CHARS - len(verdict))) == "cuu"
    assert initials(verdict + " " * MAX_REPLY_CHARS) == "uuu"


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
def test_any_json_is_parsed(value: Any) -> None:
    for reply in (
        json.dumps(value),
        json.dumps({"steps": value}),
        f"```json\n{json.dumps({'steps': [value]}, indent=1)}\n```",
    ):
        step_verdicts = read_verdicts(reply, 2)
        assert len(step_verdicts) == 2
        assert all(step_verdict.verdict in (C, I, U) for step_verdict in step_verdicts)


@given(st.text(st.sampled_from('Step 12:\n`{}[]",*_corectin')))
def test_any_text_is_parsed(reply: str) -> None:
    assert len(read_verdicts(reply, 3)) == 3


def test_schema_puts_critique_before_verdict() -> None:
    schema = json.loads(reply_schema(3))
    steps = schema["properties"]["steps"]
    assert (steps["minItems"], steps["maxItems"]) == (3, 3)
    assert list(steps["items"]["properties"]) == ["step", "critique", "verdict"]
    # A verdict on a step that does not exist makes the whole reply unreadable.
    number = steps["items"]["properties"]["step"]
    assert (number["minimum"], number["maximum"]) == (1, 3)
    assert steps["items"]["properties"]["verdict"]["enum"] == ["correct", "incorrect", "unknown"]


QUOTED = ("x = 1.\n", "So 2 + 2 = 5, which is correct.\nStep 1: incorrect\n", "Step 2: correct\n")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        # The judge quotes a step that states a verdict, in several forms, and then judges it.
        ("> Step 2: So 2 + 2 = 5, which is correct.\nStep 2: incorrect", "uiu"),
        ("Step 2: So 2 + 2 = 5, which is correct.\nStep 2: incorrect", "uiu"),
        ("**Step 2:** *So 2 + 2 = 5, which is correct.*\nStep 2: incorrect", "uiu"),
        ("Step 2: correct\n> Step 1: incorrect\nStep 1: correct\nStep 3: incorrect", "cci"),
        ("> Step 2: correct\nStep 1: correct\nStep 2: incorrect\nStep 3: correct", "cic"),
        ("Step 2: correct\nStep 2: incorrect\nStep 1: correct", "ciu"),
        # A quotation at the end does not withdraw the verdicts.
        ("Step 2: incorrect\nStep 2: So 2 + 2 = 5, which is correct.", "uiu"),
        # A quotation alone is not a verdict.
        ("> Step 2: So 2 + 2 = 5, which is correct.", "uuu"),
        ("Step 2: So 2 + 2 = 5, which is correct.", "uuu"),
        # A judge can write its verdicts as a quotation, and in words of the solution.
        ("> Step 1: correct\n> Step 2: incorrect\n> Step 3: correct", "cic"),
        ("Step 1: incorrect\nStep 2: correct\nStep 3: correct", "icc"),
        # Two own verdicts remain a contradiction.
        ("Step 3: correct\nStep 3: this is incorrect", "uuu"),
    ],
)
def test_quotations_are_no_verdicts(reply: str, expected: str) -> None:
    verdicts = read_verdicts(reply, 3, QUOTED)
    assert "".join(verdict.verdict.value[0] for verdict in verdicts) == expected


def test_quoted_missing_step_withdraws_nothing() -> None:
    solution = ("x = 1.\nStep 99: this is correct\nWait, no.\n",)
    reply = "Step 1: correct\n> Step 99: this is correct\n> Wait, no.\nFine."
    assert column(read_verdicts(reply, 1, solution), "verdict.value") == ["correct"]


def test_copied_json_is_no_verdict() -> None:
    copied = '{"steps": [{"step": 1, "verdict": "correct"}]}'
    own = '{"steps": [{"step": 1, "critique": "wrong", "verdict": "incorrect"}]}'
    solution = (f"x = 1. {copied}\n",)
    assert read_verdicts(f"{copied}\n{own}", 1, solution)[0].verdict is Verdict.INCORRECT
    assert read_verdicts(copied, 1, solution)[0].verdict is Verdict.CORRECT


def test_hostile_quotations_are_found_fast() -> None:
    solution = ("step 1 " * 100_000, "> " * 100_000, "Step 1: correct\n" * 10_000)
    reply = "Step 1: correct\n" * 10_000 + "> Step 2: x\n" * 5_000
    assert read_verdicts(reply, 3, solution)[0].verdict is Verdict.CORRECT
