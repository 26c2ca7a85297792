"""Separation of a model's thinking from the response after it.

The thinking is what reasoning models write between two markers. Its beginning may be missing,
because chat templates write it in the prompt.
"""

import re

__all__ = ["after_thinking"]

NAMES = "think|thinking|thought|reasoning|scratchpad|seed:think"
# The markers of DeepSeek-R1 and Qwen, of Mistral, Kimi, OpenThoughts and gpt-oss.
END = re.compile(
    rf"</(?:{NAMES})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
START = re.compile(
    rf"<(?:{NAMES})>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis",
    re.IGNORECASE,
)
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
