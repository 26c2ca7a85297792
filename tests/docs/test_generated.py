"""The generated parts of the documentation agree with the code."""

from pathlib import Path

import pytest

from docs import generate

ROOT = Path(__file__).parents[2]
# A view has no docstrings, so the meanings of its columns are written by hand.
TABLE = """
<!-- generated: columns classes -->
{rows}
<!-- end of generated part -->
"""
COLUMNS = ("trace_id", "problem_id", "outcome", "first_error", "kept", "reason", "class")
ROWS = "\n".join(f"| `{name}` | an old type | About {name}. |" for name in COLUMNS)


@pytest.mark.parametrize("page", generate.pages(), ids=lambda page: page.name)
def test_page_is_up_to_date(page: Path) -> None:
    current = page.read_text(encoding="utf-8")
    assert generate.generated(page) == current, "run: python -m docs.generate"


def test_meanings_survive_regeneration(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(TABLE.format(rows=ROWS), encoding="utf-8")
    text = generate.generated(page)
    assert "| `kept` | `BOOLEAN` | About kept. |" in text
    assert "an old type" not in text


def test_docstrings_replace_meanings(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    table = TABLE.replace("columns classes", "parameters method monte_carlo")
    page.write_text(table.format(rows="| `rollouts` | t | d | By hand. |"), encoding="utf-8")
    text = generate.generated(page)
    assert "| `rollouts` | integer, ≥ 1, ≤ 1024 | `8` | K, the completions per prefix. |" in text
    assert "By hand." not in text


def test_missing_meaning_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(TABLE.format(rows=""), encoding="utf-8")
    with pytest.raises(generate.GenerationError, match="'trace_id' has no meaning"):
        generate.generated(page)


@pytest.mark.parametrize("package", generate.PACKAGES)
def test_architecture_lists_every_module(package: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for module in (ROOT / package).rglob("*.py"):
        assert module.parent.relative_to(ROOT).as_posix() + "/" in text
        assert module.name in text or module.name == "__init__.py"
