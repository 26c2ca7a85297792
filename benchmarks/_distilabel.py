"""distilabel's Math-Shepherd step on solutions that are given to it; runs in distilabel's own environment and imports nothing of ours.

    python _distilabel.py IN.json OUT.json

What a small model that only continues text makes necessary is overridden, and nothing else:

- a prompt is the model's own text up to the prefix, not a request for "N example solutions separated by ---" with rules and few-shots;
- the N completions are independent samples, put together with that separator, which distilabel takes apart again: `at_once` of one request,
  else one after the other, which is how the N solutions of one reply are written;
- "The answer is 12." becomes the "The answer is: 12" that distilabel looks for and compares.

The batches (50 prompts, and wait for all), the parsing, the comparison and the labels are distilabel's.
"""

import json
import re
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")  # pydantic's, of distilabel's fields

from distilabel.models import OpenAILLM  # noqa: E402
from distilabel.steps.tasks import MathShepherdCompleter  # noqa: E402
from pydantic import PrivateAttr  # noqa: E402

__all__: list[str] = []

SEPARATOR = "---"
ANSWER = re.compile(r"The answer is (.+)\.")
LABELS = {" +": "+", " -": "-"}


class Sampler(OpenAILLM):  # type: ignore[misc]
    """N independent samples where distilabel asks for one text with N solutions."""

    samples: int
    at_once: bool
    _tokens: int = PrivateAttr(default=0)

    async def agenerate(self, input: str, num_generations: int = 1, **parameters: Any) -> Any:
        """N samples through distilabel's own client; their texts become one."""
        parts = [self.samples] if self.at_once else [1] * self.samples
        outputs = [
            await self._generate_completion(input=input, num_generations=part, **parameters)
            for part in parts
        ]
        self._tokens += sum(sum(output["statistics"]["output_tokens"]) for output in outputs)
        texts = [answered(text) for output in outputs for text in output["generations"]]
        return outputs[0] | {"generations": [SEPARATOR.join(texts)]}


class Completer(MathShepherdCompleter):  # type: ignore[misc]
    """Prompts that the model can continue."""

    def _prepare_completions(self, instruction: str, steps: list[str]) -> list[str]:
        return [
            instruction + "".join(f"{step}\n" for step in steps[:end])
            for end in range(1, len(steps) - 1)
        ]


def answered(text: str) -> str:
    """The answer in the form that distilabel reads."""
    return ANSWER.sub(r"The answer is: \1", text)


def labelled(given: dict[str, Any]) -> dict[str, Any]:
    """The labels of every solution, and what they took."""
    sampler = Sampler(
        model=given["model"],
        base_url=given["url"],
        api_key="none",
        samples=given["rollouts"],
        at_once=given["at_once"],
        generation_kwargs={
            "temperature": given["temperature"],
            "max_new_tokens": given["max_tokens"],
        },
    )
    task = Completer(llm=sampler, N=given["rollouts"], system_prompt=None)
    task.load()
    rows = [
        {
            "instruction": row["prompt"],
            "golden_solution": [answered(f"The answer is {row['answer']}.")],
            "solutions": [[answered(step.strip()) for step in steps] for steps in row["solutions"]],
        }
        for row in given["rows"]
    ]
    started = time.perf_counter()
    done = next(task.process(rows))
    return {
        "seconds": time.perf_counter() - started,
        "generated_tokens": sampler._tokens,
        "labels": [
            [[LABELS.get(step[-2:], "") for step in steps] for steps in row["solutions"]]
            for row in done
        ],
        "versions": {name: version(name) for name in ("distilabel", "openai")},
    }


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(
        json.dumps(labelled(json.loads(source.read_text(encoding="utf-8")))), encoding="utf-8"
    )
