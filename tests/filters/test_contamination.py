"""Contamination: evaluation questions found in ours."""

import json
from pathlib import Path

import pytest

from filters.contamination import Contamination
from stepmark.errors import InputError
from tests.filters.samples import candidate, drops

# Twenty words: runs of eight that start at 0 … 12.
TEST = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
WORDS = TEST.split()


def file(folder: Path, *rows: object, name: str = "test.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def against(path: str, **parameters: object) -> Contamination:
    return Contamination(against=({"use": "files", "paths": [path]},), **parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "share"),
    [
        (TEST, "100%"),
        (TEST.upper().replace(" ", ",\n"), "100%"),
        ("Tell me: " + TEST + "? Now.", "100%"),
        (" ".join(WORDS[:11]), "55%"),
        (" ".join(WORDS[:10]), None),
        (" ".join(WORDS[:7]), None),
        (" ".join([*WORDS[:8], "and", *WORDS[12:]]), "80%"),
        (" ".join([*WORDS[:7], "and", *WORDS[8:15]]), None),
        (" ".join(WORDS[::-1]), None),
        ("", None),
        ("?!", None),
    ],
)
def test_a_question_is_dropped_when_shared_runs_cover_more_than_half_of_an_evaluated_one(
    tmp_path: Path, question: str, share: str | None
) -> None:
    filter_ = against(file(tmp_path, {"question": "a b c d e f g h i j"}, {"question": TEST}))
    dropped = drops(
        filter_, [candidate("t0", question=question), candidate("t1", question=question)]
    )
    reason = f"{share} of question 2 of test.jsonl"
    assert dropped == ({"t0": reason, "t1": reason} if share else {})


def test_a_long_question_of_ours_may_hold_a_whole_evaluated_one(tmp_path: Path) -> None:
    """The share is of the evaluation question: ours may be a hundred times as long."""
    ours = " ".join(f"word{number}" for number in range(2_000))
    filter_ = against(file(tmp_path, {"question": TEST}))
    assert drops(filter_, [candidate("t", question=f"{ours} {TEST} {ours}")]) == {
        "t": "100% of question 1 of test.jsonl"
    }


def test_a_short_evaluation_question_is_found_as_a_whole_only(tmp_path: Path) -> None:
    filter_ = against(file(tmp_path, {"question": "What is 2 + 3?"}))
    assert drops(filter_, [candidate("t", question="what is 2 3")]) == {
        "t": "100% of question 1 of test.jsonl"
    }
    assert drops(filter_, [candidate("t", question="Well, what is 2 + 3?")]) == {}


def test_runs_of_two_evaluation_questions_are_not_added_up(tmp_path: Path) -> None:
    first, second = " ".join(WORDS[:8]), " ".join(WORDS[8:16])
    halves = file(
        tmp_path,
        {"question": f"{first} a b c d e f g h i"},
        {"question": f"{second} j k l m n o p q r"},
    )
    assert drops(against(halves), [candidate("t", question=TEST)]) == {}


def test_the_run_and_the_share_are_parameters(tmp_path: Path) -> None:
    path = file(tmp_path, {"question": TEST})
    ours = [candidate("t", question=" ".join(WORDS[:10]))]
    assert drops(against(path, share=0.49), ours) == {"t": "50% of question 1 of test.jsonl"}
    assert drops(against(path, share=0.49, ngram=11), ours) == {}


def test_sets_of_every_kind_of_file_and_column_are_read(tmp_path: Path) -> None:
    first = file(
        tmp_path, {"problem": {"text": TEST}, "answer": 3}, {"problem": {"text": TEST}, "answer": 3}
    )
    csv = tmp_path / "second.csv"
    csv.write_text('id,prompt\n1,"How many legs have seven cats and nine dogs together?"\n')
    filter_ = Contamination(
        against=(
            {"use": "files", "paths": [first], "fields": {"question": "problem.text"}},
            {"use": "files", "paths": [str(csv)], "fields": {"question": "prompt"}},
        )
    )
    ours = [
        candidate("a", question=TEST),
        candidate(
            "b", problem="q", question="How many legs have seven cats and nine dogs together?"
        ),
    ]
    assert drops(filter_, ours) == {
        "a": "100% of question 1 of test.jsonl",
        "b": "100% of question 1 of second.csv",
    }


def test_a_data_set_by_name_is_read(tmp_path: Path) -> None:
    """A folder laid out like a data set of the Hub stands for one."""
    (tmp_path / "set").mkdir()
    file(tmp_path / "set", {"question": TEST}, name="train.jsonl")
    filter_ = Contamination(against=({"use": "huggingface", "name": str(tmp_path / "set")},))
    assert drops(filter_, [candidate("t", question=TEST)]) == {
        "t": f"100% of question 1 of {tmp_path / 'set'}"
    }


def test_the_content_is_the_questions(tmp_path: Path) -> None:
    path = file(tmp_path, {"question": TEST})
    before = against(path).digest()
    assert against(path).digest() == before
    file(tmp_path, {"question": TEST + " more"})
    assert against(path).digest() != before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "an evaluation set has no question; name the column with fields"),
        ([{"prompt": TEST}], "has no field 'question'; it has: prompt"),
        (
            [{"question": TEST}, {"question": ""}],
            "row 2, field 'question': empty; an evaluation set is compared whole",
        ),
    ],
)
def test_a_set_that_cannot_be_compared_whole_is_told(
    tmp_path: Path, rows: list[object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        against(file(tmp_path, *rows)).digest()


def test_a_set_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nowhere\.jsonl does not exist|no file matches .*nowhere\.jsonl"
    ):
        against(str(tmp_path / "nowhere.jsonl")).digest()
