"""Equations between quantities in different units of one dimension."""

import time

import pytest

from tests.verifiers.cases import result_of
from verifiers.arithmetic import Arithmetic
from verifiers.base import Finding, StepClaim

CASES = (
    ("2 hours = 120 minutes", "correct"),
    ("3 m = 300 cm", "correct"),
    ("$3 \\text{ m} = 300 \\text{ cm}$", "correct"),
    ("So 90 seconds = 1.5 minutes.", "correct"),
    ("100 minutes = 1.67 hours", "correct"),
    ("4 feet - 40 inches = 8 inches", "correct"),
    ("2 hours + 30 minutes = 150 minutes", "correct"),
    ("5 dollars + 50 cents = $5.50", "correct"),
    ("2 pounds = 32 ounces", "correct"),
    ("1 gallon + 2 quarts = 24 cups", "correct"),
    ("0.5 kg = 500 g", "correct"),
    ("3 days = 72 hours", "correct"),
    ("2 years = 24 months", "correct"),
    ("2 hours = 100 minutes", "suspicion"),
    ("3 m = 30 cm", "suspicion"),
    ("$5 \\text{ km} = 500 \\text{ m}$", "suspicion"),
    ("4 feet - 40 inches = 12 inches", "suspicion"),
    ("So 20 minutes + 2 hours + 10 minutes = 80 minutes.", "suspicion"),
    ("2 pounds = 20 ounces", "suspicion"),
    ("2.5 hours = 140 minutes", "suspicion"),
    ("3 quarters + 2 dimes = 90 cents", "suspicion"),
    # Working days, rates, and scales.
    ("5 days = 40 hours", "suspicion"),
    ("2 weeks = 10 days", "suspicion"),
    ("1 inch = 5 miles", "suspicion"),
    ("1 hour = 20 minutes", "suspicion"),
    # The conversion is part of the formula.
    ("1 hour * 60 = 60 minutes", "correct"),
    ("180 minutes / 60 = 3 hours", "correct"),
    ("2 feet * 12 = 24 inches", "correct"),
    # Other dimensions, systems, powers, and amounts that continue.
    ("3 miles = 5 kilometers", "unknown"),
    ("2 cups = 500 ml", "unknown"),
    ("1 m^2 = 10000 cm^2", "unknown"),
    ("150 minutes = 2 hours 30 minutes", "unknown"),
    ("150 minutes = 2 hours and 30 minutes", "unknown"),
    ("150 min = 2 hr. 30 min", "unknown"),
    ("2 hours = 40 minutes each", "unknown"),
    ("60 miles per hour = 1 mile per minute", "unknown"),
    ("3 m = 2 n", "unknown"),
    ("2m = 4 cm", "unknown"),
    ("x + 3 m = 30 cm", "unknown"),
    ("3 m = 30 cm * 10", "unknown"),
    ("2 hours ≈ 110 minutes", "unknown"),
    ("2 dollars = 3 euros", "unknown"),
)
HOSTILE = (
    "3 m = 30 cm " * 5_000,
    "1 hour + " * 10_000 + "= 3 minutes",
    "3 " * 50_000 + "m = 3 cm",
    "= " * 900 + "3 m = 30 cm",
    "\\text{" * 15_000,
)
# Much more than the time on a busy machine.
MAX_SECONDS = 20.0


def _finding(step: str, question: str = "") -> Finding:
    return Arithmetic().verify(StepClaim(question=question, previous=(), step=step))


@pytest.mark.parametrize(("step", "expected"), CASES)
def test_conversion(step: str, expected: str) -> None:
    finding = _finding(step)
    if expected == "correct":
        assert finding.holding == finding.checked == 1
        return
    assert finding.holding == 0 or expected == "unknown"
    assert result_of(finding) == expected, finding


def test_scale_of_map_is_no_conversion() -> None:
    question = "On a map, 2 cm stand for 10 km."
    assert result_of(_finding("2 cm = 10 km", question)) == "suspicion"


def test_reason_names_rule() -> None:
    finding = _finding("2 hours = 100 minutes")
    assert finding.rule == "unit conversion"
    assert finding.reason.endswith("in one unit, the sides are 120 and 100")


@pytest.mark.parametrize("step", HOSTILE, ids=lambda step: step[:10])
def test_time_is_linear(step: str) -> None:
    start = time.process_time()
    _finding(step)
    assert time.process_time() - start < MAX_SECONDS
