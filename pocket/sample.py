"""Sample solutions of new problems from a checkpoint: `python -m pocket.sample --count 4000`.

Training reads them back, so that the model learns to check its own mistakes.
"""

import argparse
import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from random import Random

from engines.base import Prompt
from engines.pocket import Pocket
from pocket.curriculum import SOLVE_PROMPT
from pocket.export import export
from problems.arithmetic_domain.stories import ArithmeticStory, draw
from stepmark.records import Sampling
from stepmark.steps import split

FOLDER = "model"
MAX_TOKENS = 400
SAMPLES = 4
SEED_SPACING = 1024
"""Larger than SAMPLES, so that no two requests share a seed."""


async def solve(engine: Pocket, story: ArithmeticStory, sampling: Sampling) -> list[list[str]]:
    """Return the lines of each of `sampling.n` solutions of a problem."""
    prompt = Prompt(user=SOLVE_PROMPT.format(question=story.question))
    completions = await engine.complete(prompt, sampling)
    solutions = list[list[str]]()
    for completion in completions:
        lines = split(completion.text, "line")
        solutions.append(list(lines))
    return solutions


async def sample(run: Path, count: int, seed: int) -> None:
    """Write four solutions at temperature 1 of each of `count` problems to RUN/own.jsonl."""
    export(run, run / FOLDER)
    engine = Pocket(model=str(run / FOLDER))
    # Held-out problems and lessons are drawn from streams with other names.
    random = Random(f"own:{seed}")
    stories = list[ArithmeticStory]()
    for _ in range(count):
        # The numbers of steps are those of the lessons.
        steps = random.randint(2, 6)
        stories.append(draw(random, steps))
    requests = list[asyncio.Task[list[list[str]]]]()
    for index, story in enumerate(stories):
        sampling = Sampling(
            max_tokens=MAX_TOKENS,
            seed=index * SEED_SPACING,
            n=SAMPLES,
        )
        request = asyncio.create_task(solve(engine, story, sampling))
        requests.append(request)
    solved = await asyncio.gather(*requests)
    rows = list[str]()
    for story, solutions in zip(stories, solved, strict=True):
        world = asdict(story.world)
        for lines in solutions:
            row = {
                "question": story.question,
                "world": world,
                "lines": lines,
            }
            rows.append(json.dumps(row) + "\n")
    # Renamed when complete: training may read the file at any moment.
    partial = run / "own.partial"
    partial.write_text("".join(rows))
    partial.rename(run / "own.jsonl")
    await engine.close()


def main() -> None:
    """Sample from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/pocket"), help="the training run")
    parser.add_argument("--count", type=int, default=4000, help="number of problems")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(sample(options.run, options.count, options.seed))


if __name__ == "__main__":
    main()
