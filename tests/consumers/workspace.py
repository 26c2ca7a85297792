"""The exports that consumers read, and what a consumer made of them."""

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from stepmark.records import Critique, Label
from storage.dataset.dataset import Dataset
from storage.dataset.tables import LABELS, critiques
from storage.formats.base import Format
from storage.formats.chat_steps import ChatSteps
from storage.formats.critique_pairs import CritiquePairs
from storage.formats.inspect_scout import InspectScout
from storage.formats.kto import Kto
from storage.formats.pairs import Pairs
from storage.formats.qwen_prm import QwenPrm
from storage.formats.refinement import Refinement
from storage.formats.sft import Sft
from storage.formats.step_pairs import StepPairs
from storage.formats.trl import Trl
from storage.formats.verification import Verification
from storage.formats.verification_tasks import VerificationTasks
from storage.formats.verl_critic import VerlCritic
from storage.publishing.export import export
from storage.publishing.files import rows_of
from tests.consumers.environments import run_program
from tests.consumers.model_folder import rendered, write_model_folder
from tests.storage.random_dataset import write_random_dataset
from tests.storage.samples import BAD, CRITIQUE, GOOD

__all__ = [
    "EXPORTS",
    "Attempt",
    "TokenizedText",
    "Workspace",
    "check_count",
    "check_equal",
    "check_losses",
    "export_all",
    "make_workspace",
]

EXPORTS: Mapping[str, Format] = {
    "chat_steps": ChatSteps(),
    "chat_steps_masked": ChatSteps(after_error="mask", mask="loss", wording="words"),
    "critique_pairs": CritiquePairs(),
    "inspect_scout": InspectScout(),
    "kto": Kto(),
    "pairs": Pairs(),
    "qwen_prm": QwenPrm(),
    "refinement": Refinement(),
    "sft": Sft(),
    "step_pairs": StepPairs(),
    "trl": Trl(),
    "trl_after_error": Trl(after_error="keep"),
    "verification": Verification(),
    "verification_tasks": VerificationTasks(),
    "verl_critic": VerlCritic(),
}
"""The formats by the names of their folders."""


class Attempt(NamedTuple):
    """A success: what a consumer did with an export."""

    export: str
    rows: int
    what: str


class TokenizedText(NamedTuple):
    """The tokens of a text as a trainer has them."""

    ids: Sequence[int]
    labels: Sequence[int]
    """The label of each token; -100 for one that trains nothing."""


@dataclass(frozen=True)
class Workspace:
    """A folder with the exports, a model without weights, and the output of programs."""

    folder: Path
    tokenizer: Tokenizer

    @property
    def model(self) -> Path:
        """The folder of the model."""
        return self.folder / "model"

    def export(self, name: str) -> Path:
        """Return the folder of an export."""
        return self.folder / "exports" / name

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of an export, read with PyArrow."""
        return _rows(self.export(name))

    def run(self, python: Path, program: str) -> Any:
        """Run a program on the exports and the model, and return the JSON that it writes."""
        folder = self.folder / "programs" / program
        folder.mkdir(parents=True)
        output = folder / "output.json"
        run_program(python, program, self.folder / "exports", self.model, output, folder=folder)
        return json.loads(output.read_text(encoding="utf-8"))

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, with the special ones."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def trained_texts(self, tokens: TokenizedText) -> list[str]:
        """Return the parts of a text that train, in order."""
        parts = list[list[int]]()
        previous = -100
        for token, label in zip(tokens.ids, tokens.labels, strict=True):
            if label != -100 and previous == -100:
                parts.append([])
            if label != -100:
                assert label == token, "the label of a token of a chat is the token"
                parts[-1].append(token)
            previous = label
        return [self.text(part) for part in parts]


def check_equal(what: str, actual: Sequence[Any], expected: Sequence[Any]) -> int:
    """Check that a consumer made of each row what is expected, and return the number of rows.

    Raises:
        AssertionError: It did not; the message names the first row that differs.
    """
    check_count(what, actual, expected)
    for number, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert one == other, f"{what}, row {number}: {one!r} instead of {other!r}"
    return len(expected)


def check_count(what: str, actual: Sequence[Any], expected: Sequence[Any]) -> None:
    """Check that a consumer has all rows, and no others."""
    assert len(actual) == len(expected), f"{what}: {len(actual)} of {len(expected)} rows"


def check_losses(what: str, losses: Sequence[float], steps: int) -> None:
    """Check that a trainer trained so many steps, each with a finite loss."""
    assert len(losses) == steps, f"{what}: {len(losses)} losses"
    assert all(map(math.isfinite, losses)), f"{what}: the losses {losses}"


def make_workspace(folder: Path) -> Workspace:
    """Write a small labelled dataset, all exports of it, and a model for them."""
    export_all(folder, list(EXPORTS))
    texts = [rendered(row["messages"]) for row in _rows(folder / "exports" / "sft")]
    return Workspace(folder, write_model_folder(folder / "model", texts))


def export_all(folder: Path, names: Sequence[str]) -> None:
    """Write a small labelled dataset, and some of the exports of it."""
    dataset = Dataset(str(folder / "dataset"))
    write_random_dataset(dataset)
    for shard in range(2):
        labels = list(dataset.read_part(LABELS, shard))
        dataset.write_part(critiques("judge"), shard, list(_replies(labels)), "f")
    for name in names:
        export(dataset, EXPORTS[name], str(folder / "exports" / name))


def _rows(folder: Path) -> list[dict[str, Any]]:
    rows = list[dict[str, Any]]()
    for path in sorted((folder / "data").iterdir()):
        rows.extend(dict(row) for row in rows_of(path))
    assert len(rows) > 1, f"{folder} has too few rows to try anything"
    return rows


def _replies(labels: Sequence[Label]) -> Iterator[Critique]:
    """Yield two replies about each trace, of which some agree with its label."""
    chance = random.Random(0)
    for label in labels:
        for vote in range(2):
            verdicts = tuple(chance.choice([GOOD, BAD]) for _ in label.steps)
            first_error = verdicts.index(BAD) if BAD in verdicts else -1
            yield replace(
                CRITIQUE,
                trace_id=label.trace_id,
                request=f"Is {label.trace_id} right?",
                text=f"It is {first_error}.",
                vote=vote,
                verdicts=verdicts,
                first_error=first_error,
                finish_reason="stop",
            )
