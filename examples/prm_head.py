"""Train a process reward model on an export of Stepmark: `trl` or `math_shepherd`.

    stepmark export trl --dataset data/pocket --to data/train
    python examples/prm_head.py train data/train --model MODEL --to data/prm
    python examples/prm_head.py score data/train --model data/prm --to scores.jsonl

The model is a causal language model of transformers whose output layer is replaced by a linear head
with two classes. At the line break after each step, it predicts if the step is correct.

Needs torch, transformers and datasets. Nothing of Stepmark is imported: copy this file.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset, load_dataset
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    HfArgumentParser,
    set_seed,
)

IGNORED = -100
"""The label of tokens that train nothing, for the loss and the padding of transformers."""
MARKER = "ки"
"""Ends each step of the format `math_shepherd`."""
Tokens = dict[str, list[int]]
"""The tokens of a solution (`input_ids`), and a label for each of them (`labels`)."""


@dataclass
class Options:
    """The options of the command line besides paths."""

    template: str = "{prompt}\n"
    """The text before the first step."""
    updates: int = 100
    """How often the weights change."""
    batch_size: int = 16
    """Solutions per update."""
    learning_rate: float = 1e-4
    """That of AdamW, for all updates."""
    max_tokens: int = 1024
    """Longer solutions are not trained on."""
    seed: int = 0
    """Of the new layer, and of the choice of solutions."""


class Solution(NamedTuple):
    """A solution in steps, and whether each step is correct; no labels for scoring."""

    prompt: str
    steps: list[str]
    labels: list[bool]


def read_solutions(source: Path) -> list[Solution]:
    """Return the rows of a JSONL or Parquet file, or of the split `train` of a folder."""
    if source.is_dir():
        rows = load_dataset(str(source), split="train")
    elif source.suffix == ".parquet":
        rows = Dataset.from_parquet(str(source))
    else:
        # The errors of `datasets` do not name the file.
        if not source.read_bytes().strip():
            raise SystemExit(f"{source} has no rows")
        rows = Dataset.from_json(str(source))
    return [read_row(row) for row in rows]


def read_row(row: dict[str, Any]) -> Solution:
    """Return the solution in a row of `trl`, or of `math_shepherd`, whose steps have markers."""
    if "completions" in row:
        labels = row.get("labels") or []
        return Solution(row["prompt"], row["completions"], labels)
    if "label" not in row:
        columns = ", ".join(row)
        raise SystemExit(f"export `trl` or `math_shepherd`: no such row has {columns}")
    prompt, first, text = row["input"].partition("Step 1:")
    *steps, _ = (first + text).split(MARKER)
    solution = Solution(prompt.strip(), steps, [])
    # `label` is the same text as `input`, with one sign in the place of each marker.
    position = len(prompt)
    for step in solution.steps:
        position += len(step)
        solution.labels.append(row["label"][position] == "+")
        position += 1
    return solution


def tokenize(solution: Solution, tokenizer: Any, template: str) -> Tokens:
    """Return the tokens of a solution. The label of a step is that of the line break after it."""
    text = template.replace("{prompt}", solution.prompt)
    ids = list(tokenizer(text).input_ids)
    labels = [IGNORED] * len(ids)
    # Without labels, all line breaks have the label 1: `score` looks for them.
    step_labels = solution.labels or [True] * len(solution.steps)
    for step, label in zip(solution.steps, step_labels, strict=True):
        ids += tokenizer(f"{step.strip()}\n", add_special_tokens=False).input_ids
        length = len(ids) - len(labels)
        labels += [IGNORED] * length
        labels[-1] = int(label)
    return {"input_ids": ids, "labels": labels}


def train(solutions: list[Solution], base: str, to: Path, options: Options) -> None:
    """Train a reward model from the language model `base`, and save it in the folder `to`."""
    # Before the training, because the path may be wrong.
    to.mkdir(parents=True, exist_ok=True)
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # Llama has none
    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2, dtype="float32")
    rows = list[Tokens]()
    for solution in solutions:
        row = tokenize(solution, tokenizer, options.template)
        length = len(row["input_ids"])
        if solution.labels and length <= options.max_tokens:
            rows.append(row)
    print(len(rows), "of", len(solutions), "rows; the others have no label, or too many tokens")
    if not rows:
        raise SystemExit("no row is left to train on: raise --max-tokens, or export labels")
    optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate)
    # Rows are padded to the longest one of a batch.
    pad = DataCollatorForTokenClassification(tokenizer)
    model.train()
    for update in range(1, options.updates + 1):
        batch = random.choices(rows, k=options.batch_size)
        loss = model(**pad(batch)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % 10 == 0:
            print(f"update {update}: loss {loss:.3f}")
    model.save_pretrained(to)
    tokenizer.save_pretrained(to)


@torch.inference_mode()
def score(solutions: list[Solution], folder: Path, template: str) -> list[list[float]]:
    """Return the probability that a step is correct, for each step of each solution."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype="float32")
    model.eval()
    scores = list[list[float]]()
    for solution in solutions:
        row = tokenize(solution, tokenizer, template)
        labels = torch.tensor(row["labels"])
        step_ends = labels != IGNORED
        ids = torch.tensor([row["input_ids"]])
        logits = model(ids).logits[0]
        probabilities = logits[step_ends].softmax(-1)
        scores.append(probabilities[:, 1].tolist())
    return scores


def main() -> None:
    """Train or score, as the command line says."""
    summary = __doc__.splitlines()[0]
    parser = HfArgumentParser(Options, description=summary)
    parser.add_argument("action", choices=["train", "score"])
    parser.add_argument("data", type=Path, help="an exported folder, or a JSONL or Parquet file")
    parser.add_argument("--model", required=True, help="a folder; for `train` also one on the Hub")
    parser.add_argument("--to", type=Path, required=True, help="model folder, or file of scores")
    options, paths = parser.parse_args_into_dataclasses()
    # A shell passes a line break as the two characters of its escape.
    template = options.template = options.template.replace("\\n", "\n")
    if "{prompt}" not in template:
        parser.error("--template has no {prompt}, so the problem would be left out")
    solutions = read_solutions(paths.data)
    if paths.action == "train":
        train(solutions, paths.model, paths.to, options)
        return
    with paths.to.open("w") as file:
        for scores in score(solutions, Path(paths.model), template):
            line = json.dumps({"scores": scores})
            file.write(f"{line}\n")


if __name__ == "__main__":
    main()
