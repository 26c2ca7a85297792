"""Test the engine protocol on every engine; all but `scripted` run the pocket model."""

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import replace

import pytest

from engines.base import Completion, Engine, Prompt, Scored
from engines.openai import OpenAI
from engines.pocket import Pocket
from engines.vllm import VLLM
from stepmark.errors import EngineError
from stepmark.identity import SEED_SPACING
from stepmark.records import Sampling
from tests.engines.shipped import CONTEXT, HOT, PROBLEMS, plain

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # vLLM leaves a ZeroMQ context to the garbage collector.
    pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning"),
    # httpx leaves connections to it that were closing when their call was cancelled.
    pytest.mark.filterwarnings(
        "ignore:unclosed transport:ResourceWarning",
        "ignore:unclosed <socket.socket:ResourceWarning",
    ),
]

GREEDY = Sampling(n=1, max_tokens=40, temperature=0.0)
# Between log-probabilities in float32 from engines that add in different orders or batch sizes.
CLOSE = 1e-3
# The boundary of prompt and text: without a prefix, between tokens, within one (a space), after a
# line, within the digits of a number.
BOUNDARIES = [
    ("", "The answer is 42."),
    ("Step 1: 2 + 3 = 5, so", " Ana has 5 apples.\n"),
    ("Step 1: 2 + 3 = 5, so ", "Ana has 5 apples.\n"),
    ("Step 1: 2 + 3 = 5\n", "The answer is 5."),
    ("Step 1: 2 + 3 = 5\nThe answer is 1", "46."),
]

ENGINES = [
    "scripted",
    "pocket",
    pytest.param("in_process", marks=pytest.mark.vllm),
    pytest.param("completions", marks=pytest.mark.vllm),
    pytest.param("chat", marks=pytest.mark.vllm),
]


@pytest.fixture(params=ENGINES, scope="package")
def engine(request: pytest.FixtureRequest) -> Engine:
    requested: Engine = request.getfixturevalue(request.param)
    return requested


@pytest.fixture
def prompt(engine: Engine) -> Prompt:
    return prompt_for(engine, PROBLEMS[0])


def prompt_for(engine: Engine, question: str, prefix: str = "") -> Prompt:
    """Return the prompt that gives every engine the same tokens, with or without chat template."""
    in_turns = isinstance(engine, VLLM) or (isinstance(engine, OpenAI) and engine.api == "chat")
    if in_turns:
        return Prompt(user=question, prefix=prefix)
    return plain(question, prefix)


def texts(completions: Sequence[Completion]) -> list[str]:
    return [completion.text for completion in completions]


async def test_returns_n_different_samples(engine: Engine, prompt: Prompt) -> None:
    completions = await engine.complete(prompt, replace(HOT, n=5))
    assert len(completions) == 5
    assert len(set(texts(completions))) == 5


async def test_greedy_decoding_is_deterministic(engine: Engine, prompt: Prompt) -> None:
    first = await engine.complete(prompt, replace(GREEDY, n=3))
    second = await engine.complete(prompt, replace(GREEDY, seed=99))
    assert len(first) == 3
    assert set(texts(first)) == set(texts(second))


