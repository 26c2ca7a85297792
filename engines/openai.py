"""Any server with the API of OpenAI: vLLM, SGLang, llama.cpp or a provider, also as replicas.

The server does not reveal its weights. A server that changes them under the same model name needs
another `model` here; otherwise old and new results are mixed.
"""

import asyncio
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast

import httpx2  # the HTTP client below openai; used only to set its limits
import openai
from openai import AsyncOpenAI
from pydantic import Field

from engines.base import BatchRecords, Completion, Prompt, Scored, ServersHealth, completion_keys
from engines.runtime.answered_samples import answered_samples, keep_answered, missing_ranges
from engines.runtime.batch_api import BatchApi, Endpoint, read_a_batch
from engines.runtime.batch_queue import BatchLimits, BatchQueue
from engines.runtime.batch_record import BatchRecord
from engines.runtime.batch_repeats import request_in_batches
from engines.runtime.bounded_body import bound_body
from engines.runtime.continuation_probe import prove_continuation, prove_plain_continuation
from engines.runtime.doubts import FEW_TOKENS, DoubtfulReply, Doubts, RequestDoubts
from engines.runtime.fleet import Fleet
from engines.runtime.last_tokens import logprobs_of_ending
from engines.runtime.openai_faults import fault_of
from engines.runtime.openai_replies import (
    Reply,
    Token,
    UnreadableReply,
    Usage,
    decode_reply,
    parse_reply,
    read_echoed_tokens,
    read_prompt_logprobs,
    read_reply,
    read_usage,
)
from engines.runtime.rate_limit import RateLimit, reserved_tokens
from engines.runtime.request_splitting import complete_in_parts
from engines.runtime.server_list import ServerList, check_url, read_urls
from stepmark.errors import (
    ConfigError,
    ContinuationError,
    EngineError,
    EngineUnavailableError,
    EngineWarning,
)
from stepmark.identity import fingerprint, operational
from stepmark.records import Sampling
from stepmark.secrets import is_variable_name, redact, redact_urls, secrets_in

__all__ = ["OpenAI"]

