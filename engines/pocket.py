"""The model in the box: a few million parameters on the CPU, no GPU and no server; the same run gives the same text.

Requests are independent of each other: a sample depends on the weights, the prompt and the sampling alone, so runs repeat exactly on
one kind of processor. Child i of a request is not what a request of one with seed + i would give: rows share one random stream.
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
from engines.runtime import ctranslate2_model as _ct2
from engines.runtime.request_splitting import in_parts
from stepmark.errors import EngineError
from stepmark.identity import fingerprint, operational
from stepmark.records import Sampling

__all__ = ["Pocket"]

# The types of CTranslate2 that every CPU has or falls back from.
ComputeType = Literal[
    "float32", "int8", "int8_float32", "int8_bfloat16", "int16", "bfloat16", "auto", "default"
]
SHIPPED = Path(__file__).with_name("pocket_model")
# Rows drawn together: beyond 16 a core gains little, and a large request should keep all cores busy.
ROWS = 16


@dataclass(frozen=True, kw_only=True)
class Pocket:
    """A small Llama-like model on CTranslate2, the shipped one unless `model` names another folder.

    The folder is laid out as on the Hugging Face Hub, with CTranslate2's conversion in its subfolder `ctranslate2`. Its tokenizer's
    decoder must join tokens without adding or dropping spaces (`Fuse`, `ByteLevel`). One draw runs per worker, the rest wait their
    turn in order of arrival; `workers = 0` means one per core.
    """

    version: ClassVar[int] = 1

    model: str = operational(default="")
    compute_type: ComputeType = "float32"
    workers: Annotated[int, Field(ge=0, le=1024)] = operational(default=0)

    @property
    def model_name(self) -> str:
        """The folder's name; "pocket" for the shipped model."""
        return self._folder.name if self.model else "pocket"

    @cached_property
    def identity(self) -> str:
        """What the weights and the tokenizer say, wherever they lie."""
        return fingerprint(self, _ct2.weights_digest(self._folder))

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Continue the prompt's plain text; cancelling stops rows within a token. Never retryable: there is nothing to wait for."""
        tokens = self._model.encode(prompt.text)
        self._refuse_too_many(tokens)
        return await in_parts(lambda part: self._draw(tokens, part), sampling, ROWS)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """One pass over the plain text; takes its turn among the draws."""
        tokens, last = self._model.encode_ending(prompt.text + continuation, len(continuation))
        self._refuse_too_many(tokens)
        logprobs = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._model.score, tokens, last
        )
        return Scored(logprobs=logprobs, prompt_tokens=len(tokens), cached_tokens=0)

    async def close(self) -> None:
        """End the worker threads; calls that still wait are cancelled."""
        state = vars(self)
        if "_pool" in state:
            state.pop("_pool").shutdown(wait=False, cancel_futures=True)
        state.pop("_model", None)

    async def _draw(self, tokens: list[str], sampling: Sampling) -> Sequence[Completion]:
        loop, cancelled = asyncio.get_running_loop(), threading.Event()
        try:
            drawn = await loop.run_in_executor(
                self._pool, self._model.draw, tokens, sampling, cancelled
            )
        finally:
            cancelled.set()
        return [_completion(sample, len(tokens)) for sample in drawn]

    def _refuse_too_many(self, tokens: list[str]) -> None:
        if len(tokens) >= self._model.context:
            raise EngineError(
                f"the prompt has {len(tokens)} tokens, the model's context {self._model.context}",
                retryable=False,
            )

    @property
    def _folder(self) -> Path:
        return Path(self.model).expanduser() if self.model else SHIPPED

    # Started on first use; cached properties live in the instance's dictionary, which being frozen leaves alone.
    @cached_property
    def _model(self) -> _ct2.Model:
        return _ct2.load(self._folder, self.compute_type, self._threads)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="pocket")

    @property
    def _threads(self) -> int:
        return self.workers or os.cpu_count() or 1


def _completion(sample: _ct2.Drawn, prompt_tokens: int) -> Completion:
    return Completion(
        text=sample.text,
        finish_reason="stop" if sample.ended else "length",
        prompt_tokens=prompt_tokens,
        cached_tokens=0,
        generated_tokens=sample.tokens,
    )
