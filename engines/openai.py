"""Any server that speaks OpenAI's API: vLLM, SGLang, llama.cpp, or a provider; several replicas share the load.

What the server's weights are cannot be seen from here: a server that changes them under the same model name must be given another
`model`, or old and new results mix.
"""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

import httpx2  # what openai is built on; only its limits are set here
import openai
from openai import AsyncOpenAI
from openai.types import CompletionUsage
from openai.types.completion_choice import Logprobs
from pydantic import Field

from engines.base import Completion, Prompt, Scored
from engines.runtime.last_tokens import ending
from engines.runtime.request_splitting import in_parts
from stepmark.errors import ConfigError, EngineError
from stepmark.identity import fingerprint, operational
from stepmark.records import Sampling

__all__ = ["OpenAI"]

CONNECT_SECONDS = 10.0
BUSY = (
    openai.APIConnectionError,
    openai.RateLimitError,
    openai.InternalServerError,
    openai.ConflictError,
)
MENDABLE = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
# What a server that answers at all may still say when it wants to be asked again.
REQUEST_TIMEOUT = 408
SPARE_FILES = 256
MOST_TOKENS = 2**40
UNTOLD = "engines.openai: the server tells no log-probabilities of a prompt; vLLM's does, and with api = 'completions' those that can echo"

T = TypeVar("T")
Token: TypeAlias = tuple[str, float | None]
"""Its text and its log-probability."""


