"""What every engine promises, held against each of them; all but the scripted one run the pocket model, vLLM on the CPU."""

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import replace

import pytest

from engines.base import Completion, Engine, Prompt
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
    # httpx leaves to it the connections that a call was closing, since they had been idle for long, when it was cancelled.
    pytest.mark.filterwarnings(
        "ignore:unclosed transport:ResourceWarning",
        "ignore:unclosed <socket.socket:ResourceWarning",
    ),
]

GREEDY = Sampling(n=1, max_tokens=40, temperature=0.0)
# Of two log-probabilities in float32, by engines that add in different orders, or in batches of different sizes.
CLOSE = 1e-3
# Where a prompt ends and a text begins: between tokens, within one (a space, a number's digits), after a line, with nothing written yet.
BORDERS = [
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
    chosen: Engine = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def prompt(engine: Engine) -> Prompt:
    return asked(engine, PROBLEMS[0])


def asked(engine: Engine, question: str, prefix: str = "") -> Prompt:
    """The same tokens for every engine: a chat template puts the question into the words that plain text needs."""
    in_turns = isinstance(engine, VLLM) or (isinstance(engine, OpenAI) and engine.api == "chat")
    return Prompt(user=question, prefix=prefix) if in_turns else plain(question, prefix)


def texts(completions: Sequence[Completion]) -> list[str]:
    return [completion.text for completion in completions]


async def test_gives_n_different_samples(engine: Engine, prompt: Prompt) -> None:
    completions = await engine.complete(prompt, replace(HOT, n=5))
    assert len(completions) == 5
    assert len(set(texts(completions))) == 5


async def test_greedy_says_the_same_always(engine: Engine, prompt: Prompt) -> None:
    first = await engine.complete(prompt, replace(GREEDY, n=3))
    second = await engine.complete(prompt, replace(GREEDY, seed=99))
    assert len(first) == 3
    assert set(texts(first)) == set(texts(second))


async def test_ends_before_a_stop_string(engine: Engine, prompt: Prompt) -> None:
    (whole,) = await engine.complete(prompt, GREEDY)
    stop = whole.text[len(whole.text) // 2 :][:3]
    (cut,) = await engine.complete(prompt, replace(GREEDY, stop=("never said", stop)))
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"


async def test_is_cut_at_max_tokens(engine: Engine, prompt: Prompt) -> None:
    (cut,) = await engine.complete(prompt, replace(GREEDY, max_tokens=3))
    assert cut.finish_reason == "length"
    assert cut.generated_tokens == 3


async def test_continues_a_prefix(engine: Engine, prompt: Prompt) -> None:
    (whole,) = await engine.complete(prompt, GREEDY)
    (start,) = await engine.complete(prompt, replace(GREEDY, max_tokens=15))
    (rest,) = await engine.complete(
        replace(prompt, prefix=start.text), replace(GREEDY, max_tokens=25)
    )
    assert start.text + rest.text == whole.text


async def test_counts_the_prompt_once(engine: Engine, prompt: Prompt) -> None:
    first, *others = await engine.complete(prompt, HOT)
    assert first.prompt_tokens >= 30
    assert 0 <= first.cached_tokens <= first.prompt_tokens
    assert {(other.prompt_tokens, other.cached_tokens) for other in others} == {(0, 0)}
    assert all(0 < completion.generated_tokens <= HOT.max_tokens for completion in (first, *others))


async def test_a_seed_gives_the_same_samples_alone_and_among_many(
    engine: Engine, prompt: Prompt
) -> None:
    alone = await engine.complete(prompt, HOT)
    crowd = [
        engine.complete(asked(engine, PROBLEMS[1]), replace(HOT, n=2, seed=seed * SEED_SPACING))
        for seed in range(40)
    ]
    among, *_ = await asyncio.gather(engine.complete(prompt, HOT), *crowd)
    assert texts(among) == texts(alone)
    assert texts(await engine.complete(prompt, replace(HOT, seed=8 * SEED_SPACING))) != texts(alone)


async def test_serves_200_calls_at_once(engine: Engine, prompt: Prompt) -> None:
    calls = (
        engine.complete(prompt, replace(HOT, n=2, max_tokens=8, seed=seed * SEED_SPACING))
        for seed in range(200)
    )
    answers = await asyncio.gather(*calls)
    assert {len(answer) for answer in answers} == {2}


async def test_a_cancelled_call_frees_its_place(engine: Engine, prompt: Prompt) -> None:
    calls = [
        asyncio.create_task(engine.complete(prompt, replace(HOT, n=8, max_tokens=200)))
        for _ in range(20)
    ]
    await asyncio.sleep(0.005)
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}
    assert len(await asyncio.wait_for(engine.complete(prompt, GREEDY), timeout=30)) == 1


async def test_refuses_a_prompt_that_is_too_long_for_good(engine: Engine, prompt: Prompt) -> None:
    with pytest.raises(EngineError) as refusal:
        await engine.complete(replace(prompt, user=prompt.user * 40), HOT)
    assert not refusal.value.retryable
    assert "\n" not in str(refusal.value)


async def test_has_a_name_and_an_identity(engine: Engine) -> None:
    assert engine.model_name
    assert engine.identity == engine.identity
    assert len(engine.identity) == 16


async def test_starts_again_after_close(engine: Engine, prompt: Prompt) -> None:
    before = await engine.complete(prompt, HOT)
    await engine.close()
    await engine.close()
    assert texts(await engine.complete(prompt, HOT)) == texts(before)
    gc.collect()


async def test_a_schema_harms_no_engine(engine: Engine, prompt: Prompt) -> None:
    """The pocket model knows no brace and no quote, so that the schema asks for a number."""
    (free,) = await engine.complete(prompt, GREEDY)
    (answer,) = await engine.complete(
        replace(prompt, schema='{"type": "integer", "enum": [42]}'), GREEDY
    )
    holds = isinstance(engine, (VLLM, OpenAI))
    assert answer.text.strip() == ("42" if holds else free.text.strip())
    assert answer.finish_reason == ("stop" if holds else free.finish_reason)


async def test_what_it_says_itself_is_likelier_than_anything_else(
    engine: Engine, prompt: Prompt
) -> None:
    (said,) = await engine.complete(prompt, GREEDY)
    own, other = (
        await engine.score(prompt, said.text),
        await engine.score(prompt, "The answer is 42.\n" + said.text),
    )
    assert all(logprob <= 0 for logprob in own.logprobs)
    assert len(own.logprobs) == said.generated_tokens
    assert sum(own.logprobs) > sum(other.logprobs)
    (first,) = await engine.complete(prompt, replace(GREEDY, max_tokens=1))
    # White space that ends the prompt may be one token with what follows it.
    assert own.prompt_tokens - len(own.logprobs) in (first.prompt_tokens, first.prompt_tokens - 1)
    assert 0 <= own.cached_tokens <= own.prompt_tokens


async def test_a_text_is_as_likely_as_its_parts(engine: Engine, prompt: Prompt) -> None:
    (start,) = await engine.complete(prompt, replace(GREEDY, max_tokens=5))
    (rest,) = await engine.complete(
        replace(prompt, prefix=start.text), replace(GREEDY, max_tokens=5)
    )
    whole = (await engine.score(prompt, start.text + rest.text)).logprobs
    parts = [
        await engine.score(prompt, start.text),
        await engine.score(replace(prompt, prefix=start.text), rest.text),
    ]
    assert whole == pytest.approx(
        [logprob for part in parts for logprob in part.logprobs], abs=CLOSE
    )


async def test_a_token_on_the_border_is_the_continuation_s(engine: Engine, prompt: Prompt) -> None:
    with_space = await engine.score(replace(prompt, prefix="Step 1: The answer is"), " 42.")
    without = await engine.score(replace(prompt, prefix="Step 1: The answer is "), "42.")
    assert with_space.logprobs == pytest.approx(without.logprobs, abs=CLOSE)
    assert 1 <= len(with_space.logprobs) <= 3


async def _completed(engine: Engine, prompt: Prompt, seed: int) -> Sequence[Completion]:
    return await engine.complete(prompt, replace(HOT, n=2, seed=seed * SEED_SPACING))


async def test_scores_in_a_crowd_as_alone(engine: Engine, prompt: Prompt) -> None:
    alone = await engine.score(prompt, "The answer is 42.")
    draws = [asyncio.create_task(_completed(engine, prompt, seed)) for seed in range(10)]
    crowd = await asyncio.gather(
        *(engine.score(prompt, f"The answer is {number}.") for number in range(30, 50))
    )
    await asyncio.gather(*draws)
    assert crowd[12].logprobs == pytest.approx(alone.logprobs, abs=CLOSE)


async def test_refuses_to_score_what_is_too_long(engine: Engine, prompt: Prompt) -> None:
    with pytest.raises(EngineError) as refusal:
        await engine.score(prompt, "The answer is 42. " * CONTEXT)
    assert not refusal.value.retryable
    assert "\n" not in str(refusal.value)


@pytest.mark.vllm
async def test_engines_agree_how_likely_a_text_is(
    pocket: Pocket, in_process: VLLM, completions: OpenAI, chat: OpenAI
) -> None:
    for prefix, text in BORDERS:
        scores = [
            await engine.score(asked(engine, PROBLEMS[0], prefix), text)
            for engine in (pocket, in_process, completions, chat)
        ]
        assert len(scores[0].logprobs) > 1
        for other in scores[1:]:
            assert other.logprobs == pytest.approx(scores[0].logprobs, abs=CLOSE)
        assert {score.prompt_tokens for score in scores} == {scores[0].prompt_tokens}


@pytest.mark.vllm
async def test_engines_agree_on_one_model(
    pocket: Pocket, in_process: VLLM, completions: OpenAI, chat: OpenAI
) -> None:
    """CTranslate2 and vLLM read the same weights, and vLLM reads turns the same way here and behind its server."""
    engines = (pocket, in_process, completions, chat)
    for question in PROBLEMS[:2]:
        for prefix in ("", "Step 1:"):
            said = [
                texts(await engine.complete(asked(engine, question, prefix), GREEDY))
                for engine in engines
            ]
            assert said == said[:1] * len(engines)
