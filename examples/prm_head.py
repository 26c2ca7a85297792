"""Train a process reward model on an export of Stepmark: `trl` or `math_shepherd`.

    stepmark export trl --dataset data/pocket --to data/train
    python examples/prm_head.py train data/train --model MODEL --to data/prm
    python examples/prm_head.py score data/train --model data/prm --to scores.jsonl

The model is a causal language model of transformers with a head: a classifier of each step as
correct or incorrect. Its inputs are the last hidden state at the token after the step, and the
lowest and the mean log-probability of the step's tokens. Only the head is trained, unless
`--model-rate` gives the language model a learning rate. Incorrect steps are rare, so both classes
have equal weight in the loss: without it, a head calls every step correct.

Needs torch, transformers and pyarrow. Nothing of Stepmark is imported: copy this file.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

SEPARATOR = "\n"
"""The text after each step."""
MARKER = "ки"
"""Ends each step of the format `math_shepherd`."""
LIKELIHOODS = 2
"""Inputs of the head besides the hidden state: the lowest and the mean log-probability."""


class Solution(NamedTuple):
    """A solution in steps. `labels` is empty for scoring."""

    prompt: str
    steps: Sequence[str]
    labels: Sequence[bool]


class Tokens(NamedTuple):
    """The tokens of a solution."""

    ids: list[int]
    steps: list[tuple[int, int, int]]
    """The positions of a step's first token, of the first token after it, and of the last token of
    the separator."""


class Head(torch.nn.Module):
    """A linear classifier of steps. Its inputs are standardized by their statistics in training."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        inputs = hidden_size + LIKELIHOODS
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.linear = torch.nn.Linear(inputs, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of incorrect and correct, of shape [step, 2]."""
        logits: torch.Tensor = self.linear((features - self.mean) / self.scale)
        return logits


def read_solutions(source: Path) -> list[Solution]:
    """Return the rows of a JSONL or Parquet file, or of all such files in a folder.

    The split `validation` of a folder is left out; name its file to score it.
    """
    files = [source]
    if source.is_dir():
        files = sorted(file for file in source.rglob("*") if file.suffix in (".jsonl", ".parquet"))
        files = [file for file in files if not file.name.startswith("validation")]
    rows = list[dict[str, Any]]()
    for file in files:
        if file.suffix == ".parquet":
            rows += pq.read_table(file).to_pylist()
        else:
            with file.open(encoding="utf-8") as lines:
                rows += [json.loads(line) for line in lines if line.strip()]
    if not rows:
        raise SystemExit(f"{source} has no rows: name a .jsonl or .parquet file, or a folder")
    return [read_row(row) for row in rows]


def read_row(row: dict[str, Any]) -> Solution:
    """Return the solution in a row of `trl`, or of `math_shepherd`, whose steps have markers."""
    if "completions" in row:
        return Solution(row["prompt"], row["completions"], row.get("labels") or [])
    if not {"input", "label"} <= row.keys():
        raise SystemExit(f"export `trl` or `math_shepherd`: no such row has {', '.join(row)}")
    # `label` is the same text as `input`, with one sign in the place of each marker.
    steps = row["input"].split(MARKER)[:-1]
    labels = list[bool]()
    position = 0
    for step in steps:
        position += len(step)
        labels.append(row["label"][position] == "+")
        position += 1
    prompt, _, first_step = steps[0].partition("Step 1:")
    return Solution(prompt.strip(), [f"Step 1:{first_step}", *steps[1:]], labels)


def tokenize(solution: Solution, tokenizer: Any, template: str) -> Tokens:
    """Return the tokens of a solution, in which each step is followed by `SEPARATOR`."""
    ids = list(tokenizer(template.replace("{prompt}", solution.prompt)).input_ids)
    separator = tokenizer(SEPARATOR, add_special_tokens=False).input_ids
    steps = list[tuple[int, int, int]]()
    for step in solution.steps:
        start = len(ids)
        ids += tokenizer(step.strip(), add_special_tokens=False).input_ids
        steps.append((start, len(ids), len(ids) + len(separator) - 1))
        ids += separator
    return Tokens(ids, steps)


def step_features(model: Any, rows: Sequence[Tokens]) -> torch.Tensor:
    """Return the inputs of the head for all steps of all rows, of shape [step, feature].

    The likelihood of a step is that of its tokens alone: the last step of a solution is followed by
    the end of the text, so a separator is unlikely there.
    """
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in rows])
    mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows])
    output = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    # The logits at a position are about the next token.
    logprobs = output.logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    features = list[torch.Tensor]()
    for index, row in enumerate(rows):
        for start, stop, end in row.steps:
            tokens = logprobs[index, start - 1 : stop - 1]
            likelihoods = torch.stack([tokens.min(), tokens.mean()])
            features.append(torch.cat([output.hidden_states[-1][index, end], likelihoods]))
    return torch.stack(features)


def train(
    solutions: Sequence[Solution],
    model_folder: str,
    to: Path,
    *,
    template: str,
    updates: int,
    batch_size: int,
    learning_rate: float,
    model_rate: float,
    weight_decay: float,
    max_tokens: int,
    seed: int,
) -> list[float]:
    """Train on solutions, save the model in `to`, and return all losses."""
    # Before the training, because the path may be wrong.
    to.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    model.eval().requires_grad_(model_rate > 0)
    rows = list[Tokens]()
    labels = list[torch.Tensor]()
    for solution in solutions:
        # A text ends with the last step that has a label.
        labelled = solution._replace(steps=solution.steps[: len(solution.labels)])
        row = tokenize(labelled, tokenizer, template)
        if solution.labels and len(row.ids) <= max_tokens:
            rows.append(row)
            labels.append(torch.tensor(solution.labels).long())
    print(f"{len(rows)} of {len(solutions)} rows; the others have no label, or too many tokens")
    if not rows:
        raise SystemExit("no row is left to train on: raise --max-tokens, or export labels")
    weights = class_weights(labels)
    with torch.no_grad():
        features = [step_features(model, [row]) for row in rows]
    head = Head(model.config.hidden_size)
    head.mean = torch.cat(features).mean(0)
    # Added, because a constant feature has no deviation.
    head.scale = torch.cat(features).std(0) + 1e-3
    groups = [{"params": head.parameters(), "lr": learning_rate, "weight_decay": weight_decay}]
    if model_rate > 0:
        groups.append({"params": model.parameters(), "lr": model_rate, "weight_decay": 0.01})
    optimizer = torch.optim.AdamW(groups)
    losses = list[float]()
    for batch in shuffled_batches(len(rows), batch_size, updates, seed):
        if model_rate > 0:
            inputs = step_features(model, [rows[index] for index in batch])
        else:
            inputs = torch.cat([features[index] for index in batch])
        loss = cross_entropy(head(inputs), torch.cat([labels[index] for index in batch]), weights)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) % 50 == 0:
            print(f"update {len(losses)}: loss {sum(losses[-50:]) / 50:.3f}")
    model.save_pretrained(to)
    tokenizer.save_pretrained(to)
    save_file(head.state_dict(), to / "head.safetensors")
    return losses


def class_weights(labels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the weights of incorrect and correct steps: each class has half of the total."""
    counts = torch.bincount(torch.cat(list(labels)), minlength=2)
    if counts.min() == 0:
        raise SystemExit("all steps have the same label, so there is nothing to learn")
    return counts.sum() / (2 * counts)


def shuffled_batches(rows: int, batch_size: int, updates: int, seed: int) -> Iterator[list[int]]:
    """Yield the numbers of the rows of each update; each pass over them has another order."""
    order = random.Random(seed)
    remaining = list[int]()
    for _ in range(updates):
        while len(remaining) < batch_size:
            remaining += order.sample(range(rows), rows)
        yield remaining[:batch_size]
        del remaining[:batch_size]


@torch.inference_mode()
def score(
    solutions: Sequence[Solution], model_folder: Path, *, template: str, batch_size: int
) -> list[list[float]]:
    """Return the probability that a step is correct, for each step of each solution."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    model.eval()
    head = Head(model.config.hidden_size)
    head.load_state_dict(load_file(model_folder / "head.safetensors"))
    rows = [tokenize(solution, tokenizer, template) for solution in solutions]
    scores: list[list[float]] = [[] for _ in rows]
    # Sorted by length, so that a batch contains little padding.
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        features = step_features(model, [rows[index] for index in indices])
        correct = iter(head(features).softmax(-1)[:, 1].tolist())
        for index in indices:
            scores[index] = [next(correct) for _ in rows[index].steps]
    return scores


def main() -> None:
    """Train or score, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("action", choices=["train", "score"])
    add("data", type=Path, help="an exported folder, or a JSONL or Parquet file")
    add("--model", required=True, help="a folder; for `train` also a model on the Hub")
    add("--to", type=Path, required=True, help="model folder, or file of scores")
    add("--template", default="{prompt}\\n", help="the text before the first step")
    add("--updates", type=int, default=300)
    add("--batch-size", type=int, default=16, help="solutions per update")
    add("--learning-rate", type=float, default=1e-2, help="of the head")
    add("--model-rate", type=float, default=0.0, help="of the language model; 0: not trained")
    add("--weight-decay", type=float, default=0.1, help="of the head")
    add("--max-tokens", type=int, default=1024, help="longer solutions are not trained on")
    add("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    action = options.pop("action")
    if "{prompt}" not in options["template"]:
        parser.error("--template has no {prompt}, so the problem would be left out")
    solutions = read_solutions(options.pop("data"))
    # A shell passes a line break as the two characters of its escape.
    options["template"] = options["template"].replace("\\n", "\n")
    if action == "train":
        train(solutions, options.pop("model"), **options)
        return
    options["to"].parent.mkdir(parents=True, exist_ok=True)
    scores = score(
        solutions,
        Path(options["model"]),
        template=options["template"],
        batch_size=options["batch_size"],
    )
    lines = [json.dumps({"scores": row}) for row in scores]
    options["to"].write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
