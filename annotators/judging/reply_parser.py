"""Parsing of judge replies: the verdict on each step, in JSON or in lines of a fixed form.

What is not covered: verdicts in prose, in another language or in any other wording. A step without
a verdict in a known form is UNKNOWN.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepmark.records import Verdict

__all__ = ["MAX_REPLY_CHARS", "StepVerdict", "read_verdicts", "reply_schema"]

# About 70,000 tokens. Parsing takes linear time, and the worst reply of this length blocks the
# event loop for some tenths of a second.
MAX_REPLY_CHARS = 1 << 18
"""The number of characters of a reply that are stored; a longer reply is not parsed."""
# Rationales are stored once per step; the critiques table contains the whole reply.
MAX_RATIONALE_CHARS = 500

# A line on one step that ends with a verdict: "Step 3: ... correct", "**Step 3**: Incorrect.",
# "Step 3: \boxed{incorrect}". A line that starts with a brace is JSON, hence the `{` in the first
# class. Possessive quantifiers and classes without a line break keep the search linear, because a
# hostile reply with a million line breaks must not block the event loop.
VERDICT_LINE = re.compile(
    r"^(?:[^\w\n{]|_)*+step[^\w\n]*+(?P<number>\d{1,6})\b"
    r"(?P<before>[^\n]*)\b(?P<verdict>correct|incorrect)\b[^\w\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
# Text that negates the verdict that follows, or offers an alternative: "not correct", "isn't quite
# correct", "correct or incorrect", "correct/incorrect". A line with a hedge has no clear verdict.
HEDGE = re.compile(
    r"(?:\b(?:not|never|hardly)|n['’]t)[ *]+(?:[a-z]+[ *]+)?$|\bor[ *]+$|/[ *]*$", re.IGNORECASE
)
# A hedge is short. Searching only the end of the text before a verdict keeps the time linear.
HEDGE_CHARS = 40
# The start of a code fence that contains a JSON object.
JSON_FENCE = re.compile(r"```(?:json)?\s*+(?=\{)")


@dataclass(frozen=True, slots=True)
class StepVerdict:
    """The verdict of one reply on one step, and its justification in the words of the reply."""

    verdict: Verdict = Verdict.UNKNOWN
    rationale: str = ""


def reply_schema(steps: int) -> str:
    """Return the JSON schema of a reply on `steps` steps, as text.

    Each step has a critique followed by a verdict ("correct", "incorrect" or "unknown"). The
    critique comes first, so that a model reasons before it decides.
    """
    step = _object_schema(
        {
            "step": {"type": "integer"},
            "critique": {"type": "string"},
            "verdict": {"type": "string", "enum": list(Verdict)},
        }
    )
    step_list = {"type": "array", "minItems": steps, "maxItems": steps, "items": step}
    return json.dumps(_object_schema({"steps": step_list}))


def read_verdicts(reply: str, steps: int) -> Sequence[StepVerdict]:
    """Return the verdicts of a reply on the steps 1 to `steps`.

    A step is UNKNOWN where the reply has no verdict on it or two different ones, and every step is
    UNKNOWN when the reply is longer than `MAX_REPLY_CHARS`.
    """
    if len(reply) > MAX_REPLY_CHARS:
        return [StepVerdict()] * steps
    # Lines are read only from replies without a verdict in JSON.
    numbered_verdicts = list(_read_json(reply)) or list(_read_lines(reply))
    verdicts_by_step: dict[int, list[StepVerdict]] = {}
    for number, step_verdict in numbered_verdicts:
        verdicts_by_step.setdefault(number, []).append(step_verdict)
    return [_agreed_verdict(verdicts_by_step.get(number, [])) for number in range(1, steps + 1)]


def _read_json(reply: str) -> Iterator[tuple[int, StepVerdict]]:
    """Yield (step number, verdict) from a JSON reply; parts that violate the schema are skipped.

    The whole reply may be JSON, or it may end with a code fence that contains JSON.
    """
    text = reply.strip()
    if not text.startswith("{"):
        text = JSON_FENCE.split(text)[-1].removesuffix("```")
    try:
        document = json.loads(text, object_pairs_hook=_object_of_unique_keys)
        if not isinstance(document, dict) or not isinstance(document.get("steps"), list):
            return
        for item in document["steps"]:
            numbered_verdict = _read_json_item(item)
            if numbered_verdict is not None:
                yield numbered_verdict
    except (ValueError, RecursionError):  # not JSON, too many digits, nested too deeply
        return


def _object_of_unique_keys(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    """Build a JSON object; raise ValueError on a duplicate key, since it gives two values."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("duplicate key")
    return values


def _read_json_item(item: object) -> tuple[int, StepVerdict] | None:
    match item:
        # `True` would match as step 1.
        case {"step": int(number), "verdict": str(word), **rest} if number is not True:
            if word.lower() not in list(Verdict):
                return None
            rationale = str(rest.get("critique", "")).strip()[:MAX_RATIONALE_CHARS]
            return number, StepVerdict(Verdict(word.lower()), rationale)
    return None


def _read_lines(reply: str) -> Iterator[tuple[int, StepVerdict]]:
    """Yield (step number, verdict) from every line of the form "Step k: ... correct"."""
    for match in VERDICT_LINE.finditer(reply):
        verdict = Verdict(match["verdict"].lower())
        if HEDGE.search(match["before"][-HEDGE_CHARS:]):
            verdict = Verdict.UNKNOWN
        yield int(match["number"]), StepVerdict(verdict, match[0].strip()[:MAX_RATIONALE_CHARS])


def _agreed_verdict(verdicts: Sequence[StepVerdict]) -> StepVerdict:
    """Return the verdict that all of them share, with the first rationale, or UNKNOWN."""
    distinct = {step_verdict.verdict for step_verdict in verdicts}
    return verdicts[0] if len(distinct) == 1 else StepVerdict()


def _object_schema(properties: Mapping[str, object]) -> Mapping[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
