"""The reliability diagram: file formats, panels, untrusted names and errors."""

import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipelines.scoring.metrics import Case, Score, score
from pipelines.scoring.reliability_plot import MAX_PANELS, draw_reliability
from stepmark.errors import ConfigError, InstallError, UserError

FILE_SIGNATURES = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF"}
CORRECT = Case(gold=1, predicted=None, stated_error=1, confidence=0.95)
WRONG = Case(gold=1, predicted=None, stated_error=0, confidence=0.55)
JUDGE_SCORE = score([CORRECT, WRONG] * 3)
SCORED = {("", "judge"): JUDGE_SCORE, ("", "formal"): score([])}


def svg_texts(path: Path) -> list[str]:
    texts = list[str]()
    for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text"):
        texts.append("".join(element.itertext()).strip())
    return texts


@pytest.mark.parametrize("suffix", FILE_SIGNATURES)
def test_suffix_selects_reproducible_format(tmp_path: Path, suffix: str) -> None:
    first = tmp_path / f"a{suffix}"
    second = tmp_path / f"b{suffix}"
    draw_reliability(SCORED, first)
    draw_reliability(SCORED, second)
    assert first.read_bytes().startswith(FILE_SIGNATURES[suffix])
    assert first.read_bytes() == second.read_bytes()


def test_panel_shows_method_and_counts(tmp_path: Path) -> None:
    draw_reliability(SCORED, tmp_path / "plot.svg")
    texts = svg_texts(tmp_path / "plot.svg")
    assert texts.count("3") == 2
    all_text = "\n".join(texts)
    assert "judge" in all_text
    assert "ECE 30.0 %, 6 traces" in all_text
    assert "formal" not in all_text


def test_names_are_plain_text(tmp_path: Path) -> None:
    scored = dict[tuple[str, str], Score]()
    for name in ("$\\frac{1}$", "<script>alert(1)</script>", "a\x1b[31m\0b", "数学"):
        scored[name, "judge"] = JUDGE_SCORE
    draw_reliability(scored, tmp_path / "plot.svg")
    all_text = " ".join(svg_texts(tmp_path / "plot.svg"))
    for expected in (
        "$\\frac{1}$",
        "<script>alert(1)</script>",
        "a\\x1b[31m\\x00b",
        "数学",
    ):
        assert expected in all_text


TOO_MANY = {(str(part), "judge"): JUDGE_SCORE for part in range(MAX_PANELS + 1)}


@pytest.mark.parametrize(
    ("scored", "name", "message"),
    [
        (SCORED, "plot.jpg", "name a file that ends in .svg, .png, .pdf"),
        (SCORED, "plot", "name a file that ends in"),
        (SCORED, "none/plot.svg", "No such file or directory"),
        ({("", "formal"): score([])}, "plot.svg", "no method states a confidence"),
        (TOO_MANY, "plot.svg", "61 methods and parts are more than the 60"),
    ],
)
def test_impossible_plot_is_an_error(
    tmp_path: Path, scored: Mapping[tuple[str, str], Score], name: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        draw_reliability(scored, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_missing_matplotlib_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def import_without_matplotlib(name: str, *arguments: Any) -> Any:
        if name == "matplotlib":
            raise ModuleNotFoundError(name=name)
        return real_import(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", import_without_matplotlib)
    with pytest.raises(UserError, match=r"pip install 'stepmark\[plots\]'") as caught:
        draw_reliability(SCORED, tmp_path / "plot.svg")
    assert isinstance(caught.value, InstallError)
