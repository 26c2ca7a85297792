"""The included model: a few million parameters on the CPU, without GPU or server, and reproducible.

A sample depends on the weights, the prompt and the sampling alone, never on other requests. Runs
therefore repeat exactly on one kind of processor. Completion i of a request differs from a request
of one completion with seed + i, because the rows of a batch share one random stream.
"""

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from engines.base import Completion, Prompt, Scored
from engines.runtime import ctranslate2_model
from engines.runtime.request_splitting import complete_in_parts
from stepmark.errors import EngineError
from stepmark.identity import fingerprint, operational
from stepmark.records import Sampling

__all__ = ["Pocket"]

# The types of CTranslate2 that every CPU supports, or replaces by another one.
ComputeType = Literal[
    "float32", "int8", "int8_float32", "int8_bfloat16", "int16", "bfloat16", "auto", "default"
]
SHIPPED = Path(__file__).with_name("pocket_model")
# Rows of one batch. More than 16 gain little on a core, and a large request should use all cores.
MAX_ROWS = 16


@dataclass(frozen=True, kw_only=True)
class Pocket:
    """A small Llama-like model on CTranslate2, the included one unless `model` names a folder.

    The folder has the layout of the Hugging Face Hub, with the CTranslate2 conversion in its
    subfolder `ctranslate2`. The decoder of its tokenizer must join tokens without adding or
    removing spaces (`Fuse`, `ByteLevel`). Each worker processes one batch at a time; other requests
    wait in the order of their arrival. `workers = 0` means one worker per core.
    """

    version: ClassVar[int] = 1

    model: str = operational(default="")
    """Another folder with a model in the same layout; empty for the bundled one."""
    compute_type: ComputeType = "float32"
    """Number type of CTranslate2.

    `int8_float32` is up to twice as fast on some CPUs; `float32` gives the greedy text that
    vLLM gives.
    """
    workers: Annotated[int, Field(ge=0, le=1024)] = operational(default=0)
    """Batches that are sampled at the same time; 0 for one per core."""

    @property
    def model_name(self) -> str:
        """The name of the folder; "pocket" for the included model."""
        if self.model:
            return self._folder.name
        return "pocket"

    @cached_property
    def identity(self) -> str:
        """A digest of the weights and the tokenizer, independent of the path of the folder."""
        return fingerprint(self, ctranslate2_model.weights_digest(self._folder))

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return completions of the prompt as plain text.

        A cancelled call stops within one token.

        Raises:
            EngineError: The prompt is longer than the context of the model. It is not retryable.
        """
        tokens = self._model.encode(prompt.text)
        self._check_length(tokens)
        return await complete_in_parts(lambda part: self._draw(tokens, part), sampling, MAX_ROWS)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Return the log-probabilities (nats) of the tokens of a continuation.

        The model runs once. The request waits in the same queue as completions.

        Raises:
            EngineError: Prompt and continuation are longer than the context of the model.
        """
        text = prompt.text + continuation
        tokens, continuation_tokens = self._model.encode_ending(text, len(continuation))
        self._check_length(tokens)
        logprobs = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._model.score, tokens, continuation_tokens
        )
        return Scored(logprobs=logprobs, prompt_tokens=len(tokens), cached_tokens=0)

    async def close(self) -> None:
        """End the worker threads; waiting calls are cancelled."""
        state = vars(self)
        if "_pool" in state:
            state.pop("_pool").shutdown(wait=False, cancel_futures=True)
        state.pop("_model", None)

    async def _draw(self, tokens: list[str], sampling: Sampling) -> Sequence[Completion]:
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()
        try:
            samples = await loop.run_in_executor(
                self._pool, self._model.draw, tokens, sampling, cancelled
            )
        finally:
            # A thread cannot be cancelled; it checks this event after every token.
            cancelled.set()
        return [_completion(sample, len(tokens)) for sample in samples]

    def _check_length(self, tokens: list[str]) -> None:
        if len(tokens) >= self._model.context:
            raise EngineError(
                f"the prompt has {len(tokens)} tokens,"
                f" the context of the model has {self._model.context}",
                retryable=False,
            )

    @property
    def _folder(self) -> Path:
        if self.model:
            return Path(self.model).expanduser()
        return SHIPPED

    # Created on first use. A frozen dataclass allows cached properties, since these write to the
    # instance dictionary directly.
    @cached_property
    def _model(self) -> ctranslate2_model.Model:
        return ctranslate2_model.load(self._folder, self.compute_type, self._threads)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="pocket")

    @property
    def _threads(self) -> int:
        return self.workers or os.cpu_count() or 1


def _completion(sample: ctranslate2_model.Sample, prompt_tokens: int) -> Completion:
    finish_reason = "length"
    if sample.ended:
        finish_reason = "stop"
    return Completion(
        text=sample.text,
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        cached_tokens=0,
        generated_tokens=sample.tokens,
    )
