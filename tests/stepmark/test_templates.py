"""Templates: every place is one that can be filled, and what fills it is never read as a template."""

from pathlib import Path

import pytest

from stepmark.errors import ConfigError
from stepmark.prompt_templates import fill, read_template

PLACES = ("question", "answer")


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "plain.txt").write_text("Q: {question}\n")
    (folder / "strict.txt").write_text("{question} {answer}", encoding="utf-8")
    return folder


def test_a_shipped_template_is_read_by_its_name(shipped: Path) -> None:
    assert read_template("plain", shipped, PLACES) == "Q: {question}\n"


def test_ones_own_is_read_by_its_path(shipped: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("Größe {question} {}", encoding="utf-8")
    assert read_template(str(own), shipped, PLACES) == "Größe {question} {}"


def test_a_shipped_name_comes_before_a_file_of_that_name(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert read_template("plain", shipped, PLACES) == "Q: {question}\n"
    assert read_template("./plain", shipped, PLACES) == "mine"


@pytest.mark.parametrize("name", ["none", "", "prompts", "/", "a" * 5000, "bytes"])
def test_what_is_no_template_is_one_line_that_says_what_there_is(
    name: str, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refusal:
        read_template(name, shipped, PLACES)
    assert (
        str(refusal.value)
        == f"no prompt '{name}': give the path of a text file, or one of: plain, strict"
    )


def test_a_place_that_nothing_fills_is_refused(shipped: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"strict\.txt: unknown placeholder \{answer\}; it may use: \{question\}$"
    ):
        read_template("strict", shipped, ("question",))


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{question}", "{answer} \\g<0> {question}"),
        ("{question}{question}", "{answer} \\g<0> {question}" * 2),
        (
            "{answer}, {other}, {Answer}, {answer1}, { answer }",
            "5, {other}, {Answer}, {answer1}, { answer }",
        ),
        ("{{answer}}", "{5}"),
        ("{answer", "{answer"),
        (r"\frac{1}{2} {} \boxed{}", r"\frac{1}{2} {} \boxed{}"),
        ("", ""),
    ],
)
def test_places_are_filled_in_one_pass(template: str, filled: str) -> None:
    assert fill(template, question="{answer} \\g<0> {question}", answer="5") == filled
