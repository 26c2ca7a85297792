"""Separation of a model's thinking from the response after it.

The thinking is what reasoning models write between two markers. Its beginning may be missing,
because chat templates write it in the prompt.
"""

import re

__all__ = ["THINKING_ENDS", "THINKING_STARTS", "after_thinking"]

# DeepSeek-R1 and Qwen write "think", Seed "seed:think"; the other tags are those of prompts.
_TAGS = "think|thinking|thought|reasoning|reflection|scratchpad|seed:think"
# Behind the tags the markers of Mistral, Kimi, OpenThoughts and gpt-oss.
THINKING_STARTS = (
    rf"<(?:{_TAGS})>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis<\|message\|>"
)
"""A pattern that matches the markers at which thinking starts."""
THINKING_ENDS = (
    rf"</(?:{_TAGS})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>"
)
"""A pattern that matches the markers at which thinking ends."""
START = re.compile(THINKING_STARTS, re.IGNORECASE)
END = re.compile(THINKING_ENDS, re.IGNORECASE)
LAST_END = "</think>"
# How markers begin with `<`: a comparison or a calculation of GSM8K, `<<1+2=3>>`, does not.
OPENING = re.compile(r"<[/|trsTRS]")


def after_thinking(text: str) -> str | None:
    """Return the text after the last end of thinking; None if a later thinking has no end."""
    if not _has_marker(text):
        return text
    start = 0
    # Nearly all ends are `</think>`, which is found faster than a pattern.
    last_end = text.rfind(LAST_END)
    if last_end >= 0:
        start = last_end + len(LAST_END)
    for match in END.finditer(text, start):
        start = match.end()
    if START.search(text, start):
        return None
    return text[start:]


def _has_marker(text: str) -> bool:
    """Return whether a text may have a marker. Most texts have none, which is found quickly."""
    if "<" in text and OPENING.search(text):
        return True
    return "◁" in text or ("[" in text and ("THINK]" in text or "think]" in text))
