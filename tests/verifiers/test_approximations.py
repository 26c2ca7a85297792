"""Approximate values with wrong digits, and numbers that are rounded wrongly."""

import pytest

from tests.verifiers.cases import result_of
from verifiers.arithmetic import Arithmetic
from verifiers.arithmetic_rules.equality import APPROXIMATION
from verifiers.arithmetic_rules.rounded_numbers import ROUNDED
from verifiers.base import Finding, StepClaim

FALSE = (
    ("0.971 × 1.164231 ≈ 1.1358", APPROXIMATION),
    ("\\[ 17.25 \\times 3.411 \\approx 58.62 \\]", APPROXIMATION),
    ("1000 / 7 ≈ 143.86", APPROXIMATION),
    ("5^3 * 1.0125 ≈ 126.6625", APPROXIMATION),
    ("2 * 3.14159 ≈ 6.2932", APPROXIMATION),
    ("The time is 161.7. Rounding to the nearest whole number, the time is 161.", ROUNDED),
    ("It is $12.346$, rounded to the nearest hundredth, $12.34$.", ROUNDED),
    ("So 7.25 rounded to the nearest tenth is 7.5.", ROUNDED),
    ("x = 83.2. Rounded to the nearest ten, it is 90.", ROUNDED),
    ("That is 4.48; when rounded to the nearest integer, this gives 5.", ROUNDED),
)
TRUE = (
    "0.971 × 1.164231 ≈ 1.1305",
    "1000 / 7 ≈ 142.86",
    "1000 / 7 ≈ 142.85",
    "20 / 15 ≈ 1.33",
    "The time is 161.7. Rounding to the nearest whole number, the time is 162.",
    "It is $12.346$, rounded to the nearest hundredth, $12.35$.",
    "So 7.25 rounded to the nearest tenth is 7.3.",
    "x = 83.2. Rounded to the nearest ten, it is 80.",
)
NOT_SUSPECTED = (
    # Other units.
    "$1.5 ≈ 1.3862 euros.",
    "0.456, rounded to the nearest percent, is 46%.",
    "tan θ = 0.75. Rounded to the nearest degree, this gives 37 degrees.",
    "The price is $12.345. Rounded to the nearest cent, it is 1235 cents.",
    "There are 3.14 \\text{ million}, rounded to the nearest thousand, 3140000.",
    # Another value is rounded.
    "Each side is 3.6. Rounded to the nearest whole number, the perimeter is 14.",
    "The radius is 2.5. Rounding to the nearest whole number, the area is 20.",
    # The decimals on the way have lost digits.
    "0.5 × 1.33 × 225 ≈ 149.85",
    "3.14 × 10000 ≈ 31415.9",
    "0.667 × 300 ≈ 200.1",
    "5.25^2 ≈ 27.6563",
    "2.5 * 3.14159 ≈ 7.9540",
    # Rough values.
    "19.8 × 5.1 ≈ 100",
    "0.97 × 1.16 ≈ 1.1",
    # Rounding of another value, or in another direction.
    "It is 161.2. Rounding up to the nearest whole number, it is 162.",
    "The sum is 12.4 + 3.3. Rounded to the nearest integer, it is 16.",
    "It is 4.45, and 3.2 rounded to the nearest integer is 3.",
    "161.7 people is no number. We round to whole people: 161.",
)


def _finding(step: str) -> Finding:
    return Arithmetic().verify(StepClaim(question="", previous=(), step=step))


@pytest.mark.parametrize(("step", "rule"), FALSE)
def test_wrong_digits_are_suspected(step: str, rule: str) -> None:
    finding = _finding(step)
    assert result_of(finding) == "suspicion", finding.reason
    assert finding.rule == rule


@pytest.mark.parametrize("step", TRUE)
def test_rounded_value_is_accepted(step: str) -> None:
    finding = _finding(step)
    assert result_of(finding) not in ("suspicion", "incorrect"), finding.reason


@pytest.mark.parametrize("step", NOT_SUSPECTED)
def test_rough_value_is_not_suspected(step: str) -> None:
    assert result_of(_finding(step)) not in ("suspicion", "incorrect")
