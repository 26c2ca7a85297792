"""Reproducible sampling from a small model on CTranslate2.

The samples of a batch depend on its seed, prompt and sampling parameters only. CTranslate2 has one
seed per process, which a worker thread copies when it first samples. Every batch therefore creates
a generator with one worker thread and seeds it under a lock. This loads the weights again (8 ms for
13 MB), so the module is for small models. Processors of another kind may round differently.
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

__all__ = ["Model", "Sample", "load", "weights_digest"]

# The seed belongs to the process, so two batches must not set it at the same time.
SEED_LOCK = threading.Lock()
# CTranslate2 interprets 2**32 - 1 as "use a random seed".
SEED_COUNT = 2**32 - 1
FILES = ("config.json", "tokenizer.json", "ctranslate2/model.bin", "ctranslate2/config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample and its number of tokens, which includes the end token if the model ended."""

    text: str
    tokens: int
    ended: bool
    """Whether the model generated its end token or a stop string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model folder. Each batch loads the weights again; the rest is shared."""

    weights_folder: Path
    compute_type: str
    tokenizer: Tokenizer
    bos: str
    eos: int | None
    context: int
    """The maximum number of tokens of prompt and completion together."""
    scorer: ctranslate2.Generator
    """A generator that never samples, so that all calls can share it."""

    def encode(self, text: str) -> list[str]:
        """Return the tokens of a prompt, after the beginning-of-text token."""
        tokens: list[str] = self.tokenizer.encode(text, add_special_tokens=False).tokens
        return [self.bos, *tokens]

    def encode_ending(self, text: str, length: int) -> tuple[list[str], int]:
        """Return the tokens of a text, and how many contain one of its last `length` characters."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        ending_start = len(text) - length
        count = sum(end > ending_start for _, end in encoding.offsets)
        return [self.bos, *encoding.tokens], count

    def score(self, tokens: list[str], count: int) -> tuple[float, ...]:
        """Return the log-probabilities of the last `count` tokens; blocks the calling thread."""
        (result,) = self.scorer.score_batch([tokens], max_input_length=0)
        return tuple(result.log_probs[-count:])

    def draw(
        self, prompt: list[str], sampling: Sampling, cancelled: threading.Event
    ) -> list[Sample]:
        """Return `sampling.n` independent samples in the order of their rows.

        Blocks the calling thread, and returns early once `cancelled` is set.
        """
        # CTranslate2 sorts its results by likelihood, which would make the first sample the most
        # likely one. The callback collects the tokens by row instead.
        rows: list[list[int]] = [[] for _ in range(sampling.n)]

        def collect(result: ctranslate2.GenerationStepResult) -> bool:
            """Add a token to its row and return whether the row must stop."""
            row = rows[result.hypothesis_id]
            row.append(result.token_id)
            return cancelled.is_set() or self._ends_in_stop(row, sampling.stop)

        # `sampling_topk`: 0 samples from all tokens; 1 decodes greedily, and still needs a positive
        # temperature.
        top_k = 0
        if sampling.temperature == 0:
            top_k = 1
        self._seeded_generator(sampling.seed).generate_batch(
            [prompt],
            num_hypotheses=sampling.n,
            max_length=min(sampling.max_tokens, self.context - len(prompt)),
            sampling_topk=top_k,
            sampling_topp=sampling.top_p,
            sampling_temperature=sampling.temperature or 1.0,
            include_prompt_in_result=False,
            return_end_token=True,
            callback=collect,
        )
        return [self._sample(row, sampling.stop) for row in rows]

    def _seeded_generator(self, seed: int) -> ctranslate2.Generator:
        generator = ctranslate2.Generator(
            str(self.weights_folder),
            compute_type=self.compute_type,
            inter_threads=1,
            intra_threads=1,
        )
        with SEED_LOCK:
            ctranslate2.set_random_seed(seed % SEED_COUNT)
            # The worker thread copies the seed when it samples its first token.
            generator.generate_batch(
                [[self.bos]], max_length=1, sampling_topk=0, include_prompt_in_result=False
            )
        return generator

    def _ends_in_stop(self, row: list[int], stops: Sequence[str]) -> bool:
        if not stops:
            return False
        # Decode as many tokens as the longest stop string has characters: nearly every token has
        # at least one.
        longest = max(map(len, stops))
        text = self.tokenizer.decode(row[-longest:])
        return any(stop in text for stop in stops)

    def _sample(self, row: list[int], stops: Sequence[str]) -> Sample:
        """Return the sample of a row, cut before its first stop string."""
        text = self.tokenizer.decode(row)
        ends = [text.index(stop) for stop in stops if stop in text]
        if ends:
            return Sample(text=text[: min(ends)], tokens=len(row), ended=True)
        return Sample(text=text, tokens=len(row), ended=row[-1:] == [self.eos])


def load(folder: Path, compute_type: str, workers: int) -> Model:
    """Load a model folder.

    Raises:
        ConfigError: A file of the folder is missing or damaged.
    """
    _check_files(folder)
    try:
        return _load(folder, compute_type, workers)
    except Exception as error:  # tokenizers raises only the base class
        raise ConfigError(
            f"engines.pocket: {folder} cannot be loaded: {' '.join(str(error).split())}"
        ) from error


def _load(folder: Path, compute_type: str, workers: int) -> Model:
    weights_folder = folder / "ctranslate2"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    special_tokens = json.loads((weights_folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    scorer = ctranslate2.Generator(
        str(weights_folder), compute_type=compute_type, inter_threads=workers, intra_threads=1
    )
    return Model(
        weights_folder=weights_folder,
        compute_type=compute_type,
        tokenizer=tokenizer,
        bos=special_tokens["bos_token"],
        eos=tokenizer.token_to_id(special_tokens["eos_token"]),
        context=config["max_position_embeddings"],
        scorer=scorer,
    )


def weights_digest(folder: Path) -> str:
    """Return a digest of all files of a model folder that determine its output."""
    _check_files(folder)
    content = hashlib.blake2b(digest_size=8)
    for name in FILES:
        content.update((folder / name).read_bytes())
    return content.hexdigest()


def _check_files(folder: Path) -> None:
    for name in FILES:
        if not (folder / name).is_file():
            raise ConfigError(
                f"engines.pocket: {folder} has no {name}: put a model there and run "
                f"ct2-transformers-converter --model {folder} --output_dir {folder}/ctranslate2"
            )
