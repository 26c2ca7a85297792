"""Contamination: questions that contain evaluation questions."""

from pathlib import Path

import pytest

from filters.contamination import Contamination
from stepmark.errors import InputError
from tests.filters.samples import candidate, drops
from tests.json_lines import write_json_lines

# Twenty words with 13 n-grams of eight words.
TEST = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen twenty"
)
WORDS = TEST.split()
# Ten words: long enough for n-grams of eight words.
LEGS = "How many legs have seven cats and nine dogs together?"


def write_rows(folder: Path, *rows: object, name: str = "test.jsonl") -> str:
    return write_json_lines(folder / name, *rows)


def against(path: str, **parameters: object) -> Contamination:
    return Contamination(against=({"use": "files", "paths": [path]},), **parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "share"),
    [
        (TEST, "100%"),
        # Case, punctuation and line feeds do not count.
        (TEST.upper().replace(" ", ",\n"), "100%"),
        ("Tell me: " + TEST + "? Now.", "100%"),
        # Eleven of twenty words are covered; half of them is the limit.
        (" ".join(WORDS[:11]), "55%"),
        (" ".join(WORDS[:10]), None),
        # Shorter than one n-gram.
        (" ".join(WORDS[:7]), None),
        # Two runs of eight words, separated by another word.
        (" ".join([*WORDS[:8], "and", *WORDS[12:]]), "80%"),
        # No run of eight words.
        (" ".join([*WORDS[:7], "and", *WORDS[8:15]]), None),
        # The same words in another order.
        (" ".join(WORDS[::-1]), None),
        ("", None),
        ("?!", None),
    ],
)
def test_covered_question_is_dropped(tmp_path: Path, question: str, share: str | None) -> None:
    # The first evaluation question has no common word, so the reason names the second one.
    filter_ = against(write_rows(tmp_path, {"question": "a b c d e f g h i j"}, {"question": TEST}))
    dropped = drops(
        filter_, [candidate("t0", question=question), candidate("t1", question=question)]
    )
    reason = f"{share} of question 2 of test.jsonl"
    assert dropped == ({"t0": reason, "t1": reason} if share else {})


def test_long_question_can_contain_evaluated_one(tmp_path: Path) -> None:
    """Check that the share is of the evaluation question, not of the longer question."""
    text = " ".join(f"word{number}" for number in range(2_000))
    filter_ = against(write_rows(tmp_path, {"question": TEST}))
    assert drops(filter_, [candidate("t", question=f"{text} {TEST} {text}")]) == {
        "t": "100% of question 1 of test.jsonl"
    }


def test_short_evaluation_question_must_be_equal(tmp_path: Path) -> None:
    # Five words, fewer than one n-gram.
    filter_ = against(write_rows(tmp_path, {"question": "What is 2 + 3?"}))
    assert drops(filter_, [candidate("t", question="what is 2 3")]) == {
        "t": "100% of question 1 of test.jsonl"
    }
    assert drops(filter_, [candidate("t", question="Well, what is 2 + 3?")]) == {}


def test_shares_of_questions_are_not_added(tmp_path: Path) -> None:
    first = " ".join(WORDS[:8])
    second = " ".join(WORDS[8:16])
    # The question has eight of seventeen words of each, which is less than half.
    halves = write_rows(
        tmp_path,
        {"question": f"{first} a b c d e f g h i"},
        {"question": f"{second} j k l m n o p q r"},
    )
    assert drops(against(halves), [candidate("t", question=TEST)]) == {}


def test_ngram_and_share_are_parameters(tmp_path: Path) -> None:
    path = write_rows(tmp_path, {"question": TEST})
    candidates = [candidate("t", question=" ".join(WORDS[:10]))]
    assert drops(against(path, share=0.49), candidates) == {"t": "50% of question 1 of test.jsonl"}
    assert drops(against(path, share=0.49, ngram=11), candidates) == {}


def test_sets_in_several_formats_are_read(tmp_path: Path) -> None:
    first = write_rows(
        tmp_path, {"problem": {"text": TEST}, "answer": 3}, {"problem": {"text": TEST}, "answer": 3}
    )
    csv = tmp_path / "second.csv"
    csv.write_text(f'id,prompt\n1,"{LEGS}"\n')
    filter_ = Contamination(
        against=(
            {"use": "files", "paths": [first], "fields": {"question": "problem.text"}},
            {"use": "files", "paths": [str(csv)], "fields": {"question": "prompt"}},
        )
    )
    candidates = [
        candidate("a", question=TEST),
        candidate("b", problem="q", question=LEGS),
    ]
    assert drops(filter_, candidates) == {
        "a": "100% of question 1 of test.jsonl",
        "b": "100% of question 1 of second.csv",
    }


def test_dataset_is_read_by_name(tmp_path: Path) -> None:
    """Use a local folder with the layout of a data set of the Hub."""
    (tmp_path / "set").mkdir()
    write_rows(tmp_path / "set", {"question": TEST}, name="train.jsonl")
    filter_ = Contamination(against=({"use": "huggingface", "name": str(tmp_path / "set")},))
    assert drops(filter_, [candidate("t", question=TEST)]) == {
        "t": f"100% of question 1 of {tmp_path / 'set'}"
    }


def test_digest_depends_on_questions(tmp_path: Path) -> None:
    path = write_rows(tmp_path, {"question": TEST})
    before = against(path).digest()
    assert against(path).digest() == before
    # The path stays the same; only the content changes.
    write_rows(tmp_path, {"question": TEST + " more"})
    assert against(path).digest() != before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "an evaluation set has no question; name the column with fields"),
        ([{"prompt": TEST}], "has no field 'question'; it has: prompt"),
        (
            [{"question": TEST}, {"question": ""}],
            "row 2, field 'question': empty; an evaluation set must be complete",
        ),
    ],
)
def test_invalid_evaluation_set_is_rejected(
    tmp_path: Path, rows: list[object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        against(write_rows(tmp_path, *rows)).digest()


def test_missing_evaluation_set_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nowhere\.jsonl does not exist|no file matches .*nowhere\.jsonl"
    ):
        against(str(tmp_path / "nowhere.jsonl")).digest()
