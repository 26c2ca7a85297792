"""Blocks of Python in a text: their code, their ends, and the final program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepmark.code_blocks import final_program, python_blocks
from tests.columns import column

TEXTS = {
    "none": ("x = 1\n", None),
    "one": ("So:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
    "the last": ("```python\nx = 1\n```\n```py\nx = 2\n```", "x = 2\n"),
    # The last block has no language, so it is not the program.
    "not what it prints": ("```python\nprint(5)\n```\nprints\n```\n5\n```\n", "print(5)\n"),
    "without a word": ("```\nx = 1\n```", "x = 1\n"),
    "another language": ("```rust\nlet x = 1;\n```", None),
    "never closed": ("```python\nx = 1\n", None),
    # Backquotes do not close a fence of tildes.
    "tildes": ("~~~ python\nx = '```'\n~~~", "x = '```'\n"),
    # Three backquotes do not close a fence of four.
    "longer marks": ("````python\n'''\n```\n'''\n````", "'''\n```\n'''\n"),
    # The indentation of the fence is removed from the code.
    "in a list": ("1. So\n   ```python\n   if x:\n       y()\n   ```\n", "if x:\n    y()\n"),
    "in braces": ("``` {.python .numberLines}\nx = 1\n```", "x = 1\n"),
    "code on one line": ("```python x = 1```\n", None),
    # A form feed and U+2028 end no line, although `str.splitlines` splits there.
    "odd line ends in a text": ("```python\nx = 'a\x0cb\u2028c'\n```", "x = 'a\x0cb\u2028c'\n"),
    # A block that only shows the use of an earlier one is not the program.
    "an example": (
        "```python\ndef f(x):\n    return x\n```\n```python\nprint(f(1))\n```",
        "def f(x):\n    return x\n",
    ),
    "an example of a class": (
        "```python\nclass A:\n    pass\n```\nUse:\n```python\na = A()\n```",
        "class A:\n    pass\n",
    ),
    "a later definition": (
        "```python\ndef f(): pass\n```\n```python\ndef g(): f()\n```",
        "def g(): f()\n",
    ),
    "a main part that reads": (
        "```python\ndef f(x): return x\n```\n```python\nprint(f(input()))\n```",
        "def f(x): return x\nprint(f(input()))\n",
    ),
    "an unrelated last block": ("```python\ndef f(): pass\n```\n```python\nx = 2\n```", "x = 2\n"),
    "nothing in it": ("```python\n```\n", ""),
}


@pytest.mark.parametrize("case", TEXTS)
def test_final_program(case: str) -> None:
    text, program = TEXTS[case]
    assert final_program(text) == program


def test_block_ends_after_its_fence() -> None:
    text = "a\n```python\nx\n```  \nb\n~~~\ny\n~~~"
    assert [text[block.end :] for block in python_blocks(text)] == ["b\n~~~\ny\n~~~", ""]
    assert column(python_blocks(text), "named") == [True, False]


@given(
    st.lists(
        st.sampled_from(("```", "````", "~~~", "python", "\n", " ", "x = 1", "{", "`")), max_size=30
    ).map("".join)
)
def test_blocks_are_parts_of_text(text: str) -> None:
    blocks = python_blocks(text)
    ends = [block.end for block in blocks]
    assert ends == sorted(set(ends))
    assert all(0 < end <= len(text) for end in ends)
    for block in blocks:
        for line in block.code.splitlines():
            assert line.strip() in text


def test_long_lines_are_fast() -> None:
    assert final_program(("```" + "a" * 1_000_000 + "`\n") + (" " * 1_000_000 + "```\n") * 3) == ""
