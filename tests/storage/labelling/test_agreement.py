"""Agreement of raters, against published examples and direct computations."""

from collections.abc import Sequence

import pytest

from storage.labelling.agreement import (
    cohen_kappa,
    disagreements,
    krippendorff_alpha,
    pair_agreements,
)

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve
# units, missing values, nominal data.
UNITS = (
    (1, 1, 1),
    (2, 2, 3, 2),
    (3, 3, 3, 3),
    (3, 3, 3, 3),
    (2, 2, 2, 2),
    (1, 2, 3, 4),
    (4, 4, 4, 4),
    (1, 1, 2, 1),
    (2, 2, 2, 2),
    (5, 5, 5),
    (1, 1),
    (3,),
)


def test_alpha_is_that_of_krippendorff() -> None:
    assert krippendorff_alpha(UNITS) == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_binary_example() -> None:
    # Section A of the same text: two observers, ten units.
    first = (0, 1, 0, 0, 0, 0, 0, 0, 1, 0)
    second = (1, 1, 1, 0, 0, 1, 0, 0, 0, 0)
    assert krippendorff_alpha(zip(first, second, strict=True)) == pytest.approx(0.095, abs=5e-4)


@pytest.mark.parametrize("units", [(), ((1,), (2,)), ((1, 1), (1, 1))])
def test_alpha_can_be_undefined(units: Sequence[Sequence[int]]) -> None:
    assert krippendorff_alpha(units) is None


def test_kappa_of_a_table() -> None:
    # The table of proportions .35, .20, .15, .30 has po = .65 and pe = .5.
    pairs = [(1, 1)] * 35 + [(1, 0)] * 20 + [(0, 1)] * 15 + [(0, 0)] * 30
    expected = (0.65 - (0.55 * 0.5 + 0.45 * 0.5)) / 0.5
    assert cohen_kappa(pairs) == pytest.approx(expected)
    assert cohen_kappa([(0, 0), (1, 1)]) == 1
    assert cohen_kappa([(0, 0)]) is None
    assert cohen_kappa([]) is None


def test_pairs_share_traces() -> None:
    first_errors = {
        "human_bob": {"t0": 1, "t1": -1, "t3": 0},
        "human_ann": {"t0": 1, "t1": 2, "t2": 0},
        "human_cid": {"t9": 0},
    }
    (pair,) = pair_agreements(first_errors)
    assert (pair.first, pair.second) == ("human_ann", "human_bob")
    assert (pair.traces, pair.agreed) == (2, 1)
    assert disagreements(first_errors) == ["t1"]
