"""The confusion table of answer pairs counts verdicts and lists contradictions."""

from benchmarks.answer_pairs import confusion

PAIRS = [
    {"answer": "1/2", "reference": "0.5", "expected": True, "source": "a"},
    {"answer": "2/4", "reference": "1/2", "expected": False, "source": "b"},
    {"answer": "3-1", "reference": "4-2", "expected": False, "source": "b"},
    {"answer": "The answer is 7.", "reference": "7", "expected": True, "source": "a"},
]


def test_verdicts_and_contradictions_are_counted() -> None:
    table = confusion(PAIRS)
    assert table["confusion"] == {
        "equal -> correct": 2,
        "different -> correct": 1,
        "different -> unknown": 1,
    }
    assert table["unknown_share"] == 0.25
    assert table["by_source"]["a"] == {"equal -> correct": 2}
    assert [row["answer"] for row in table["listed"]] == ["2/4"]
    assert len(confusion(PAIRS, list_unknown=True)["listed"]) == 2
