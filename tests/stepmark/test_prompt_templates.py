"""Templates: placeholders are valid, and inserted text is never read as a template."""

from pathlib import Path

import pytest

from stepmark.errors import ConfigError
from stepmark.prompt_templates import fill, read_template

PLACEHOLDERS = ("question", "answer")


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "plain.txt").write_text("Q: {question}\n")
    (folder / "strict.txt").write_text("{question} {answer}", encoding="utf-8")
    return folder


def test_shipped_template_is_read_by_name(shipped: Path) -> None:
    assert read_template("plain", shipped, PLACEHOLDERS) == "Q: {question}\n"


def test_user_template_is_read_by_path(shipped: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    # Non-ASCII text, and braces without a name, which are plain text.
    file.write_text("Größe {question} {}", encoding="utf-8")
    assert read_template(str(file), shipped, PLACEHOLDERS) == "Größe {question} {}"


def test_shipped_name_precedes_file_name(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This user file has the name of a shipped template.
    (tmp_path / "plain").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert read_template("plain", shipped, PLACEHOLDERS) == "Q: {question}\n"
    assert read_template("./plain", shipped, PLACEHOLDERS) == "mine"


@pytest.mark.parametrize("name", ["none", "", "prompts", "/", "a" * 5000, "bytes"])
def test_missing_template_error_lists_names(
    name: str, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # These bytes are not UTF-8.
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refusal:
        read_template(name, shipped, PLACEHOLDERS)
    assert (
        str(refusal.value)
        == f"no prompt '{name}': give the path of a text file, or one of: plain, strict"
    )


def test_unknown_placeholder_is_rejected(shipped: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"strict\.txt: unknown placeholder \{answer\}; it may use: \{question\}$"
    ):
        read_template("strict", shipped, ("question",))


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        # The inserted question contains a placeholder and a group reference of `re`.
        ("{question}", "{answer} \\g<0> {question}"),
        ("{question}{question}", "{answer} \\g<0> {question}" * 2),
        (
            "{answer}, {other}, {Answer}, {answer1}, { answer }",
            "5, {other}, {Answer}, {answer1}, { answer }",
        ),
        # Doubled braces are no escape.
        ("{{answer}}", "{5}"),
        # An unclosed placeholder.
        ("{answer", "{answer"),
        # The braces of LaTeX are no placeholders.
        (r"\frac{1}{2} {} \boxed{}", r"\frac{1}{2} {} \boxed{}"),
        ("", ""),
    ],
)
def test_placeholders_are_filled_once(template: str, filled: str) -> None:
    assert fill(template, question="{answer} \\g<0> {question}", answer="5") == filled