async def test_ends_before_a_stop_string(engine: Engine, prompt: Prompt) -> None:
    (full,) = await engine.complete(prompt, GREEDY)
    stop = full.text[len(full.text) // 2 :][:3]
    (cut,) = await engine.complete(prompt, replace(GREEDY, stop=("never said", stop)))
    assert cut.text == full.text[: full.text.index(stop)]
    assert cut.finish_reason == "stop"


async def test_is_cut_at_max_tokens(engine: Engine, prompt: Prompt) -> None:
    (cut,) = await engine.complete(prompt, replace(GREEDY, max_tokens=3))
    assert cut.finish_reason == "length"
    assert cut.generated_tokens == 3


async def test_continues_a_prefix(engine: Engine, prompt: Prompt) -> None:
    (full,) = await engine.complete(prompt, GREEDY)
    (start,) = await engine.complete(prompt, replace(GREEDY, max_tokens=15))
    (rest,) = await engine.complete(
        replace(prompt, prefix=start.text), replace(GREEDY, max_tokens=25)
    )
    assert start.text + rest.text == full.text


async def test_counts_the_prompt_once(engine: Engine, prompt: Prompt) -> None:
    first, *rest = await engine.complete(prompt, HOT)
    assert first.prompt_tokens >= 30
    assert 0 <= first.cached_tokens <= first.prompt_tokens
    for other in rest:
        assert (other.prompt_tokens, other.cached_tokens) == (0, 0)
    for completion in (first, *rest):
        assert 0 < completion.generated_tokens <= HOT.max_tokens


async def test_samples_are_independent_of_concurrency(engine: Engine, prompt: Prompt) -> None:
    single = await engine.complete(prompt, HOT)
    concurrent = [
        engine.complete(
            prompt_for(engine, PROBLEMS[1]), replace(HOT, n=2, seed=seed * SEED_SPACING)
        )
        for seed in range(40)
    ]
    same, *_ = await asyncio.gather(engine.complete(prompt, HOT), *concurrent)
    assert texts(same) == texts(single)
    assert texts(await engine.complete(prompt, replace(HOT, seed=8 * SEED_SPACING))) != texts(
        single
    )


async def test_serves_200_calls_at_once(engine: Engine, prompt: Prompt) -> None:
    calls = (
        engine.complete(prompt, replace(HOT, n=2, max_tokens=8, seed=seed * SEED_SPACING))
        for seed in range(200)
    )
    answers = await asyncio.gather(*calls)
    assert set(map(len, answers)) == {2}


async def test_cancelled_call_frees_its_slot(engine: Engine, prompt: Prompt) -> None:
    calls = [
        asyncio.create_task(engine.complete(prompt, replace(HOT, n=8, max_tokens=200)))
        for _ in range(20)
    ]
    await asyncio.sleep(0.005)
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert set(map(type, outcomes)) == {asyncio.CancelledError}
    assert len(await asyncio.wait_for(engine.complete(prompt, GREEDY), timeout=30)) == 1


async def test_too_long_prompt_is_not_retryable(engine: Engine, prompt: Prompt) -> None:
    with pytest.raises(EngineError) as error:
        await engine.complete(replace(prompt, user=prompt.user * 40), HOT)
    assert not error.value.retryable
    assert "\n" not in str(error.value)


async def test_engine_has_name_and_identity(engine: Engine) -> None:
    assert engine.model_name
    assert engine.identity == engine.identity
    assert len(engine.identity) == 16


async def test_engine_restarts_after_close(engine: Engine, prompt: Prompt) -> None:
    before = await engine.complete(prompt, HOT)
    await engine.close()
    await engine.close()
    assert texts(await engine.complete(prompt, HOT)) == texts(before)
    gc.collect()


async def test_schema_breaks_no_engine(engine: Engine, prompt: Prompt) -> None:
    """The pocket model has no tokens for braces and quotes, so the schema requires a number."""
    (free,) = await engine.complete(prompt, GREEDY)
    (answer,) = await engine.complete(
        replace(prompt, schema='{"type": "integer", "enum": [42]}'), GREEDY
    )
    supports_schema = isinstance(engine, (VLLM, OpenAI))
    if supports_schema:
        assert (answer.text.strip(), answer.finish_reason) == ("42", "stop")
    else:
        assert (answer.text.strip(), answer.finish_reason) == (
            free.text.strip(),
            free.finish_reason,
        )


async def test_greedy_completion_scores_highest(engine: Engine, prompt: Prompt) -> None:
    (greedy,) = await engine.complete(prompt, GREEDY)
    score = await engine.score(prompt, greedy.text)
    other = await engine.score(prompt, "The answer is 42.\n" + greedy.text)
    assert max(score.logprobs) <= 0
    assert len(score.logprobs) == greedy.generated_tokens
    assert sum(score.logprobs) > sum(other.logprobs)
    (first,) = await engine.complete(prompt, replace(GREEDY, max_tokens=1))
    # White space that ends the prompt may be one token with what follows it.
    tokens_before = score.prompt_tokens - len(score.logprobs)
    assert tokens_before in (first.prompt_tokens, first.prompt_tokens - 1)
    assert 0 <= score.cached_tokens <= score.prompt_tokens


async def test_score_is_sum_of_parts(engine: Engine, prompt: Prompt) -> None:
    (start,) = await engine.complete(prompt, replace(GREEDY, max_tokens=5))
    (rest,) = await engine.complete(
        replace(prompt, prefix=start.text), replace(GREEDY, max_tokens=5)
    )
    full = (await engine.score(prompt, start.text + rest.text)).logprobs
    first = (await engine.score(prompt, start.text)).logprobs
    second = (await engine.score(replace(prompt, prefix=start.text), rest.text)).logprobs
    assert full == pytest.approx([*first, *second], abs=CLOSE)


async def test_boundary_token_belongs_to_continuation(engine: Engine, prompt: Prompt) -> None:
    with_space = await engine.score(replace(prompt, prefix="Step 1: The answer is"), " 42.")
    without = await engine.score(replace(prompt, prefix="Step 1: The answer is "), "42.")
    assert with_space.logprobs == pytest.approx(without.logprobs, abs=CLOSE)
    assert 1 <= len(with_space.logprobs) <= 3


async def _completed(engine: Engine, prompt: Prompt, seed: int) -> Sequence[Completion]:
    return await engine.complete(prompt, replace(HOT, n=2, seed=seed * SEED_SPACING))


async def test_scores_are_independent_of_concurrency(engine: Engine, prompt: Prompt) -> None:
    single = await engine.score(prompt, "The answer is 42.")
    draws = [asyncio.create_task(_completed(engine, prompt, seed)) for seed in range(10)]
    concurrent = await asyncio.gather(
        *(engine.score(prompt, f"The answer is {number}.") for number in range(30, 50))
    )
    await asyncio.gather(*draws)
    assert concurrent[12].logprobs == pytest.approx(single.logprobs, abs=CLOSE)


async def test_scoring_too_long_text_is_rejected(engine: Engine, prompt: Prompt) -> None:
    with pytest.raises(EngineError) as error:
        await engine.score(prompt, "The answer is 42. " * CONTEXT)
    assert not error.value.retryable
    assert "\n" not in str(error.value)


@pytest.mark.vllm
async def test_engines_agree_on_scores(
    pocket: Pocket, in_process: VLLM, completions: OpenAI, chat: OpenAI
) -> None:
    for prefix, text in BOUNDARIES:
        scores: list[Scored] = []
        for engine in (pocket, in_process, completions, chat):
            scores.append(await engine.score(prompt_for(engine, PROBLEMS[0], prefix), text))
        assert len(scores[0].logprobs) > 1
        for other in scores[1:]:
            assert other.logprobs == pytest.approx(scores[0].logprobs, abs=CLOSE)
            assert other.prompt_tokens == scores[0].prompt_tokens


@pytest.mark.vllm
async def test_engines_agree_on_one_model(
    pocket: Pocket, in_process: VLLM, completions: OpenAI, chat: OpenAI
) -> None:
    """CTranslate2 and vLLM use the same weights, and vLLM treats turns alike in both places."""
    engines = (pocket, in_process, completions, chat)
    for question in PROBLEMS[:2]:
        for prefix in ("", "Step 1:"):
            answers: list[list[str]] = []
            for engine in engines:
                completed = await engine.complete(prompt_for(engine, question, prefix), GREEDY)
                answers.append(texts(completed))
            assert answers == answers[:1] * len(engines)
