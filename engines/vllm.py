"""vLLM in this process: for a model on this machine's GPU (or, for small models and tests, its CPU); prompts share their prefixes."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from engines.base import Completion, Prompt, Scored
from engines.runtime import async_llm as _async_llm
from engines.runtime.request_splitting import in_parts
from stepmark.errors import ConfigError
from stepmark.identity import fingerprint, operational
from stepmark.records import Sampling

__all__ = ["VLLM"]

# Children of one request take seeds next to each other, and requests' seeds are spaced by 1024.
MOST = 1024
# Enough of a weights file to tell two trainings apart: reading it all would take minutes.
HEAD_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class VLLM:
    """A model by its Hub name or folder, on one event loop from its first call to `close`.

    `chat` says whether prompts become turns; None: when the tokenizer has a chat template. `options` go to vLLM's `AsyncEngineArgs`
    as they are; what only says how much of the machine to use (`gpu_memory_utilization`, `max_num_seqs`) belongs in `resources`,
    which leaves results current. A script that uses this needs the usual `if __name__ == "__main__"`.
    """

    version: ClassVar[int] = 1

    model: str
    revision: str | None = None
    dtype: str = "auto"
    chat: bool | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = operational(default_factory=dict)

    @property
    def model_name(self) -> str:
        """The Hub name or the folder's name, and the revision if one is set."""
        name = Path(self.model).name if Path(self.model).is_dir() else self.model
        return f"{name}@{self.revision}" if self.revision else name

    @cached_property
    def identity(self) -> str:
        """The fields, and for a folder its name and what its files hold; a Hub name without `revision` is trusted not to move."""
        folder = Path(self.model)
        return (
            fingerprint(replace(self, model=folder.name), _folder_digest(folder))
            if folder.is_dir()
            else fingerprint(self)
        )

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Continue the prompt, starting vLLM on the first call; an engine that died is started anew by the next one."""
        running = await self._running()
        return await in_parts(lambda part: running.complete(prompt, part), sampling, MOST)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Read prompt and continuation, starting vLLM as `complete` does; there must be room for one token more."""
        return await (await self._running()).score(prompt, continuation)

    async def close(self) -> None:
        """End vLLM and its processes, also one that has failed; returns when its memory is free."""
        if not self._starts:
            return
        start = self._starts.pop()
        await asyncio.wait([start])
        if not start.cancelled() and start.exception() is None:
            await start.result().stop()

    async def _running(self) -> _async_llm.Running:
        if self._starts and _failed(self._starts[0]):
            await self.close()
        if not self._starts:
            self._starts.append(asyncio.create_task(_async_llm.start(self._arguments(), self.chat)))
        return await asyncio.shield(self._starts[0])

    # The one start that all callers wait for; a cached property lives in the instance's dictionary, which being frozen leaves alone.
    @cached_property
    def _starts(self) -> list["asyncio.Task[_async_llm.Running]"]:
        return []

    def _arguments(self) -> Mapping[str, Any]:
        if self.model.startswith(("/", ".")) and not Path(self.model).is_dir():
            raise ConfigError(
                f"engines.vllm: there is no folder {self.model}; give a model's folder or its name on the Hub"
            )
        own = {"model": self.model, "revision": self.revision, "dtype": self.dtype}
        return {"enable_prefix_caching": True, **self.resources, **self.options, **own}


def _failed(start: "asyncio.Task[_async_llm.Running]") -> bool:
    return start.done() and (
        start.cancelled() or start.exception() is not None or start.result().dead
    )


def _folder_digest(folder: Path) -> str:
    content = hashlib.blake2b(digest_size=8)
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        content.update(f"{path.name}:{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            content.update(file.read(HEAD_BYTES))
    return content.hexdigest()