@dataclass(frozen=True, kw_only=True)
class OpenAI:
    """A model behind one or more equal servers, asked in turn; a server that does not answer is passed over.

    `api = "chat"` sends the prompt as turns, "completions" as plain text. `continuation` says how a chat server is told to go on with
    its own unfinished turn: "vllm" (also SGLang: `continue_final_message`), "prefix" (a flag on the message: DeepSeek, Mistral), or
    "none": prompts with a prefix are refused. Parameters that a server does not know are named in `omit`; one that gives a single
    choice per request wants `max_n = 1`. Tokens of a request with several choices are known in total only and are split evenly.
    """

    version: ClassVar[int] = 1

    model: str
    api: Literal["chat", "completions"] = "chat"
    continuation: Literal["vllm", "prefix", "none"] = "vllm"
    length_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    omit: tuple[Literal["seed", "top_p", "temperature", "stop", "response_format"], ...] = ()
    max_n: Annotated[int, Field(ge=1)] = 128
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    base_urls: tuple[str, ...] = operational(default=("http://127.0.0.1:8000/v1",))
    api_key_env: str = operational(default="")
    """Name of the environment variable that holds the key; empty when the server wants none."""
    concurrency: Annotated[int, Field(ge=1, le=65536)] = operational(default=2048)
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = operational(default=600.0)
    """Seconds for one answer."""
    retries: Annotated[int, Field(ge=0)] = operational(default=4)

    def __post_init__(self) -> None:
        if not self.base_urls:
            raise ConfigError(
                "engines.openai: base_urls is empty; give at least one, such as http://127.0.0.1:8000/v1"
            )
        for url in self.base_urls:
            _check_url(url)

    @property
    def model_name(self) -> str:
        """The name that the server knows the model by."""
        return self.model

    @property
    def identity(self) -> str:
        """The fields that change results; the servers' addresses are no part of it."""
        return fingerprint(self)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Ask one server; `ConfigError` when the key, the address or the model's name is refused."""
        self._refuse_prefix(prompt)
        return await in_parts(lambda part: self._ask(prompt, part), sampling, self.max_n)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Have the server echo a plain text with log-probabilities, or tell those of its turns as vLLM's `prompt_logprobs` does.

        `ConfigError` when it answers without them.
        """
        whole = replace(prompt, prefix=prompt.prefix + continuation)
        self._refuse_prefix(whole)
        tokens, usage = await self._answered(lambda client: self._read(client, whole))
        return Scored(
            logprobs=ending(tokens, continuation),
            prompt_tokens=_prompt_tokens(usage),
            cached_tokens=_cached_tokens(usage),
        )

    async def close(self) -> None:
        """Close all connections."""
        state = vars(self)
        for name in ("_turns", "_slots"):
            state.pop(name, None)
        for client in state.pop("_clients", ()):
            await client.close()

    async def _ask(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        completions = await self._answered(lambda client: self._send(client, prompt, sampling))
        if len(completions) != sampling.n:
            raise EngineError(
                f"the server gave {len(completions)} of {sampling.n} choices; set max_n = 1",
                retryable=False,
            )
        return completions

    async def _answered(self, send: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
        async with self._slots:
            try:
                return await self._first_answer(send)
            except openai.APIError as error:
                raise _translated(error) from error
            except (
                ValueError,
                TypeError,
                AttributeError,
                LookupError,
            ) as error:  # what a proxy says in the server's place, say
                raise EngineError(
                    f"not understood: the reply is no completion ({type(error).__name__})",
                    retryable=True,
                ) from error

    async def _first_answer(self, send: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
        """Try each server once, and the last in turn `retries` times more, waiting as long as it asks."""
        start = next(self._turns)
        *others, last = self._clients[start:] + self._clients[:start]
        for client in others:
            try:
                return await send(client.with_options(max_retries=0))
            except BUSY:
                continue
        return await send(last)

    async def _send(
        self, client: AsyncOpenAI, prompt: Prompt, sampling: Sampling
    ) -> Sequence[Completion]:
        if self.api == "completions":
            plain = await client.completions.create(
                model=self.model, prompt=prompt.text, extra_body=self._body(prompt, sampling)
            )
            return _completions([(c.text, c.finish_reason) for c in plain.choices], plain.usage)
        chat = await client.chat.completions.create(
            model=self.model,
            messages=cast(
                Any, self._messages(prompt)
            ),  # `prefix` is no part of OpenAI's own messages
            extra_body=self._body(prompt, sampling) | self._continue(prompt),
        )
        return _completions(
            [(c.message.content or "", c.finish_reason) for c in chat.choices], chat.usage
        )

    async def _read(
        self, client: AsyncOpenAI, prompt: Prompt
    ) -> tuple[Sequence[Token], CompletionUsage | None]:
        if self.api == "completions":
            plain = await client.completions.create(
                model=self.model,
                prompt=prompt.text,
                echo=True,
                logprobs=0,
                max_tokens=0,
                extra_body=dict(self.extra_body),
            )
            return _echoed(plain.choices[0].logprobs), plain.usage
        chat = await client.chat.completions.create(
            model=self.model,
            messages=cast(Any, self._messages(prompt)),
            extra_body={self.length_parameter: 1, "prompt_logprobs": 0}
            | dict(self.extra_body)
            | self._continue(prompt),
        )
        return _told((chat.model_extra or {}).get("prompt_logprobs")), chat.usage

    def _refuse_prefix(self, prompt: Prompt) -> None:
        if self.api == "chat" and prompt.prefix and self.continuation == "none":
            raise EngineError(
                "this server cannot continue an answer; use api = 'completions' or another continuation",
                retryable=False,
            )

    def _body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        known = {
            "n": sampling.n,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            self.length_parameter: sampling.max_tokens,
        }
        stop = {"stop": list(sampling.stop)} if sampling.stop else {}
        form = {"response_format": _response_format(prompt.schema)} if prompt.schema else {}
        return {
            key: value for key, value in (known | stop | form).items() if key not in self.omit
        } | dict(self.extra_body)

    def _messages(self, prompt: Prompt) -> list[Mapping[str, object]]:
        flag = {"prefix": True} if self.continuation == "prefix" else {}
        system: Mapping[str, object] = {"role": "system", "content": prompt.system}
        opening: Mapping[str, object] = {"role": "assistant", "content": prompt.prefix, **flag}
        user: Mapping[str, object] = {"role": "user", "content": prompt.user}
        return [*[system] * bool(prompt.system), user, *[opening] * bool(prompt.prefix)]

    def _continue(self, prompt: Prompt) -> dict[str, object]:
        if not prompt.prefix or self.continuation != "vllm":
            return {}
        return {"continue_final_message": True, "add_generation_prompt": False}

    # Started on first use; cached properties live in the instance's dictionary, which being frozen leaves alone.
    @cached_property
    def _clients(self) -> list[AsyncOpenAI]:
        _allow_open_files(self.concurrency + SPARE_FILES)
        return [self._client(url) for url in self.base_urls]

    @cached_property
    def _turns(self) -> Iterator[int]:
        return itertools.cycle(range(len(self.base_urls)))

    @cached_property
    def _slots(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self.concurrency)

    def _client(self, url: str) -> AsyncOpenAI:
        limits = httpx2.Limits(
            max_connections=self.concurrency, max_keepalive_connections=self.concurrency
        )
        timeout = httpx2.Timeout(self.timeout, connect=CONNECT_SECONDS, pool=None)
        return AsyncOpenAI(
            base_url=url,
            api_key=_key(self.api_key_env),
            timeout=timeout,
            max_retries=self.retries,
            http_client=openai.DefaultAsyncHttpxClient(limits=limits, timeout=timeout),
        )


def _completions(
    choices: Sequence[tuple[str, str | None]], usage: CompletionUsage | None
) -> Sequence[Completion]:
    """`TypeError` where the server's types are not the API's: the client does not check them."""
    if not all(
        isinstance(text, str) and isinstance(reason, str | None) for text, reason in choices
    ):
        raise TypeError("text or finish_reason")
    generated = _count(usage.completion_tokens if usage else 0)
    return [
        Completion(
            text=text,
            finish_reason=reason or "length",
            prompt_tokens=_prompt_tokens(usage),
            cached_tokens=_cached_tokens(usage),
            generated_tokens=generated // len(choices) + (index < generated % len(choices)),
        )
        for index, (text, reason) in enumerate(choices)
    ]


def _echoed(logprobs: Logprobs | None) -> Sequence[Token]:
    if logprobs is None or not logprobs.tokens or not logprobs.token_logprobs:
        raise ConfigError(UNTOLD)
    return list(zip(logprobs.tokens, map(_logprob, logprobs.token_logprobs), strict=True))


def _told(entries: Any) -> Sequence[Token]:
    """What vLLM calls `prompt_logprobs`: nothing for the first token, then for each by its id what is known of it, and of no other."""
    if not entries:
        raise ConfigError(UNTOLD)
    known = [
        next(iter(entry.values())) if entry else {"decoded_token": "", "logprob": None}
        for entry in entries
    ]
    return [(str(token["decoded_token"] or ""), _logprob(token["logprob"])) for token in known]


def _logprob(value: object) -> float | None:
    """`TypeError` where the server says anything else."""
    if not isinstance(value, float | int | None):
        raise TypeError("logprob")
    return value


def _prompt_tokens(usage: CompletionUsage | None) -> int:
    return _count(usage.prompt_tokens if usage else 0)


def _cached_tokens(usage: CompletionUsage | None) -> int:
    details = usage and usage.prompt_tokens_details
    return _count((details and details.cached_tokens) or 0)


def _response_format(schema: str) -> Mapping[str, object]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "reply", "strict": True, "schema": json.loads(schema)},
    }


def _count(tokens: object) -> int:
    if not isinstance(tokens, int) or not 0 <= tokens <= MOST_TOKENS:
        raise TypeError("usage")
    return tokens


def _translated(error: openai.APIError) -> EngineError | ConfigError:
    says = " ".join(str(error).split())
    where = f" by {error.request.url}"
    if isinstance(error, MENDABLE):
        return ConfigError(
            f"engines.openai: refused{where}: {says}; check base_urls, model and api_key_env"
        )
    if isinstance(error, openai.APIStatusError):
        retryable = isinstance(error, BUSY) or error.status_code == REQUEST_TIMEOUT
        return EngineError(f"refused{where}: {says}", retryable=retryable)
    if isinstance(error, openai.APIConnectionError):
        return EngineError(
            f"no answer from {error.request.url}: {says} Is the server running there?",
            retryable=True,
        )
    return EngineError(f"not understood{where}: {says}", retryable=False)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and url.isprintable()
        )
    except ValueError:  # brackets that do not close, a port of six digits
        usable = False
    if not usable:
        raise ConfigError(
            f"engines.openai: {url!r} in base_urls is no address; write it as http://127.0.0.1:8000/v1"
        )


def _key(variable: str) -> str:
    if not variable:
        return "none"
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigError(
            f"engines.openai: the environment variable {variable} holds no key; set it, or leave api_key_env empty"
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"engines.openai: the environment variable {variable} holds no key: it has characters that keys have not"
        )
    return key


def _allow_open_files(count: int) -> None:
    """Each connection is an open file, and the usual limit of 1024 is below the default concurrency."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
