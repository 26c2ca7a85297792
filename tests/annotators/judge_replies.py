"""Replies of simulated judges."""

from collections.abc import Sequence

from engines.base import Completion, Prompt
from stepmark.records import Sampling
from tests.annotators.simulated import Respond


def vote(initials: str) -> str:
    """Return a reply with a line per step; "ci?" is correct, incorrect and unreadable."""
    words = {"c": "correct", "i": "incorrect", "?": "perhaps"}
    lines = list[str]()
    for number, initial in enumerate(initials, start=1):
        lines.append(f"Step {number}: {words[initial]}")
    return "\n".join(lines)


def completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion(
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=0,
        cached_tokens=0,
        generated_tokens=1,
    )


def reply_by_prompt(replies: dict[str, str | Sequence[str]]) -> Respond:
    """Return a judge that replies by the first key contained in the prompt.

    The value is the reply to every sample, or a sequence with one reply per sample.
    """

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        for text, reply in replies.items():
            if text in prompt.user:
                return reply if isinstance(reply, str) else reply[index]
        raise AssertionError(f"no reply to {prompt.user}")

    return respond


def reply_per_step(*votes: str) -> Respond:
    """Return a judge whose sample i is the line of vote i on the step that is asked about."""

    def respond(prompt: Prompt, sampling: Sampling, index: int) -> str:
        number = int(prompt.user.rpartition("Check step ")[2].rstrip(".\n"))
        return vote(votes[index]).splitlines()[number - 1]

    return respond
