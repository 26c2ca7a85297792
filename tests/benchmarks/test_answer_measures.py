"""The measures of `answers` count verdicts on floats and on solutions that people graded."""

from benchmarks.answer_measures import measure_floats, measure_solutions

WORKED = [
    {"solution": r"So it is $\boxed{\frac{22}{9}}$."},
    {"solution": r"Again it is $\boxed{\frac{22}{9}}$."},
    {"answer": r"\frac{\sqrt{7}}{14}"},
    # The float has 14 digits only.
    {"answer": r"-\sqrt{11}-1"},
    # No floats: a formula, a whole number, no fraction, a list, and a text.
    {"answer": r"\frac{x}{2}"},
    {"answer": r"\frac{4}{2}"},
    {"answer": "7"},
    {"answer": r"\frac{1}{2}, \frac{1}{3}"},
    {"answer": r"\frac{1}{2} " + "is so " * 20},
    # Too small for a float.
    {"answer": r"\frac{1}{2004!}"},
]
GRADED = [
    {
        "ground_truth": "2 + 2 = 4\nA: 4",
        "small": {"solution": "A: 5", "is_correct": False},
        "large": {"solution": "A: 4", "is_correct": True},
    },
    {
        "ground_truth": "A: 6",
        "small": {"solution": "no idea", "is_correct": False},
        "large": {"solution": "A: 3-1", "is_correct": False},
    },
    {"ground_truth": "A: 8", "small": {"solution": "A: 8", "is_correct": False}},
]


def test_floats_of_exact_answers_are_correct() -> None:
    table = measure_floats(WORKED)
    assert table.counts == {"fraction": {"correct": 1}, "root": {"correct": 2}}
    assert not table.incorrect


def test_verdicts_are_compared_with_people() -> None:
    table = measure_solutions(GRADED)
    assert table.counts["large"] == {"agrees": 1, "undecided": 1}
    assert table.counts["small"] == {"agrees": 1, "no final answer": 1, "disagrees": 1}
    assert table.disagreements == [("8", "8")]
