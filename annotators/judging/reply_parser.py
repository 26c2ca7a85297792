"""What a reply says of each step: read in a known form, JSON or lines, or not at all.

What is not covered: a verdict in prose, in another language, or in words of the reply's own. Such a reply says nothing.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepmark.records import Verdict

__all__ = ["LONGEST_REPLY", "Said", "read_verdicts", "reply_schema"]

# Some 70,000 tokens. Nothing below takes more than linear time: the worst reply of this length holds the event loop for tenths of a second.
LONGEST_REPLY = 1 << 18
"""Characters of a reply that are kept; a longer one is not read."""
LONGEST_RATIONALE = 500
# "Step 3: … correct", "**Step 3**: Incorrect.", "Step 3: \boxed{incorrect}": a line about one step that ends with a verdict. Nothing
# here reaches beyond its line or is tried twice, since a hostile reply of a million line breaks must not hold the event loop. A brace
# opens JSON, which is no such line.
VERDICT_LINE = re.compile(
    r"^(?:[^\w\n{]|_)*+step[^\w\n]*+(?P<number>\d{1,6})\b(?P<before>[^\n]*)\b(?P<verdict>correct|incorrect)\b[^\w\n]*$",
    re.IGNORECASE | re.MULTILINE,
)
# "not correct", "isn't quite correct", "correct or incorrect": not said in a known form.
HEDGED = re.compile(
    r"(?:\b(?:not|never|hardly)|n['’]t)[ *]+(?:[a-z]+[ *]+)?$|\bor[ *]+$|/[ *]*$", re.IGNORECASE
)
LONGEST_HEDGE = 40
# Where JSON begins that stands in a fence.
FENCED = re.compile(r"```(?:json)?\s*+(?=\{)")


@dataclass(frozen=True, slots=True)
class Said:
    """What one reply says of one step, and in what words."""

    verdict: Verdict = Verdict.UNKNOWN
    words: str = ""


def reply_schema(steps: int) -> str:
    """The JSON schema of a reply about so many steps: each with a critique, and then a verdict, of which "unknown" is one."""
    step = {
        "step": {"type": "integer"},
        "critique": {"type": "string"},
        "verdict": {"type": "string", "enum": list(Verdict)},
    }
    return json.dumps(
        _object(
            steps={"type": "array", "minItems": steps, "maxItems": steps, "items": _object(**step)}
        )
    )


def read_verdicts(reply: str, steps: int) -> Sequence[Said]:
    """What is said of each of `steps` steps; unknown where the reply gives no verdict, or two that differ."""
    found: dict[int, list[Said]] = {}
    if len(reply) <= LONGEST_REPLY:
        for number, said in list(_objects(reply)) or _lines(reply):
            found.setdefault(number - 1, []).append(said)
    return [_single(found.get(index, ())) for index in range(steps)]


def _objects(reply: str) -> Iterator[tuple[int, Said]]:
    """The steps of a reply in JSON, alone or in the fence that the reply ends with; what is not of the schema is passed over."""
    text = reply.strip()
    body = text if text.startswith("{") else FENCED.split(text)[-1].removesuffix("```")
    try:
        match json.loads(body, object_pairs_hook=_once):
            case {"steps": [*items]}:
                yield from filter(None, map(_of_object, items))
    except (ValueError, RecursionError):  # no JSON, digits without end, depth without end
        return


def _once(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _of_object(item: object) -> tuple[int, Said] | None:
    match item:
        case {"step": int(number), "verdict": str(word), **rest} if (
            number is not True and word.lower() in list(Verdict)
        ):
            return number, Said(
                Verdict(word.lower()), str(rest.get("critique", "")).strip()[:LONGEST_RATIONALE]
            )
    return None


def _lines(reply: str) -> Iterator[tuple[int, Said]]:
    for line in VERDICT_LINE.finditer(reply):
        hedged = HEDGED.search(line["before"][-LONGEST_HEDGE:])
        verdict = Verdict.UNKNOWN if hedged else Verdict(line["verdict"].lower())
        yield int(line["number"]), Said(verdict, line[0].strip()[:LONGEST_RATIONALE])


def _single(said: Sequence[Said]) -> Said:
    return said[0] if len({one.verdict for one in said}) == 1 else Said()


def _object(**properties: object) -> Mapping[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
