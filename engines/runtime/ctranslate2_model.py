"""A small model on CTranslate2, drawn from reproducibly: the same seed gives the same samples, whatever else is running.

CTranslate2 has one seed for the whole process, and a worker thread copies it when it first samples. So every draw gets a generator,
and with it a worker thread, of its own, seeded under a lock. That costs reading the weights once per draw (8 ms for 13 MB), less than
it gains: on the CPU one thread per draw of 8 to 32 rows is faster than one large batch over all cores, since its caches stay warm.
The price makes this a home for small models only. Samples repeat on one kind of processor; another may round differently.
"""

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
from tokenizers import Tokenizer

from stepmark.errors import ConfigError
from stepmark.records import Sampling

__all__ = ["Drawn", "Model", "load", "weights_digest"]

# The seed is the process's, so two draws must not set it at once.
SEEDING = threading.Lock()
# 2**32 - 1 means "take a random seed" to CTranslate2.
SEEDS = 2**32 - 1
FILES = ("config.json", "tokenizer.json", "ctranslate2/model.bin", "ctranslate2/config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The tokens of one sample, the end token included when the model ended by itself."""

    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A converted model folder, read: what a draw needs besides the weights, which each draw reads anew."""

    weights: Path
    compute_type: str
    tokenizer: Tokenizer
    bos: str
    eos: int | None
    context: int
    """Positions the model was made for, prompt and completion together."""
    reader: ctranslate2.Generator
    """Reads and never draws: without a seed to set, all calls share it."""

    def encode(self, text: str) -> list[str]:
        """The tokens of a prompt, opened by the beginning-of-text token."""
        tokens: list[str] = self.tokenizer.encode(text, add_special_tokens=False).tokens
        return [self.bos, *tokens]

    def encode_ending(self, text: str, length: int) -> tuple[list[str], int]:
        """As `encode`, and how many of the tokens hold anything of the last `length` characters."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        begins = len(text) - length
        return [self.bos, *encoding.tokens], sum(end > begins for _, end in encoding.offsets)

    def score(self, tokens: list[str], last: int) -> tuple[float, ...]:
        """The log-probabilities of the `last` tokens, each given all before it; blocks its thread."""
        (result,) = self.reader.score_batch([tokens], max_input_length=0)
        return tuple(result.log_probs[-last:])

    def draw(
        self, prompt: list[str], sampling: Sampling, cancelled: threading.Event
    ) -> list[Drawn]:
        """`sampling.n` independent samples, in the order of their rows; blocks its thread, returns early once `cancelled` is set.

        CTranslate2 returns hypotheses best first, which would make the first sample the likeliest one: rows are kept as they grow.
        """
        rows: list[list[int]] = [[] for _ in range(sampling.n)]

        def grow(result: ctranslate2.GenerationStepResult) -> bool:
            row = rows[result.hypothesis_id]
            row.append(result.token_id)
            return cancelled.is_set() or self._met_stop(row, sampling.stop)

        self._seeded(sampling.seed).generate_batch(
            [prompt],
            num_hypotheses=sampling.n,
            max_length=min(sampling.max_tokens, self.context - len(prompt)),
            sampling_topk=0 if sampling.temperature else 1,
            sampling_topp=sampling.top_p,
            sampling_temperature=sampling.temperature or 1.0,
            include_prompt_in_result=False,
            return_end_token=True,
            callback=grow,
        )
        return [self._drawn(row, sampling.stop) for row in rows]

    def _seeded(self, seed: int) -> ctranslate2.Generator:
        generator = ctranslate2.Generator(
            str(self.weights), compute_type=self.compute_type, inter_threads=1, intra_threads=1
        )
        with SEEDING:
            ctranslate2.set_random_seed(seed % SEEDS)
            generator.generate_batch(
                [[self.bos]], max_length=1, sampling_topk=0, include_prompt_in_result=False
            )
        return generator

    def _met_stop(self, row: list[int], stops: Sequence[str]) -> bool:
        if not stops:
            return False
        tail = row[-max(map(len, stops)) :]
        text = self.tokenizer.decode(tail)
        return any(stop in text for stop in stops)

    def _drawn(self, row: list[int], stops: Sequence[str]) -> Drawn:
        text = self.tokenizer.decode(row)
        ends = [text.index(stop) for stop in stops if stop in text]
        ended = bool(ends) or row[-1:] == [self.eos]
        return Drawn(text=text[: min(ends)] if ends else text, tokens=len(row), ended=ended)


def load(folder: Path, compute_type: str, workers: int) -> Model:
    """Read a model folder; `ConfigError` when a file that it needs is missing or damaged."""
    _require_files(folder)
    try:
        return _load(folder, compute_type, workers)
    except Exception as error:  # tokenizers raises nothing more exact
        raise ConfigError(
            f"engines.pocket: {folder} cannot be loaded: {' '.join(str(error).split())}"
        ) from error


def _load(folder: Path, compute_type: str, workers: int) -> Model:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    special = json.loads((folder / "ctranslate2" / "config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return Model(
        weights=folder / "ctranslate2",
        compute_type=compute_type,
        tokenizer=tokenizer,
        bos=special["bos_token"],
        eos=tokenizer.token_to_id(special["eos_token"]),
        context=config["max_position_embeddings"],
        reader=ctranslate2.Generator(
            str(folder / "ctranslate2"),
            compute_type=compute_type,
            inter_threads=workers,
            intra_threads=1,
        ),
    )


def weights_digest(folder: Path) -> str:
    """A name for everything in a model folder that decides what it writes."""
    _require_files(folder)
    content = hashlib.blake2b(digest_size=8)
    for name in FILES:
        content.update((folder / name).read_bytes())
    return content.hexdigest()


def _require_files(folder: Path) -> None:
    for name in FILES:
        if not (folder / name).is_file():
            raise ConfigError(
                f"engines.pocket: {folder} has no {name}; give a folder made by ct2-transformers-converter beside the model"
            )
