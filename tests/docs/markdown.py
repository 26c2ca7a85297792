"""Fenced blocks of Markdown pages, with the notes in the comments above them.

A comment directly above a block says how the tests treat it:

    <!-- needs: gpu -->         not executed; also network, server (a running server) and time
    <!-- file: run.toml -->     the block is the content of this file
    <!-- dataset: data/tree --> the dataset of an SQL block; data/pocket without this note
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDS = {"gpu", "network", "server", "time"}
FENCE = re.compile(
    r"(?P<notes>(?:^<!-- \w+: [^>\n]+ -->\n)*)^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
NOTE = re.compile(r"<!-- (\w+): ([^>\n]+) -->")
SHELL = {"|", "||", "&&", ";", "&", ">", ">>", "<"}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    notes: Mapping[str, str]

    @property
    def needs(self) -> str:
        """What the block needs that a test does not have; empty for a block that is executed."""
        return self.notes.get("needs", "")

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> Sequence[str]:
    """Return the pages whose blocks are tested."""
    documentation = sorted((ROOT / "docs").rglob("*.md"))
    names = [path.relative_to(ROOT).as_posix() for path in documentation]
    read_mes = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md", "examples/README.md"]
    return [*read_mes, "engines/pocket_model/README.md", *names]


def blocks(page: str, *languages: str) -> Sequence[Block]:
    """Return the blocks of a page in these languages, in order."""
    return blocks_of((ROOT / page).read_text(encoding="utf-8"), page, *languages)


def blocks_of(markdown: str, page: str, *languages: str) -> Sequence[Block]:
    """Return the blocks of a text in these languages, in order."""
    matches = []
    for match in FENCE.finditer(markdown):
        if match["language"] in languages:
            block = Block(
                page=page,
                line=markdown.count("\n", 0, match.start("text")),
                language=match["language"],
                text=match["text"],
                notes=dict(NOTE.findall(match["notes"])),
            )
            matches.append(block)
    return matches


def command_lines(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command, up to the first pipe or redirection, without comments."""
    pending = ""
    for line in block.text.replace("\\\n", " ").splitlines():
        pending += line.removeprefix("$ ")
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quoted argument continues on the next line
            pending += "\n"
            continue
        pending = ""
        end = next((i for i, word in enumerate(words) if word in SHELL), len(words))
        if words[:end]:
            yield words[:end]
    assert not pending, f"{block}: a quote is not closed"


def stepmark_arguments(words: Sequence[str]) -> list[str] | None:
    """Return the arguments of a `stepmark` command; None for another command."""
    if Path(words[0]).name != "stepmark":
        return None
    return list(words[1:])
