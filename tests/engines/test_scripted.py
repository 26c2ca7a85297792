"""The fake says what it is told, cut as a model would have cut it."""

import math

import pytest

from engines.base import Completion, Prompt
from engines.scripted import NEVER, Scripted
from stepmark import plugins
from stepmark.errors import EngineError, PluginError
from stepmark.records import Sampling

PROMPT = Prompt(user="How much is 2+2?")


async def said(engine: Scripted, sampling: Sampling | None = None) -> list[str]:
    return [completion.text for completion in await engine.complete(PROMPT, sampling or Sampling())]


async def test_the_longest_key_found_wins() -> None:
    engine = Scripted(
        replies={
            "": ("any",),
            "2+2": ("four",),
            "is 2+2": ("it is four",),
            "3+3": ("never, however long",),
        }
    )
    assert await said(engine) == ["it is four"]


async def test_replies_come_in_turn() -> None:
    assert await said(Scripted(replies={"": ("a", "b")}), Sampling(n=5)) == [
        "a",
        "b",
        "a",
        "b",
        "a",
    ]


async def test_a_function_comes_before_the_table() -> None:
    engine = Scripted(
        replies={"": ("table",)},
        respond=lambda prompt, sampling, index: f"{prompt.user[-4:]} {index}",
    )
    assert await said(engine, Sampling(n=2)) == ["2+2? 0", "2+2? 1"]


async def test_a_function_may_give_a_whole_completion() -> None:
    whole = Completion(
        text="x", finish_reason="length", prompt_tokens=1, cached_tokens=2, generated_tokens=3
    )
    assert await Scripted(respond=lambda *_: whole).complete(PROMPT, Sampling()) == [whole]


async def test_text_is_cut_at_max_tokens_and_stops() -> None:
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


async def test_the_finish_reason_can_be_set() -> None:
    (cut,) = await Scripted(replies={"": ("x",)}, finish_reason="length").complete(
        PROMPT, Sampling()
    )
    assert cut.finish_reason == "length"


@pytest.mark.parametrize("retryable", [True, False])
async def test_it_fails_when_told(retryable: bool) -> None:
    with pytest.raises(EngineError, match="out of order") as failure:
        await Scripted(error="out of order", retryable=retryable).complete(PROMPT, Sampling())
    assert failure.value.retryable is retryable


async def test_no_fitting_reply_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"no scripted reply fits .*2\+2") as failure:
        await Scripted(replies={"3+3": ("six",)}).complete(PROMPT, Sampling())
    assert not failure.value.retryable


def test_a_run_file_sets_the_table_but_not_the_function() -> None:
    built = plugins.build("engines", {"use": "scripted", "replies": {"2+2": ["four"]}})
    assert built == Scripted(replies={"2+2": ("four",)})
    with pytest.raises(PluginError, match="respond"):
        plugins.build("engines", {"use": "scripted", "respond": "os.system"})


def test_the_identity_knows_what_is_said() -> None:
    assert Scripted(replies={"": ("a",)}).identity != Scripted(replies={"": ("b",)}).identity
    assert Scripted(respond=lambda *_: "x").identity != Scripted().identity
    assert Scripted(delay=1.0).identity == Scripted().identity


async def scored(engine: Scripted, text: str) -> list[float]:
    return [math.exp(logprob) for logprob in (await engine.score(PROMPT, text)).logprobs]


async def test_a_text_is_as_likely_as_the_share_of_replies_that_agree() -> None:
    engine = Scripted(replies={"": (" it is 4", " it is 5", " it was 4", " no"), "3+3": (" six",)})
    assert await scored(engine, " it is 4") == pytest.approx([3 / 4, 2 / 3, 1 / 2])
    assert await scored(engine, " it is six") == pytest.approx([3 / 4, 2 / 3, math.exp(NEVER)])
    assert await scored(engine, " six is 4") == pytest.approx([math.exp(NEVER)] * 3)


async def test_a_function_makes_its_greedy_reply_certain() -> None:
    engine = Scripted(
        respond=lambda prompt, sampling, index: f" {sampling.temperature:.0f} {index}"
    )
    assert await scored(engine, " 0 0") == [1.0, 1.0]


async def test_scoring_fails_when_told_and_where_nothing_fits() -> None:
    for engine, message in (
        (Scripted(error="out of order"), "out of order"),
        (Scripted(), "no scripted reply fits"),
    ):
        with pytest.raises(EngineError, match=message):
            await engine.score(PROMPT, "4")
