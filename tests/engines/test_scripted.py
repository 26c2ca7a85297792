"""Test the fake engine: selection of replies, limits and scores."""

import math

import pytest

from engines.base import Completion, Prompt
from engines.scripted import IMPOSSIBLE_LOGPROB, Scripted
from stepmark import plugins
from stepmark.errors import EngineError, PluginError
from stepmark.records import Sampling

PROMPT = Prompt(user="How much is 2+2?")


async def texts_of(engine: Scripted, sampling: Sampling | None = None) -> list[str]:
    return [completion.text for completion in await engine.complete(PROMPT, sampling or Sampling())]


async def test_longest_matching_key_wins() -> None:
    engine = Scripted(
        replies={
            "": ("any",),
            "2+2": ("four",),
            "is 2+2": ("it is four",),
            "3+3": ("never, however long",),
        }
    )
    assert await texts_of(engine) == ["it is four"]


async def test_replies_rotate() -> None:
    assert await texts_of(Scripted(replies={"": ("a", "b")}), Sampling(n=5)) == [
        "a",
        "b",
        "a",
        "b",
        "a",
    ]


async def test_respond_overrides_the_table() -> None:
    engine = Scripted(
        replies={"": ("table",)},
        respond=lambda prompt, sampling, index: f"{prompt.user[-4:]} {index}",
    )
    assert await texts_of(engine, Sampling(n=2)) == ["2+2? 0", "2+2? 1"]


async def test_respond_may_return_completion() -> None:
    completion = Completion(
        text="x", finish_reason="length", prompt_tokens=1, cached_tokens=2, generated_tokens=3
    )
    assert await Scripted(respond=lambda *_: completion).complete(PROMPT, Sampling()) == [
        completion
    ]


async def test_text_is_cut_at_limits() -> None:
    engine = Scripted(replies={"": ("one two\nthree",)})
    (short,) = await engine.complete(PROMPT, Sampling(max_tokens=2))
    assert (short.text, short.finish_reason, short.generated_tokens, short.prompt_tokens) == (
        "one two",
        "length",
        2,
        4,
    )
    (stopped,) = await engine.complete(PROMPT, Sampling(stop=("\n", "two")))
    assert (stopped.text, stopped.finish_reason) == ("one ", "stop")


async def test_finish_reason_can_be_set() -> None:
    (cut,) = await Scripted(replies={"": ("x",)}, finish_reason="length").complete(
        PROMPT, Sampling()
    )
    assert cut.finish_reason == "length"


@pytest.mark.parametrize("retryable", [True, False])
async def test_configured_error_is_raised(retryable: bool) -> None:
    with pytest.raises(EngineError, match="out of order") as error:
        await Scripted(error="out of order", retryable=retryable).complete(PROMPT, Sampling())
    assert error.value.retryable is retryable


async def test_missing_reply_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"no scripted reply fits .*2\+2") as error:
        await Scripted(replies={"3+3": ("six",)}).complete(PROMPT, Sampling())
    assert not error.value.retryable


def test_run_file_cannot_set_respond() -> None:
    built = plugins.build("engines", {"use": "scripted", "replies": {"2+2": ["four"]}})
    assert built == Scripted(replies={"2+2": ("four",)})
    with pytest.raises(PluginError, match="respond"):
        plugins.build("engines", {"use": "scripted", "respond": "os.system"})


def test_identity_depends_on_replies() -> None:
    assert Scripted(replies={"": ("a",)}).identity != Scripted(replies={"": ("b",)}).identity
    assert Scripted(respond=lambda *_: "x").identity != Scripted().identity
    assert Scripted(delay=1.0).identity == Scripted().identity


async def probabilities_of(engine: Scripted, text: str) -> list[float]:
    return [math.exp(logprob) for logprob in (await engine.score(PROMPT, text)).logprobs]


async def test_score_is_share_of_agreeing_replies() -> None:
    engine = Scripted(replies={"": (" it is 4", " it is 5", " it was 4", " no"), "3+3": (" six",)})
    assert await probabilities_of(engine, " it is 4") == pytest.approx([3 / 4, 2 / 3, 1 / 2])
    assert await probabilities_of(engine, " it is six") == pytest.approx(
        [3 / 4, 2 / 3, math.exp(IMPOSSIBLE_LOGPROB)]
    )
    assert await probabilities_of(engine, " six is 4") == pytest.approx(
        [math.exp(IMPOSSIBLE_LOGPROB)] * 3
    )


async def test_respond_scores_its_greedy_reply() -> None:
    engine = Scripted(
        respond=lambda prompt, sampling, index: f" {sampling.temperature:.0f} {index}"
    )
    assert await probabilities_of(engine, " 0 0") == [1.0, 1.0]


async def test_scoring_fails_without_matching_reply() -> None:
    for engine, message in (
        (Scripted(error="out of order"), "out of order"),
        (Scripted(), "no scripted reply fits"),
    ):
        with pytest.raises(EngineError, match=message):
            await engine.score(PROMPT, "4")
