"""Have a checkpoint solve fresh problems, so that it can learn to check its own mistakes: `python -m pocket.sample --count 4000`."""

import argparse
import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from random import Random

from engines.base import Prompt
from engines.pocket import Pocket
from pocket.export import export
from pocket.lessons import SOLVE_PROMPT
from problems.arithmetic_domain.stories import Story, draw
from stepmark.records import Sampling
from stepmark.steps import split

FOLDER = "model"
MAX_TOKENS = 400


async def solve(engine: Pocket, story: Story, sampling: Sampling) -> list[list[str]]:
    """The lines of `sampling.n` solutions of a problem."""
    prompt = Prompt(user=SOLVE_PROMPT.format(question=story.question))
    return [list(split(c.text, "line")) for c in await engine.complete(prompt, sampling)]


async def sample(run: Path, count: int, seed: int) -> None:
    """Write one solution at temperature 1 of each of `count` problems to RUN/own.jsonl."""
    export(run, run / FOLDER)
    engine = Pocket(model=str(run / FOLDER))
    random = Random(f"own:{seed}")
    stories = [draw(random, random.randint(2, 6)) for _ in range(count)]
    solved = await asyncio.gather(
        *(
            solve(engine, story, Sampling(max_tokens=MAX_TOKENS, seed=index * 1024, n=4))
            for index, story in enumerate(stories)
        )
    )
    rows = [
        {"question": story.question, "world": asdict(story.world), "lines": lines}
        for story, solutions in zip(stories, solved, strict=True)
        for lines in solutions
    ]
    (run / "own.partial").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "own.partial").rename(run / "own.jsonl")
    await engine.close()


def main() -> None:
    """Sample from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/pocket"))
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(sample(options.run, options.count, options.seed))


if __name__ == "__main__":
    main()
