"""The contract of engines. It sends a few short requests."""

import asyncio
from collections.abc import Sequence

from engines.base import Engine, Prompt
from pipelines.contracts.base import Check, Subject, require
from stepmark.records import Sampling

__all__ = ["CHECKS"]

PROMPT = Prompt(user="What is 1 + 1?\n")
SAMPLES = 3
SAMPLING = Sampling(n=SAMPLES, temperature=1.0, max_tokens=16, seed=1024)


def _has_identity(subject: Subject) -> None:
    engine: Engine = subject.build()
    require(engine.model_name, "`model_name` is empty")
    require(engine.identity == subject.build().identity, "`identity` differs between instances")


def _completes(subject: Subject) -> None:
    async def complete() -> None:
        engine: Engine = subject.build()
        try:
            completions = await engine.complete(PROMPT, SAMPLING)
            require(len(completions) == SAMPLES, f"{len(completions)} completions of {SAMPLES}")
            for completion in completions:
                is_known = completion.finish_reason in ("stop", "length")
                require(is_known, f"the finish reason {completion.finish_reason!r}")
                fits = 0 <= completion.generated_tokens <= SAMPLING.max_tokens
                require(fits, f"{completion.generated_tokens} tokens of {SAMPLING.max_tokens}")
            for completion in completions[1:]:
                counts = (completion.prompt_tokens, completion.cached_tokens)
                require(counts == (0, 0), "the prompt is counted more than once")
        finally:
            await engine.close()
            # A second call must not fail.
            await engine.close()

    asyncio.run(complete())


CHECKS: Sequence[Check] = (
    Check(what="has a name and an identity", run=_has_identity),
    Check(what="completes a prompt, and closes", run=_completes),
)
