import time

import pytest

from stepmark.final_answers import final_answer, why_no_answer

CASES = [
    (r"so \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
    # The last box counts, without outer spaces.
    (r"\boxed{1}, no: \boxed{ 2 }", "2"),
    # Of nested boxes, the inner content is the answer.
    (r"\boxed{\boxed{5}}", "5"),
    # An escaped brace closes no box.
    (r"\boxed{\text{a \} b}}", r"\text{a \} b}"),
    (r"The answer is \(\boxed{156}\).", "156"),
    # The last box is not closed, and no earlier box replaces it.
    (r"\boxed{3} and then \boxed{4", None),
    (r"\boxed{}", None),
    # The format of GSM8K solutions.
    ("He has 3 + 4 = <<3+4=7>>7.\n#### 7", "7"),
    ("#### 1,000\n", "1,000"),
    ("#### $18.", "$18"),
    # A mark without an answer.
    ("#### ", None),
    ("Half of it is 9.\nA: 9", "9"),
    ("A: 1\nB: 2", None),
    ("So the answer is 8 without Tom.\nA: 9", "9"),
    ("Half of it is 9.\nA: The answer is 9.", "9"),
    ("The answer is $18.", "$18"),
    (r"The answer is \$18 per day", r"\$18"),
    # The next sentence and the unit are not part of the answer.
    ("The answer is 18 books. Because 3 * 6 = 18.", "18"),
    # A unit that converts into others stays.
    ("The answer is 18 dollars. Because 3 * 6 = 18.", "18 dollars"),
    ("The answer is 8 qt. Because 2 * 4 = 8.", "8 qt"),
    ("The answer is 5 kW.", "5 kW"),
    ("The answer is 3 decades.", "3 decades"),
    ("The answer is: \\(5\\).", "5"),
    ("the final answer is $5$.", "5"),
    ("Answer: 3.5.", "3.5"),
    ("The final answer is **12**.", "12"),
    ("**Answer:** 12 books", "12"),
    ("The answer is -5/6 of the cake.", "-5/6"),
    # Words and signs that change the meaning of a number stay.
    ("The answer is 12%.", "12%"),
    ("The answer is 5 pm.", "5 pm"),
    ("The answer is 3 or 4.", "3 or 4"),
    ("The answer is 2 million dollars", "2 million dollars"),
    # Closing sentences are not part of the answer.
    ("The answer is Friday. I hope it is correct.", "Friday"),
    ("Final Answer: The final answer is 161 minutes. I hope it is correct.", "161 minutes"),
    ("The answer is 3. Wait. The answer is 4.", "4"),
    (r"\fbox{7}", "7"),
    (r"\boxed {7}", "7"),
    # A denied box states nothing.
    (r"It isn't \boxed{5}.", None),
    (r"It isn’t $\boxed{5}$. It is \boxed{6}.", "6"),
    ("答案是5。", "5"),
    # Boxes in a row are one answer.
    (r"so x = \boxed{3} and y = \boxed{4}", "x = 3 and y = 4"),
    # A Markdown heading is not an answer.
    ("#### Step 2: Simplify\nIt is 5.\nThe answer is 5.", "5"),
    ("#### 5\nThat was all.", "5"),
    ("#### Friday", "Friday"),
    # Options of multiple-choice questions.
    ("The answer is (A).", "(A)"),
    ("The answer is B. 12 apples", "B"),
    ("The answer is option (C).", "(C)"),
    ("The correct choice is D.", "D"),
    ("The correct answer is **(B) 12**.", "(B) 12"),
    # Filler words before the answer are dropped, but no negation.
    ("The answer is therefore 5.", "5"),
    ("The answer is thus, simply 5.", "5"),
    ("The answer is not 5.", "not 5"),
    ("**Answer**: 12", "12"),
    ("Answer = 12", "12"),
    # Several formulas stay together.
    ("The answer is: $3$ and $4$.", "$3$ and $4$"),
    (r"The answer is \(x = 1\) or \(x = 2\).", r"\(x = 1\) or \(x = 2\)"),
    ("The answer is:\n$$\n\\frac{1}{2}\n$$\nDone.", r"\frac{1}{2}"),
    ("The final answer is:\n\\[ x = 5 \\]", "x = 5"),
    (r"The answer is $\{1, 2, 3\}$.", r"\{1, 2, 3\}"),
    # The brackets of a half-open interval do not match.
    ("The answer is [0, 1).", "[0, 1)"),
    ("The answer is 2 1/2 hours.", "2 1/2 hours"),
    ("The answer is x = 5.", "x = 5"),
    # Commas between digits do not end the answer.
    ("The answer is 1,234,567.", "1,234,567"),
    ("The answer is `42`.", "42"),
    # A choice that is not an option.
    ("The right choice is to wait.", None),
    ("#### ", None),
    ("Ben has 24 books and Ana 31.", None),
    ("", None),
]
HOSTILE = {
    # Long enough that quadratic time is far above the limit of 2 s.
    "open braces": "{" * 1_000_000,
    "an open box": r"\boxed{" + "{" * 1_000_000,
    "open boxes": r"\boxed{" * 150_000,
    "hashes": "#" * 1_000_000,
    "phrases": "answer: " * 125_000,
    "phrases in one sentence": "the answer is " * 70_000,
    "digits": "The answer is " + "1" * 1_000_000 + " apples",
    "spaces": "The answer is " + " " * 1_000_000 + "x",
    "line ends": "\n" * 1_000_000,
    "questions": "The answer is 5\n" + "Question:\n" * 100_000 + "The answer is 6",
    "blanks between boxes": r"\boxed{1}" + " $" * 500_000 + r"\boxed{2}",
    "tags": "<answer>" * 125_000,
    "thoughts": "<think>" * 140_000,
    "suppositions": "if the answer is 5 " * 50_000,
    "words behind a number": "The answer is 5 " + "ty " * 330_000,
    "words behind a box": r"\boxed{5} " + "made a " * 140_000,
}


@pytest.mark.parametrize(("text", "answer"), CASES)
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


REASONS = [
    ("2 + 2 = 4", "no final answer"),
    ("<think>The answer is 5.", "the thinking has no end"),
    (r"\boxed{5} and so on. Check: \boxed{6}.", "a check states another value"),
    ("The answer is 5. Wait, that is wrong.", "the answer is taken back"),
    ("\\boxed{5}\nThe answer is 7.", "two answers: 5 and 7"),
    (r"\boxed{5}", ""),
]


@pytest.mark.parametrize(("text", "reason"), REASONS)
def test_missing_answer_has_a_reason(text: str, reason: str) -> None:
    assert why_no_answer(text) == reason
    assert (final_answer(text) is None) is bool(reason)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_linear_time(name: str) -> None:
    started = time.process_time()
    final_answer(HOSTILE[name])
    # CPU time, so that other processes do not count.
    assert time.process_time() - started < 2