CONNECT_SECONDS = 10.0
# So many replies without all of their choices show that the server never returns more; a fault can
# do the same to one of them.
SHORT_REPLIES = 2
# Open files that are no connections to servers.
SPARE_FILES = 256
CONTINUATION_CURE = (
    "use api = 'completions', another `continuation`, or a server that continues the assistant's"
    " turn, such as vLLM or SGLang; methods without rollouts need none"
)
BATCH_CURE = "use another engine for it: `batch = true` is for judges and traces"
PLAIN_CONTINUATION_CURE = (
    "it reads plain text as a turn of a chat: use api = 'chat', or a server that continues plain"
    " text, such as vLLM, SGLang or llama.cpp; methods without rollouts need none"
)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class OpenAI:
    """A model behind one or more equal servers.

    Requests are repeated after faults, on another server first; see `engines/runtime/faults.py`.

    `api = "chat"` sends the prompt as turns, "completions" as plain text. `continuation` selects
    how a chat server is asked to continue its own unfinished turn: "vllm" (also SGLang:
    `continue_final_message`), "prefix" (a flag on the message: DeepSeek, Mistral), or "none", which
    rejects prompts with a prefix. Before the first request with a prefix the engine proves that the
    server continues it. List parameters that a server does not support in `omit`, and set
    `max_n = 1` for a server that returns a single choice per request. A server reports only the
    total tokens of a request with several choices; they are split evenly.

    With `batch` the requests of a run are gathered and sent by `/v1/batches`. No result depends on
    it.
    """

    version: ClassVar[int] = 1

    model: str
    """The model's name on the server."""
    api: Literal["chat", "completions"] = "chat"
    """`chat` sends turns, `completions` sends plain text."""
    continuation: Literal["vllm", "prefix", "none"] = "vllm"
    """How a chat server continues an assistant turn: `vllm` sets `continue_final_message`,
    `prefix` marks the message, `none` rejects prompts with a prefix.
    """
    length_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The name of the parameter that limits the completion."""
    omit: tuple[Literal["seed", "top_p", "temperature", "stop", "response_format"], ...] = ()
    """Parameters that the server does not accept."""
    max_n: Annotated[int, Field(ge=1)] = 128
    """Largest number of choices in one request; larger requests are split."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further keys for every request body."""
    base_urls: tuple[str, ...] = operational(default=("http://127.0.0.1:8000/v1",))
    """Addresses of equal servers, used in turn."""
    base_urls_file: str = operational(default="")
    """A file with one address per line, in place of `base_urls`; read again when it changes."""
    api_key_env: str = operational(default="")
    """The environment variable with the key; empty if the server needs none."""
    concurrency: Annotated[int, Field(ge=1, le=65536)] = operational(default=2048)
    """Most requests that are open at the same time."""
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = operational(default=600.0)
    """Seconds until one answer must be complete."""
    retries: Annotated[int, Field(ge=0)] = operational(default=8)
    """How often a request is repeated that a server fails to answer."""
    patience: Annotated[float, Field(ge=0, allow_inf_nan=False)] = operational(default=900.0)
    """Seconds for which the run waits while no server answers, and the longest wait that a server
    can ask for."""
    requests_per_minute: Annotated[float, Field(ge=0, allow_inf_nan=False)] = operational(
        default=0.0
    )
    """The most requests that are sent per minute, evenly; 0 for no limit."""
    tokens_per_minute: Annotated[float, Field(ge=0, allow_inf_nan=False)] = operational(default=0.0)
    """The most tokens of prompts and answers per minute; 0 for no limit."""
    trust_continuation: bool = operational(default=False)
    """Whether to use a server without the proof that it continues an answer."""
    batch: bool = operational(default=False)
    """Whether requests are sent in batches, which a provider answers within a day for less."""
    batch_requests: Annotated[int, Field(ge=1, le=50_000)] = operational(default=50_000)
    """Most requests in one batch."""
    batch_gather_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = operational(
        default=60.0
    )
    """Seconds from the first request of a batch until the batch is submitted, if it is not full."""
    batch_poll_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = operational(
        default=60.0
    )
    """Seconds between two readings of the status of a batch."""
    batch_price: Annotated[float, Field(ge=0, allow_inf_nan=False)] = operational(default=0.5)
    """Price of a token in a batch, as a part of the one in `[prices]`."""

    def __post_init__(self) -> None:
        if not self.base_urls:
            raise ConfigError(
                "engines.openai: base_urls is empty; give at least one,"
                " such as http://127.0.0.1:8000/v1"
            )
        for url in self.base_urls:
            check_url(url)
        if self.base_urls_file:
            read_urls(Path(self.base_urls_file))
        if self.batch and (len(self.base_urls) > 1 or self.base_urls_file):
            raise ConfigError(
                "engines.openai: batch = true needs a single address in base_urls: a batch belongs"
                " to one server"
            )
        if self.api_key_env and not _is_variable(self.api_key_env):
            # Not quoted: it can be a key that was written in place of the name.
            raise ConfigError(
                "engines.openai: api_key_env is the name of an environment variable that contains"
                " the key, such as OPENAI_API_KEY, not the key"
            )

    @property
    def model_name(self) -> str:
        """The name of the model on the server."""
        return self.model

    @property
    def identity(self) -> str:
        """A digest of the fields that change results, without the addresses of the servers."""
        return fingerprint(self)

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return completions from one server.

        Raises:
            EngineError: See `Engine.complete`.
            ConfigError: The server rejects the key, the address or the name of the model, or does
                not continue a prefix.
        """
        self._check_prefix(prompt)
        if prompt.prefix:
            await self.check_continuation(prompt)
            self._refuse_without_proof()
        return await self._complete(prompt, sampling)

    async def score(self, prompt: Prompt, continuation: str) -> Scored:
        """Score the continuation.

        With `api = "completions"` the server echoes the plain text with log-probabilities; with
        "chat" it returns `prompt_logprobs`, as vLLM does. The tokens must spell the continuation,
        which proves that the server has read it as the end of the text.

        Raises:
            ConfigError: The reply contains no log-probabilities.
        """
        full_prompt = replace(prompt, prefix=prompt.prefix + continuation)
        self._check_prefix(full_prompt)

        def read(client: AsyncOpenAI) -> Awaitable[tuple[Sequence[Token], Usage]]:
            return self._read(client, full_prompt)

        # A score generates at most one token, so it is a probe, too.
        tokens, usage = await self._request(
            read,
            prompt,
            probe=read,
            reserved=reserved_tokens(full_prompt, Sampling(n=1, max_tokens=1)),
            used=lambda result: result[1].prompt_tokens,
        )
        return Scored(
            logprobs=logprobs_of_ending(tokens, continuation),
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
        )

    async def check_continuation(self, prompt: Prompt) -> Sequence[Completion]:
        """Prove that the server continues a prefix; see `ChecksContinuation`."""
        self._check_prefix(prompt)
        if self.trust_continuation:
            return []
        prove = prove_continuation
        if self.api == "completions":
            prove = prove_plain_continuation
        async with self._proof_lock:
            completions: list[Completion] = []
            if self._proof_problem is None:
                proof = await prove(self._ask, prompt)
                completions = proof.completions
                vars(self)["_proof_problem"] = proof.problem
                if not proof.problem and proof.doubt:
                    self._warn(f"the server seems to continue answers, but {proof.doubt}")
        return completions

    def _refuse_without_proof(self) -> None:
        if not self._proof_problem:
            return
        cure = CONTINUATION_CURE
        if self.api == "completions":
            cure = PLAIN_CONTINUATION_CURE
        message = (
            f"engines.openai: {self.model} at {self._fleet.first_url} does not continue an answer"
            f" ({self._proof_problem}), so rollouts would be other solutions; {cure}"
        )
        raise ContinuationError(self._redacted(message))

    @property
    def batch_price_factor(self) -> float | None:
        """The price of a token in a batch; see `SendsBatches`."""
        return self.batch_price if self.batch else None

    def record_batches(self, records: BatchRecords) -> None:
        """Send requests in batches from now on, if `batch` is set; see `SendsBatches`."""
        if self.batch:
            vars(self)["_batch_records"] = records

    async def forget_batches(self) -> None:
        """Remove the records of batches whose answers were all returned; see `SendsBatches`."""
        if self._batch_records is not None:
            await self._batch_queue.forget()

    async def close(self) -> None:
        """Close all connections."""
        state = vars(self)
        queue = state.pop("_batch_queue", None)
        if queue is not None:
            await queue.close()
        for name in ("_slots", "_proof_lock", "_rate_limit"):
            state.pop(name, None)
        fleet = state.pop("_fleet", None)
        if fleet is not None:
            for client in fleet.clients:
                await client.close()

    def take_faults(self) -> Mapping[str, int]:
        """Return the number of faults by kind since the last call; see `CountsFaults`."""
        faults = dict(self._fleet.faults)
        self._fleet.faults.clear()
        return faults

    def servers_health(self) -> ServersHealth | None:
        """Return the state of the servers; see `HasServers`."""
        fleet: Fleet[AsyncOpenAI] | None = vars(self).get("_fleet")
        return None if fleet is None else fleet.health

    async def _complete(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        return await complete_in_parts(
            lambda part: self._complete_part(prompt, part),
            sampling,
            min(self.max_n, *self._choice_counts),
        )

    async def _complete_part(self, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
        """Return the completions of one request, and of more for what it lacks."""
        reply, doubts = await self._reply(prompt, sampling)
        self._doubts.learn(reply)
        self._warn_about(reply)
        self._learn_choices(len(reply.completions), sampling.n)
        completions: dict[int, Completion] = {}
        for position, completion in enumerate(reply.completions):
            if position not in doubts:
                completions[reply.indices[position]] = completion
        for start, end in list(missing_ranges(sampling.n, completions)):
            part = replace(sampling, n=end - start, seed=sampling.seed + start)
            try:
                completions.update(enumerate(await self._complete(prompt, part), start))
            except (Exception, asyncio.CancelledError) as error:
                for index, completion in answered_samples(error).items():
                    completions[start + index] = completion
                keep_answered(error, completions)
                raise
        return [completions[index] for index in range(sampling.n)]

    async def _reply(self, prompt: Prompt, sampling: Sampling) -> tuple[Reply, Mapping[int, str]]:
        """Return the reply to a request, and the doubts by the position of the completion.

        A reply of which every text is doubtful is a fault, until it has come again and again.
        """
        request_doubts = RequestDoubts(doubts=self._doubts, max_tokens=sampling.max_tokens)
        probed = replace(sampling, n=1, max_tokens=FEW_TOKENS)

        async def send(client: AsyncOpenAI) -> tuple[Reply, Mapping[int, str]]:
            reply = await self._send(client, prompt, sampling)
            return reply, request_doubts.examine(reply)

        async def send_in_batch() -> tuple[Reply, Mapping[int, str]]:
            reply = await self._reply_in_batch(prompt, sampling)
            return reply, request_doubts.examine(reply)

        async def probe(client: AsyncOpenAI) -> None:
            reply = await self._send(client, prompt, probed)
            doubts = self._doubts.about(reply, FEW_TOKENS)
            if doubts:
                raise DoubtfulReply(reply, doubts[0])

        try:
            if self._batch_records is None:
                reply, doubts = await self._request(
                    send,
                    prompt,
                    probe=probe,
                    reserved=reserved_tokens(prompt, sampling),
                    used=lambda result: _tokens_of(result[0]),
                )
            else:
                reply, doubts = await self._request_in_batches(send_in_batch)
        except DoubtfulReply as error:
            self._doubts.confirmed[error.kind.name] += 1
            return error.reply, {}
        return reply, doubts

    def _learn_choices(self, count: int, requested: int) -> None:
        """Request fewer choices from a server that never returns as many as are requested."""
        vars(self)["_most_choices"] = max(count, self._most_choices)
        if count == requested:
            return
        self._short_replies[count] += 1
        if count == self._most_choices and self._short_replies[count] == SHORT_REPLIES:
            self._warn(
                f"the server returned {count} of {requested} choices, and the others are requested"
                " again; set max_n = 1"
            )
            self._choice_counts.append(count)

    async def _ask(self, prompt: Prompt, max_tokens: int, seed: int) -> Completion:
        """Return a greedy completion for the proof of continuation."""
        sampling = Sampling(temperature=0.0, max_tokens=max_tokens, seed=seed)
        (completion,) = await self._complete(prompt, sampling)
        return completion

    async def _request(
        self,
        send: Callable[[AsyncOpenAI], Awaitable[T]],
        prompt: Prompt,
        *,
        probe: Callable[[AsyncOpenAI], Awaitable[object]],
        reserved: int,
        used: Callable[[T], int],
    ) -> T:
        """Return the answer to a request within the limits of concurrency and rate.

        Requests of one problem go to the same server if possible, because their prompts have a
        common prefix.

        Args:
            send: Sends the request.
            prompt: Its prompt.
            probe: Sends a request for a few tokens that is answered if this one is.
            reserved: The tokens that the request has at most.
            used: Returns the tokens that an answer has cost.
        """
        attempts = count()

        async def send_in_time(client: AsyncOpenAI) -> T:
            if next(attempts):
                # The first attempt has waited before a server was chosen for it.
                await self._rate_limit.reserve(reserved)
            # The client limits the time between two bytes, and a server can send blanks forever.
            # The time to connect is not part of the answer's.
            async with asyncio.timeout(self.timeout + CONNECT_SECONDS):
                try:
                    result = await send(client)
                except UnreadableReply as error:
                    error.url = str(client.base_url).rstrip("/")
                    raise
            self._rate_limit.correct(reserved, used(result))
            return result

        async def counted_probe(client: AsyncOpenAI) -> object:
            # It does not wait: a server that is down gets no requests meanwhile.
            self._rate_limit.take(FEW_TOKENS)
            return await probe(client)

        async with self._slots:
            await self._rate_limit.reserve(reserved)
            try:
                return await self._fleet.request(
                    send_in_time, affinity=prompt.system + prompt.user, probe=counted_probe
                )
            except (EngineError, ConfigError) as error:
                # A server can quote the key in its reply, and so can the client library.
                error.args = (self._redacted(str(error)),)
                raise error from None

    async def _request_in_batches(self, send: Callable[[], Awaitable[T]]) -> T:
        try:
            return await request_in_batches(
                send, fault_of=fault_of, retries=self.retries, faults=self._fleet.faults
            )
        except (EngineError, ConfigError) as error:
            error.args = (self._redacted(str(error)),)
            raise

    async def _reply_in_batch(self, prompt: Prompt, sampling: Sampling) -> Reply:
        """Return the reply to a request of a batch."""
        body: dict[str, Any] = {"model": self.model}
        if self.api == "completions":
            body["prompt"] = prompt.text
        else:
            body["messages"] = self._messages(prompt)
        body |= self._body(prompt, sampling)
        # The same in each run, and different for the samples of two traces with the same text.
        keys = completion_keys(self.identity, prompt, sampling)
        name = f"{keys[0].hex()}x{len(keys)}"
        reply = await self._batch_queue.result(name, body)
        return read_reply(reply, n=sampling.n, is_chat=self.api == "chat")

    async def _send(self, client: AsyncOpenAI, prompt: Prompt, sampling: Sampling) -> Reply:
        body = self._body(prompt, sampling)
        if self.api == "completions":
            plain = await client.completions.with_raw_response.create(
                model=self.model, prompt=prompt.text, extra_body=body
            )
            return read_reply(_parse(plain.http_response), n=sampling.n, is_chat=False)
        chat = await client.chat.completions.with_raw_response.create(
            model=self.model,
            messages=cast(Any, self._messages(prompt)),  # OpenAI's types have no `prefix`
            extra_body=body | self._continuation_flags(prompt),
        )
        return read_reply(_parse(chat.http_response), n=sampling.n, is_chat=True)

    async def _read(self, client: AsyncOpenAI, prompt: Prompt) -> tuple[Sequence[Token], Usage]:
        """Return the tokens of a prompt with their log-probabilities."""
        if self.api == "completions":
            plain = await client.completions.with_raw_response.create(
                model=self.model,
                prompt=prompt.text,
                echo=True,
                logprobs=0,
                max_tokens=0,
                extra_body=dict(self.extra_body),
            )
            reply = _parse(plain.http_response)
            return read_echoed_tokens(reply), read_usage(reply)
        # A chat server must generate at least one token, which is discarded.
        body = {self.length_parameter: 1, "prompt_logprobs": 0} | dict(self.extra_body)
        chat = await client.chat.completions.with_raw_response.create(
            model=self.model,
            messages=cast(Any, self._messages(prompt)),
            extra_body=body | self._continuation_flags(prompt),
        )
        reply = _parse(chat.http_response)
        return read_prompt_logprobs(reply), read_usage(reply)

    def _warn_about(self, reply: Reply) -> None:
        """Warn once about each unusual property of a server."""
        for reason in reply.unknown_reasons:
            self._warn(
                f"the server ends answers with the finish reason {reason!r}, which Stepmark does"
                " not know: these answers are stored, and their outcome and verdicts are unknown"
            )
        self._compare_model(reply.model)
        if reply.has_usage:
            vars(self)["_counts_tokens"] = True
        if not self._counts_tokens:
            self._warn("the server counts no tokens: the token counts of the run are too low")

    def _compare_model(self, name: str) -> None:
        """Warn if the model that answered is not the one of earlier answers."""
        names = self._model_names
        if not name or name in names or len(names) > 1:
            return
        names.append(name)
        if len(names) > 1:
            self._warn(
                f"some answers are of the model {names[0]!r} and others of {name!r}; if these are"
                " not the same weights, results are mixed: use a dataset for each of them"
            )

    def _warn(self, message: str) -> None:
        # The registry of the module `warnings` is not enough: tests and tools reset it.
        if message not in self._warnings:
            self._warnings.add(message)
            self._announce(message)

    def _announce(self, message: str) -> None:
        text = self._redacted(f"engines.openai: {self.model}: {message}")
        warnings.warn(text, EngineWarning, stacklevel=2)

    def _check_prefix(self, prompt: Prompt) -> None:
        if self.batch and prompt.prefix:
            raise ContinuationError(
                f"engines.openai: {self.model} has batch = true, and a batch cannot show that it"
                f" continues an answer; {BATCH_CURE}"
            )
        if self.api == "chat" and prompt.prefix and self.continuation == "none":
            raise ContinuationError(
                f"engines.openai: {self.model} has continuation = 'none' and cannot continue an"
                f" answer; {CONTINUATION_CURE}"
            )

    def _body(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        """Return the parameters of a request; `extra_body` overrides them."""
        parameters: dict[str, Any] = {
            "n": sampling.n,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            self.length_parameter: sampling.max_tokens,
        }
        if sampling.stop:
            parameters["stop"] = list(sampling.stop)
        if prompt.schema:
            parameters["response_format"] = _response_format(prompt.schema)
        for name in self.omit:
            parameters.pop(name, None)
        return parameters | dict(self.extra_body)

    def _messages(self, prompt: Prompt) -> list[Mapping[str, object]]:
        messages: list[Mapping[str, object]] = []
        if prompt.system:
            messages.append({"role": "system", "content": prompt.system})
        messages.append({"role": "user", "content": prompt.user})
        if prompt.prefix:
            answer: dict[str, object] = {"role": "assistant", "content": prompt.prefix}
            if self.continuation == "prefix":
                answer["prefix"] = True
            messages.append(answer)
        return messages

    def _continuation_flags(self, prompt: Prompt) -> dict[str, object]:
        if not prompt.prefix or self.continuation != "vllm":
            return {}
        return {"continue_final_message": True, "add_generation_prompt": False}

    # Created on first use. A frozen dataclass allows cached properties, since these write to the
    # instance dictionary directly.
    @cached_property
    def _fleet(self) -> Fleet[AsyncOpenAI]:
        _allow_open_files(self.concurrency + SPARE_FILES)
        urls: Callable[[], Sequence[str]] = lambda: self.base_urls  # noqa: E731
        if self.base_urls_file:
            urls = ServerList(path=Path(self.base_urls_file), report=self._announce).urls
        return Fleet(
            name=f"engines.openai: {self.model}",
            connect=self._client,
            urls=urls,
            fault_of=fault_of,
            report=self._announce,
            concurrency=self.concurrency,
            retries=self.retries,
            patience=self.patience,
        )

    @cached_property
    def _batch_records(self) -> BatchRecords | None:
        """Where batches are recorded; None while single requests are sent."""
        return None

    @cached_property
    def _batch_queue(self) -> BatchQueue:
        assert self._batch_records is not None, "batches are sent only when they are recorded"
        endpoint: Endpoint = "/v1/chat/completions"
        if self.api == "completions":
            endpoint = "/v1/completions"
        owner = BatchRecord(
            identity=self.identity,
            model=self.model,
            server=redact_urls(self.base_urls[0]),
            input_file_id="",
            requests=(),
        )
        limits = BatchLimits(
            requests=self.batch_requests,
            gather_seconds=self.batch_gather_seconds,
            poll_seconds=self.batch_poll_seconds,
        )
        return BatchQueue(
            api=BatchApi(call=self._call_server, endpoint=endpoint),
            records=self._batch_records,
            owner=owner,
            limits=limits,
            report=self._announce,
        )

    async def _call_server(self, send: Callable[[AsyncOpenAI], Awaitable[T]]) -> T:
        """Return the answer to a request about files or batches, which is repeated after faults."""
        try:
            return await self._request(
                send,
                Prompt(user="batches"),
                probe=read_a_batch,
                # Providers count the tokens of batches apart.
                reserved=0,
                used=lambda _: 0,
            )
        except EngineUnavailableError:
            raise
        except EngineError as error:
            # Not an error of the requests in the batch, whose answers are collected later.
            raise EngineUnavailableError(f"{self.model}: no batches: {error}") from None

    @cached_property
    def _slots(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self.concurrency)

    @cached_property
    def _rate_limit(self) -> RateLimit:
        return RateLimit(self.requests_per_minute, self.tokens_per_minute)

    @cached_property
    def _proof_lock(self) -> asyncio.Lock:
        return asyncio.Lock()

    # The result of the proof is remembered for the life of the process, also after `close`.
    @cached_property
    def _proof_problem(self) -> str | None:
        """Why the server does not continue answers, "" if it does; None before the proof."""
        return None

    @cached_property
    def _choice_counts(self) -> list[int]:
        """The numbers of choices in replies that had fewer than were requested."""
        return [self.max_n]

    @cached_property
    def _short_replies(self) -> Counter[int]:
        """How many replies had fewer choices than were requested, by the number of choices."""
        return Counter()

    @cached_property
    def _model_names(self) -> list[str]:
        """The first two names of models in replies."""
        return []

    @cached_property
    def _counts_tokens(self) -> bool:
        """Whether any reply had counts of tokens."""
        return False

    @cached_property
    def _most_choices(self) -> int:
        """The largest number of choices that a reply had."""
        return 0

    @cached_property
    def _doubts(self) -> Doubts:
        return Doubts()

    @cached_property
    def _warnings(self) -> set[str]:
        return set()

    def _redacted(self, message: str) -> str:
        """Return a message without the secrets of the settings and of the list of servers."""
        # Also of servers that were removed from the list: they can answer later.
        urls = {*self._fleet.urls(), *self._fleet.known_urls}
        settings = {"base_urls": tuple(urls), "extra_body": self.extra_body}
        key = os.environ.get(self.api_key_env, "")
        return redact(message, secrets_in(settings) | ({key} if key else set()))

    def _client(self, url: str) -> AsyncOpenAI:
        limits = httpx2.Limits(
            max_connections=self.concurrency, max_keepalive_connections=self.concurrency
        )
        timeout = httpx2.Timeout(self.timeout, connect=CONNECT_SECONDS, pool=None)
        return AsyncOpenAI(
            base_url=url,
            api_key=_key(self.api_key_env),
            timeout=timeout,
            max_retries=0,  # `Fleet` repeats requests
            http_client=openai.DefaultAsyncHttpxClient(
                limits=limits,
                timeout=timeout,
                event_hooks={"response": [_read_errors_as_utf8, bound_body]},
            ),
        )


def _parse(response: httpx2.Response) -> Mapping[str, Any]:
    return parse_reply(decode_reply(response.content))


async def _read_errors_as_utf8(response: httpx2.Response) -> None:
    """Ignore the character set of an error: the client library fails if it is a false one."""
    if response.is_error:
        response.encoding = "utf-8"


def _tokens_of(reply: Reply) -> int:
    """Return the tokens of a request; each of its completions has those of its only prompt."""
    generated = sum(completion.generated_tokens for completion in reply.completions)
    return reply.completions[0].prompt_tokens + generated


def _response_format(schema: str) -> Mapping[str, object]:
    return {
        "type": "json_schema",
        "json_schema": {"name": "reply", "strict": True, "schema": json.loads(schema)},
    }


def _is_variable(name: str) -> bool:
    """Return whether a text names an environment variable, one with small letters if it is set."""
    return is_variable_name(name) or name in os.environ


def _key(variable: str) -> str:
    """Return the key in an environment variable.

    Raises:
        ConfigError: The variable is unset, or its content cannot be sent in a header.
    """
    if not variable:
        # The client library requires a key, and would otherwise read one from the environment.
        return "none"
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigError(
            f"engines.openai: the environment variable {variable} contains no key;"
            " set it, or leave api_key_env empty"
        )
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"engines.openai: the environment variable {variable} contains no key:"
            " it has characters that do not occur in keys"
        )
    return key


def _allow_open_files(count: int) -> None:
    """Raise the limit of open files to `count`, or as far as the system allows.

    Each connection is an open file, and the usual limit of 1024 is below the default concurrency.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = count
    if hard != resource.RLIM_INFINITY:
        target = min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
