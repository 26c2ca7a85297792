"""Language: letters of unexpected scripts."""

import pytest

from filters.language import Language
from tests.filters.samples import candidate, drops


@pytest.mark.parametrize(
    "text",
    [
        "So x = 3, and the answer is 18.",
        "Über Größe: naïve café, \\alpha = α, Σ 𝑥² ∈ ℝ, 5 µm",
        # Texts without letters have no unexpected ones.
        "16 - 3 - 4 = 9",
        "",
        "🙂🙂🙂 → ≤ ≥ ∫",
        # One of 26 letters is below the share that is tolerated.
        "the answer is eighteen and not 十",
    ],
)
def test_expected_letters_are_kept(text: str) -> None:
    assert drops(Language(), [candidate("t", text)]) == {}


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("所以答案是 18", "100%"),
        ("so 答案", "50%"),
        ("Ответ", "100%"),
        # Control characters, replacement characters, surrogates and private-use characters count.
        ("ab\0\0", "50%"),
        ("abc\ufffd", "25%"),
        ("abcd\ud800", "20%"),
        ("a\ue000", "50%"),
    ],
)
def test_unexpected_letters_are_dropped(text: str, share: str) -> None:
    assert drops(Language(), [candidate("t", "\n", text)]) == {
        "t": f"{share} of its letters are not Latin or Greek"
    }


def test_scripts_and_share_are_parameters() -> None:
    # Five of six letters are Chinese, 83.3%.
    chinese = candidate("t", "所以答案是 x")
    assert drops(Language(scripts=("Han", "Latin")), [chinese]) == {}
    assert drops(Language(max_share=0.84), [chinese]) == {}
    assert drops(Language(max_share=0.83), [chinese]) == {
        "t": "83% of its letters are not Latin or Greek"
    }
