"""The reliability diagram as a file, by its suffix, and what cannot be drawn."""

import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipelines.scoring.metrics import Case, Score, score
from pipelines.scoring.reliability_plot import MAX_PANELS, draw_reliability
from stepmark.errors import ConfigError, InstallError, UserError

BEGINNINGS = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}
CASES = [
    Case(gold=1, predicted=None, believed=1 if right else 0, confidence=confidence)
    for confidence, right in ((0.95, True), (0.55, False))
]
SCORED = {("", "judge"): score(CASES * 3), ("", "formal"): score([])}


def texts(path: Path) -> list[str]:
    return [
        "".join(each.itertext()).strip()
        for each in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    ]


@pytest.mark.parametrize("suffix", BEGINNINGS)
def test_a_picture_is_of_the_kind_that_its_name_says_and_comes_out_the_same_again(
    tmp_path: Path, suffix: str
) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    draw_reliability(SCORED, first)
    draw_reliability(SCORED, second)
    assert first.read_bytes().startswith(BEGINNINGS[suffix])
    assert first.read_bytes() == second.read_bytes()


def test_a_panel_says_whose_it_is_and_how_many_traces_each_bar_is_of(tmp_path: Path) -> None:
    draw_reliability(SCORED, tmp_path / "plot.svg")
    shown = texts(tmp_path / "plot.svg")
    assert shown.count("3") == 2
    assert any("judge" in text for text in shown)
    assert any("ECE 30.0 %, 6 traces" in text for text in shown)
    assert not any("formal" in text for text in shown)


def test_names_out_of_a_data_set_are_text(tmp_path: Path) -> None:
    names = ("$\\frac{1}$", "<script>alert(1)</script>", "a\x1b[31m\0b", "数学")
    draw_reliability(
        {(name, "judge"): SCORED["", "judge"] for name in names}, tmp_path / "plot.svg"
    )
    shown = " ".join(texts(tmp_path / "plot.svg"))
    assert all(
        name in shown
        for name in ("$\\frac{1}$", "<script>alert(1)</script>", "a\\x1b[31m\\x00b", "数学")
    )


@pytest.mark.parametrize(
    ("scored", "name", "told"),
    [
        (SCORED, "plot.jpg", "name a file that ends in .svg, .png, .pdf"),
        (SCORED, "plot", "name a file that ends in"),
        (SCORED, "none/plot.svg", "No such file or directory"),
        ({("", "formal"): score([])}, "plot.svg", "no method states a confidence"),
        (
            {(str(part), "judge"): SCORED["", "judge"] for part in range(MAX_PANELS + 1)},
            "plot.svg",
            "61 methods and parts are more than the 60",
        ),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_line(
    tmp_path: Path, scored: Mapping[tuple[str, str], Score], name: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        draw_reliability(scored, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "matplotlib":
            raise ModuleNotFoundError(name=name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'stepmark\[plots\]'") as caught:
        draw_reliability(SCORED, tmp_path / "plot.svg")
    assert isinstance(caught.value, InstallError)
