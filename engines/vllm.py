"""vLLM in this process: a model on the GPU of this machine, or a small one on its CPU."""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from engines.base import Completion, Prompt, Scored
from engines.runtime import async_llm
from engines.runtime.request_splitting import complete_in_parts
from stepmark.errors import ConfigError
from stepmark.identity import SEED_SPACING, fingerprint, operational
from stepmark.records import Sampling

__all__ = ["VLLM"]

# The completions of a request have consecutive seeds, and the seeds of requests have this distance.
MAX_N = SEED_SPACING
# Enough of a weights file to distinguish two trainings; reading all of it would take minutes.
HEAD_BYTES = 1 << 20
# Files of a model folder that describe the model, and that vLLM does not read. All other files
# count: an unknown one may change outputs.
DESCRIPTION = re.compile(
    r"\..*|(?:readme|licen[cs]e|notice|citation|use_policy).*|.*\.(?:md|rst|pdf|png|jpe?g|svg|gif)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class VLLM:
    """A model by its Hub name or folder, on one event loop from its first call to `close`.

    Requests share the prefixes of their prompts in a cache. `chat` determines whether prompts
    become turns; None means that they do if the tokenizer has a chat template. `options` are passed
    to vLLM's `AsyncEngineArgs`. Arguments that only limit the use of the machine
    (`gpu_memory_utilization`, `max_num_seqs`) belong in `resources`, which does not change the
    fingerprint. With `replicas`, vLLM starts several engines, each with the model on its own GPUs,
    and sends each request to one of them (data parallelism). A script that uses this engine needs
    the usual `if __name__ == "__main__"`.
    """

    version: ClassVar[int] = 1

    model: str
    """Hub name or folder of the model."""
    revision: str | None = None
    """Commit or branch on the Hub. Pin it, so that a repeated run uses the same weights."""
    dtype: str = "auto"
    """Number type of the weights, as vLLM names it."""
    chat: bool | None = None
    """Whether prompts become chat turns; unset uses the chat template where the tokenizer has
    one.
    """
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments for vLLM's `AsyncEngineArgs` that may change results, such as `max_model_len`."""
    resources: Mapping[str, Any] = operational(default_factory=dict)
    """Arguments that only use more or less of the machine, such as `gpu_memory_utilization`."""
    replicas: int = operational(default=1)
    """Engines on this machine, each with the model on a GPU, or on as many as
    `tensor_parallel_size` in `resources` says. The result does not depend on it."""

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise ConfigError("engines.vllm: replicas is the number of engines, from 1 on")

    @property
    def model_name(self) -> str:
        """The Hub name or the name of the folder, and the revision if one is set."""
        name = self.model
        if Path(self.model).is_dir():
            name = Path(self.model).name
        if self.revision:
            return f"{name}@{self.revision}"
        return name

    @cached_property
    def identity(self) -> str:
        """A digest of the fields, and for a folder of its name and the files that vLLM reads.

        A Hub name without `revision` is assumed to always mean the same weights.
        """
        folder = Path(self.model)
        if not folder.is_dir():
            return fingerprint(self)
        return fingerprint(replace(self, model=folder.name), _folder_digest(folder))

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Continue the prompt. The first call, and the first one after a crash, starts vLLM."""
        running = await self.ensure_running()
        return await complete_in_parts(lambda part: running.complete(prompt, part), sampling, MAX_N)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Score the continuation, starting vLLM as `complete` does.

        The context must have space for one more token.
        """
        running = await self.ensure_running()
        return await running.score(prompt, continuation)

    async def ensure_running(self) -> async_llm.Running:
        """Return the running vLLM. The first call, and the first one after a crash, starts it."""
        if self._starts and _has_failed(self._starts[0]):
            await self.close()
        if not self._starts:
            self._starts.append(asyncio.create_task(async_llm.start(self._arguments(), self.chat)))
        # Shielded, because other calls wait for the same start when one of them is cancelled.
        return await asyncio.shield(self._starts[0])

    async def close(self) -> None:
        """End vLLM and its processes, even after a crash, and wait until its memory is free."""
        if not self._starts:
            return
        start = self._starts.pop()
        await asyncio.wait([start])
        if not start.cancelled() and start.exception() is None:
            await start.result().stop()

    # At most one start, for which all callers wait. A frozen dataclass allows cached properties,
    # since these write to the instance dictionary directly.
    @cached_property
    def _starts(self) -> list["asyncio.Task[async_llm.Running]"]:
        return []

    def _arguments(self) -> Mapping[str, Any]:
        if self.model.startswith(("/", ".")) and not Path(self.model).is_dir():
            raise ConfigError(
                f"engines.vllm: there is no folder {self.model};"
                " give the folder of a model or its name on the Hub"
            )
        replicas: Mapping[str, Any] = {}
        if self.replicas > 1:
            replicas = {"data_parallel_size": self.replicas}
        # The fields of this class override equal keys in `options` and `resources`.
        return {
            "enable_prefix_caching": True,
            **self.resources,
            **self.options,
            **replicas,
            "model": self.model,
            "revision": self.revision,
            "dtype": self.dtype,
        }


def _has_failed(start: "asyncio.Task[async_llm.Running]") -> bool:
    """Return whether a start has failed, or its engine has crashed since."""
    if not start.done():
        return False
    return start.cancelled() or start.exception() is not None or start.result().dead


def _folder_digest(folder: Path) -> str:
    content = hashlib.blake2b(digest_size=8)
    files = [path for path in folder.iterdir() if path.is_file()]
    for path in sorted(files):
        if DESCRIPTION.fullmatch(path.name):
            continue
        content.update(f"{path.name}:{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            content.update(file.read(HEAD_BYTES))
    return content.hexdigest()
