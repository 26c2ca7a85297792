"""Programs in a text: the fenced blocks of Markdown that hold Python.

    ```python            the program
    def double(x):
        return 2 * x
    ```

A block opens with three or more backticks or tildes and a word that says what it is, and closes with as many alone on a line. The final
program of a solution is its last block of Python, or its last block that does not say what it is.

What is not covered: code without a fence, blocks indented by spaces, a fence that is never closed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["VERSION", "Block", "final_program", "python_blocks"]

VERSION = 1  # raised whenever another program is found: what was graded before is stale then
MARKS = "`~"
SHORTEST = 3
LANGUAGE = re.compile(r"[\w+#.-]*")
PYTHON = frozenset(("python", "py", "python3", "py3", "pycon"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The code of a block as written, and where in the text the block ends, its closing fence included."""

    code: str
    end: int
    named: bool
    """Whether it says that it is Python; one that says nothing may be anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fence:
    indent: str
    marks: str
    info: str

    @property
    def language(self) -> str:
        """The first word, as in `python` or `{.python}`."""
        found = LANGUAGE.match(self.info.lstrip("{ ."))
        return found[0].lower() if found else ""

    def closes(self, opening: "_Fence") -> bool:
        """As many marks as opened the block, or more, and nothing else."""
        return not self.info and self.marks.startswith(opening.marks)


def python_blocks(text: str) -> Sequence[Block]:
    r"""All closed blocks that say they are Python, or say nothing, in order.

    >>> [block.code for block in python_blocks("so\n```python\nx = 1\n```\n")]
    ['x = 1\n']
    """
    blocks, opening, lines, end = list[Block](), None, list[str](), 0
    for line in text.split("\n"):
        end += len(line) + 1
        fence = _fence(line)
        if opening is None:
            opening, lines = fence, []
        elif fence and fence.closes(opening):
            if opening.language in PYTHON or not opening.info:
                blocks.append(
                    Block(code="".join(lines), end=min(end, len(text)), named=bool(opening.info))
                )
            opening = None
        else:
            lines.append(line.removeprefix(opening.indent) + "\n")
    return blocks


def final_program(text: str) -> str | None:
    """The code of the last block of Python; None where there is none."""
    blocks = python_blocks(text)
    named = [block for block in blocks if block.named]
    return (named or blocks)[-1].code if blocks else None


def _fence(line: str) -> _Fence | None:
    bare = line.lstrip(" \t")
    mark = bare[:1]
    info = bare.lstrip(mark) if mark and mark in MARKS else bare
    marks = bare[: len(bare) - len(info)]
    if len(marks) < SHORTEST or mark in info:
        return None
    return _Fence(indent=line[: len(line) - len(bare)], marks=marks, info=info.strip())
