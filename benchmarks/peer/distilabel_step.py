"""Run distilabel's Math-Shepherd step on given solutions, in distilabel's own environment.

    python distilabel_step.py INPUT.json OUTPUT.json

This script imports nothing of Stepmark. It overrides only what a small model that continues text
requires:

- The prompt is the model's own text up to the prefix, not a request for "N example solutions
  separated by ---" with rules and examples.
- The N completions are independent samples, joined with that separator, at which distilabel splits
  them again. With `at_once` they come from one request, otherwise from one request after another,
  which is how the N solutions of one reply are written.
- "The answer is 12." becomes "The answer is: 12", which distilabel searches for and compares.

The batches (50 prompts, all awaited before the next batch), the parsing, the comparison and the
labels are those of distilabel.
"""

import json
import re
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Pydantic warns about the fields of distilabel's classes when they are imported.
warnings.simplefilter("ignore")

from distilabel.models import OpenAILLM  # noqa: E402
from distilabel.steps.tasks import MathShepherdCompleter  # noqa: E402
from pydantic import PrivateAttr  # noqa: E402

__all__: list[str] = []

SEPARATOR = "---"
ANSWER = re.compile(r"The answer is (.+)\.")
# The ends of distilabel's labelled steps.
LABELS = {" +": "+", " -": "-"}


class SamplingLLM(OpenAILLM):  # type: ignore[misc]
    """An LLM that samples N times where distilabel requests one text with N solutions."""

    samples: int
    at_once: bool
    _generated_tokens: int = PrivateAttr(default=0)

    @property
    def generated_tokens(self) -> int:
        """The tokens of all samples so far."""
        return self._generated_tokens

    async def agenerate(self, input: str, num_generations: int = 1, **parameters: Any) -> Any:
        """Sample with distilabel's client and join the texts."""
        request_sizes = [1] * self.samples
        if self.at_once:
            request_sizes = [self.samples]
        outputs = list[Any]()
        texts = list[str]()
        for size in request_sizes:
            output = await self._generate_completion(
                input=input, num_generations=size, **parameters
            )
            outputs.append(output)
            self._generated_tokens += sum(output["statistics"]["output_tokens"])
            for text in output["generations"]:
                texts.append(with_distilabel_answer(text))
        return outputs[0] | {"generations": [SEPARATOR.join(texts)]}


class Completer(MathShepherdCompleter):  # type: ignore[misc]
    """distilabel's step with prompts that the model can continue."""

    def _prepare_completions(self, instruction: str, steps: list[str]) -> list[str]:
        prompts = list[str]()
        for end in range(1, len(steps) - 1):
            prompts.append(instruction + "".join(f"{step}\n" for step in steps[:end]))
        return prompts


def with_distilabel_answer(text: str) -> str:
    """Return the text with its answer in the form that distilabel reads."""
    return ANSWER.sub(r"The answer is: \1", text)


def label_solutions(task_input: dict[str, Any]) -> dict[str, Any]:
    """Return the labels of every solution, the time, the tokens and the versions."""
    llm = SamplingLLM(
        model=task_input["model"],
        base_url=task_input["url"],
        api_key="none",
        samples=task_input["rollouts"],
        at_once=task_input["at_once"],
        generation_kwargs={
            "temperature": task_input["temperature"],
            "max_new_tokens": task_input["max_tokens"],
        },
    )
    task = Completer(llm=llm, N=task_input["rollouts"], system_prompt=None)
    task.load()
    rows = list(map(_task_row, task_input["rows"]))
    # The imports and the start of the process are not timed.
    started = time.perf_counter()
    labelled_rows = next(task.process(rows))
    seconds = time.perf_counter() - started
    labels = list[list[list[str]]]()
    for row in labelled_rows:
        labels.append([_labels(steps) for steps in row["solutions"]])
    return {
        "seconds": seconds,
        "generated_tokens": llm.generated_tokens,
        "labels": labels,
        "versions": {name: version(name) for name in ("distilabel", "openai")},
    }


def _task_row(row: dict[str, Any]) -> dict[str, Any]:
    solutions = list[list[str]]()
    for steps in row["solutions"]:
        solutions.append([with_distilabel_answer(step.strip()) for step in steps])
    return {
        "instruction": row["prompt"],
        "golden_solution": [with_distilabel_answer(f"The answer is {row['answer']}.")],
        "solutions": solutions,
    }


def _labels(steps: list[str]) -> list[str]:
    return [LABELS.get(step[-2:], "") for step in steps]


def main() -> None:
    """Read the input file named on the command line and write the output file."""
    input_file, output_file = map(Path, sys.argv[1:])
    task_input = json.loads(input_file.read_text(encoding="utf-8"))
    output_file.write_text(json.dumps(label_solutions(task_input)), encoding="utf-8")


if __name__ == "__main__":
    main()
