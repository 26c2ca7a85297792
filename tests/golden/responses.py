"""What the pocket engine returned once, replayed: the results depend on no processor then.

Requests are identified by all their fields, so a replay also holds the requests themselves.
"""

import contextlib
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.golden import project
from tests.golden.project import Completion, Prompt, Sampling, Scored

__all__ = ["Responses"]

RESPONSES = Path(__file__).with_name("recorded") / "responses.jsonl.gz"
Method = Callable[..., Any]


class Responses:
    """The recorded responses by the digest of their request, and the requests of one replay."""

    def __init__(self) -> None:
        """Read the recorded responses; there are none before the first recording."""
        self.stored: dict[str, Any] = {}
        self.requested: set[str] = set()
        self.unrecorded: list[str] = []
        if RESPONSES.exists():
            with gzip.open(RESPONSES, "rt", encoding="utf-8") as file:
                for line in file:
                    key, response = json.loads(line)
                    self.stored[key] = response

    def save(self) -> None:
        """Write the requested responses, sorted so that equal responses make equal files."""
        rows = [[key, self.stored[key]] for key in sorted(self.requested)]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        RESPONSES.parent.mkdir(exist_ok=True)
        # Neither a name nor a time, so that the same responses make the same bytes.
        content = gzip.compress(lines.encode(), mtime=0)
        RESPONSES.write_bytes(content)

    @contextlib.contextmanager
    def engine(self, *, recording: bool = False) -> Iterator[None]:
        """Replace the methods of the pocket engine within the block.

        With `recording` a request that is not recorded yet goes to the model.
        """
        engine = project.pocket_class()
        complete = engine.complete
        score = engine.score
        engine.complete = self._complete(complete, recording)
        engine.score = self._score(score, recording)
        try:
            yield
        finally:
            engine.complete = complete
            engine.score = score

    def _complete(self, original: Method, recording: bool) -> Method:
        async def complete(engine: Any, prompt: Prompt, sampling: Sampling) -> Sequence[Completion]:
            key = self._key(engine, prompt, _sampling_fields(sampling))
            if recording and key not in self.stored:
                completions = await original(engine, prompt, sampling)
                self.stored[key] = [_row(completion) for completion in completions]
            return [_completion(row) for row in self._response(key, prompt)]

        return complete

    def _score(self, original: Method, recording: bool) -> Method:
        async def score(engine: Any, prompt: Prompt, continuation: str) -> Scored:
            key = self._key(engine, prompt, continuation)
            if recording and key not in self.stored:
                scored = await original(engine, prompt, continuation)
                self.stored[key] = [
                    scored.logprobs,
                    scored.prompt_tokens,
                    scored.cached_tokens,
                ]
            logprobs, prompt_tokens, cached_tokens = self._response(key, prompt)
            return Scored(
                logprobs=tuple(logprobs),
                prompt_tokens=prompt_tokens,
                cached_tokens=cached_tokens,
            )

        return score

    def _key(self, engine: Any, prompt: Prompt, details: object) -> str:
        fields = [
            engine.identity,
            prompt.system,
            prompt.user,
            prompt.prefix,
            prompt.schema,
            details,
        ]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:20]

    def _response(self, key: str, prompt: Prompt) -> Any:
        if key not in self.stored:
            self.unrecorded.append(prompt.text)
            raise AssertionError(f"this request is not recorded: …{prompt.text[-300:]!r}")
        self.requested.add(key)
        return self.stored[key]


def _row(completion: Completion) -> Sequence[object]:
    return [
        completion.text,
        completion.finish_reason,
        completion.prompt_tokens,
        completion.cached_tokens,
        completion.generated_tokens,
    ]


def _completion(row: Sequence[Any]) -> Completion:
    text, finish_reason, prompt_tokens, cached_tokens, generated_tokens = row
    return Completion(
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        generated_tokens=generated_tokens,
    )


def _sampling_fields(sampling: Sampling) -> Sequence[object]:
    return [
        sampling.n,
        sampling.temperature,
        sampling.top_p,
        sampling.max_tokens,
        list(sampling.stop),
        sampling.seed,
    ]
