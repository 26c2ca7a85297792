"""Programs in a text: the fenced Markdown blocks that contain Python.

    ```python            the program
    def double(x):
        return 2 * x
    ```

A block opens with three or more backticks or tildes, optionally followed by a language. It closes
with at least as many of the same character alone on a line. The final program of a solution is its
last block labelled as Python or, without one, its last block that has no language. A block that
only shows the use of an earlier one does not count.

What is not covered: code without a fence, blocks indented by spaces, a fence that is never closed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["VERSION", "Block", "final_program", "python_blocks"]

# Increment when another program is extracted from a text: existing grades are then recomputed.
VERSION = 2
FENCE_CHARACTERS = "`~"
# The minimum length of a fence in CommonMark.
MIN_FENCE_LENGTH = 3
LANGUAGE = re.compile(r"[\w+#.-]*")
# A function or a class at the top level of a block.
DEFINITION = re.compile(r"^(?:async )?(?:def|class) (\w+)", re.MULTILINE)
NAME = re.compile(r"[^\W\d]\w*")
READS_INPUT = re.compile(r"\binput\(|\bstdin\b")
PYTHON = frozenset(("python", "py", "python3", "py3", "pycon"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block: its code as written and its end in the text."""

    code: str
    """The lines between the fences, without the indentation of the opening fence."""
    end: int
    """The position in the text behind the closing fence."""
    named: bool
    """Whether the block is labelled as Python. A block without a language can be anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fence:
    """A line that opens or closes a block."""

    indent: str
    marks: str
    info: str

    @property
    def language(self) -> str:
        """Return the first word of the info string, as in `python` or `{.python}`."""
        word = LANGUAGE.match(self.info.lstrip("{ ."))
        if word is None:
            return ""
        return word[0].lower()

    def closes(self, opening: "_Fence") -> bool:
        """Check that the fence has at least the marks of `opening` and nothing else."""
        return not self.info and self.marks.startswith(opening.marks)


def python_blocks(text: str) -> Sequence[Block]:
    r"""Return all closed blocks that are labelled as Python or have no language, in order.

    >>> [block.code for block in python_blocks("so\n```python\nx = 1\n```\n")]
    ['x = 1\n']
    """
    blocks: list[Block] = []
    opening: _Fence | None = None
    code: list[str] = []
    end = 0
    # Only "\n" separates lines: `splitlines` would also cut at form feeds within the code.
    for line in text.split("\n"):
        end += len(line) + 1
        fence = _parse_fence(line)
        if opening is None:
            opening = fence
            code = []
        elif fence is not None and fence.closes(opening):
            if opening.language in PYTHON or not opening.info:
                # The last line of a text need not end in a line break, which `end` has counted.
                block_end = min(end, len(text))
                blocks.append(Block(code="".join(code), end=block_end, named=bool(opening.info)))
            opening = None
        else:
            code.append(line.removeprefix(opening.indent) + "\n")
    return blocks


def final_program(text: str) -> str | None:
    """Return the code of the final program, or None if the text has no block of Python.

    A last block that defines nothing and uses a definition of an earlier block is an example of its
    use: then the program is the last block with definitions. If the last block reads the input, the
    two are one program.
    """
    blocks = python_blocks(text)
    if not blocks:
        return None
    named = [block for block in blocks if block.named]
    *earlier, last = [block.code for block in named or blocks]
    if DEFINITION.search(last):
        return last
    for code in reversed(earlier):
        definitions = set(DEFINITION.findall(code))
        if definitions & set(NAME.findall(last)):
            return code + last if READS_INPUT.search(last) else code
    return last


def _parse_fence(line: str) -> _Fence | None:
    """Return the fence on a line, or None if the line is not one."""
    stripped = line.lstrip(" \t")
    mark = stripped[:1]
    if not mark or mark not in FENCE_CHARACTERS:
        return None
    info = stripped.lstrip(mark)
    marks = stripped[: len(stripped) - len(info)]
    # As in CommonMark: a line such as ```x = 1``` is inline code and not a fence.
    if len(marks) < MIN_FENCE_LENGTH or mark in info:
        return None
    return _Fence(indent=line[: len(line) - len(stripped)], marks=marks, info=info.strip())
