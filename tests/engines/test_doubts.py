"""Texts that were cut: by a limit, or by a fault of the server."""

import pytest

from engines.base import Completion
from engines.runtime.doubts import Doubts
from engines.runtime.openai_replies import Reply


def cut_reply(generated_tokens: int) -> Reply:
    """Return a reply with one text that was cut after some tokens."""
    completion = Completion(
        text="so",
        finish_reason="length",
        prompt_tokens=5,
        cached_tokens=0,
        generated_tokens=generated_tokens,
    )
    return Reply(
        completions=[completion],
        indices=[0],
        unknown_reasons=(),
        without_reason=frozenset(),
        has_usage=True,
    )


@pytest.mark.parametrize(
    ("generated_tokens", "expected"),
    [(3, {0: "text cut early"}), (99, {}), (100, {}), (0, {})],
)
def test_early_cut_is_doubted(generated_tokens: int, expected: dict[int, str]) -> None:
    assert Doubts().about(cut_reply(generated_tokens), 100) == expected


def test_shorter_than_others_is_certain() -> None:
    doubts = Doubts()
    doubts.learn(cut_reply(50))
    assert doubts.about(cut_reply(3), 100) == {0: "cut text"}
    assert doubts.about(cut_reply(60), 100) == {0: "text cut early"}


def test_limit_of_server_becomes_usual() -> None:
    doubts = Doubts()
    doubts.confirmed["text cut early"] = 3
    doubts.learn(cut_reply(50))
    assert doubts.about(cut_reply(50), 100) == {}
    assert doubts.about(cut_reply(3), 100) == {0: "cut text"}
