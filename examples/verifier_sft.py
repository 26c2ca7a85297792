"""Train a generative verifier on an export of Stepmark: replies of a judge (`verification`).

    stepmark export verification --dataset data/pocket --to data/critiques
    python examples/verifier_sft.py train data/critiques --model MODEL --to data/verifier
    python examples/verifier_sft.py check data/critiques --model data/verifier --to replies.jsonl

Supervised fine-tuning of a causal language model of transformers, with the loss on the replies
only. The exported replies agree with the labels, so the model learns to repeat its right checks
(rejection sampling). `check` writes a greedy reply to each request, and the first step that it
calls incorrect.

Needs torch, transformers and pyarrow. Nothing of Stepmark is imported: copy this file.
"""

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

IGNORED = -100
"""The label of tokens of the request, which train nothing."""
VERDICT = re.compile(r"^Step ([1-9]\d{0,3})\b.*\b(correct|incorrect)\W*$", re.MULTILINE)
"""A line of a reply: steps are counted from 1. Change it for a judge with another prompt."""


class Dialogue(NamedTuple):
    """A request and its reply; the reply is empty if the last turn is the user's."""

    request: list[dict[str, str]]
    reply: str


class Tokens(NamedTuple):
    """The tokens of a dialogue, and for each one its label or `IGNORED`."""

    ids: list[int]
    labels: list[int]


def read_dialogues(source: Path) -> list[Dialogue]:
    """Return the rows of a JSONL or Parquet file, or of all such files in a folder.

    The split `validation` of a folder is left out; name its file to check it.
    """
    files = [source]
    if source.is_dir():
        files = sorted(file for file in source.rglob("*") if file.suffix in (".jsonl", ".parquet"))
        files = [file for file in files if not file.name.startswith("validation")]
    dialogues = list[Dialogue]()
    for file in files:
        if file.suffix == ".parquet":
            rows = pq.read_table(file).to_pylist()
        else:
            with file.open(encoding="utf-8") as lines:
                rows = [json.loads(line) for line in lines if line.strip()]
        for row in rows:
            if "messages" not in row:
                raise SystemExit(f"export `verification`: no such row has {', '.join(row)}")
            turns = row["messages"]
            has_reply = turns[-1]["role"] == "assistant"
            reply = turns[-1]["content"] if has_reply else ""
            dialogues.append(Dialogue(turns[:-1] if has_reply else turns, reply))
    if not dialogues:
        raise SystemExit(f"{source} has no rows: name a .jsonl or .parquet file, or a folder")
    return dialogues


def request_ids(dialogue: Dialogue, tokenizer: Any) -> list[int]:
    """Return the tokens of a request: by the chat template, or as plain text without one."""
    if tokenizer.chat_template:
        ids = tokenizer.apply_chat_template(
            dialogue.request, add_generation_prompt=True, return_dict=False
        )
    else:
        ids = tokenizer("".join(turn["content"] for turn in dialogue.request)).input_ids
    return list(ids)


def tokenize(dialogue: Dialogue, tokenizer: Any) -> Tokens:
    """Return the tokens of a dialogue; the reply ends with the end token."""
    request = request_ids(dialogue, tokenizer)
    reply = tokenizer(dialogue.reply, add_special_tokens=False).input_ids
    reply.append(tokenizer.eos_token_id)
    return Tokens(request + reply, [IGNORED] * len(request) + reply)


def padded(rows: Sequence[Tokens], pad: int) -> dict[str, torch.Tensor]:
    """Return input ids, attention mask and labels, each of shape [row, longest row]."""
    width = max(len(row.ids) for row in rows)
    batch: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
    for row in rows:
        missing = width - len(row.ids)
        batch["input_ids"].append(row.ids + [pad] * missing)
        batch["attention_mask"].append([1] * len(row.ids) + [0] * missing)
        batch["labels"].append(row.labels + [IGNORED] * missing)
    return {name: torch.tensor(values) for name, values in batch.items()}


def train(
    dialogues: Sequence[Dialogue],
    model_folder: str,
    to: Path,
    *,
    updates: int,
    batch_size: int,
    learning_rate: float,
    max_tokens: int,
    seed: int,
) -> list[float]:
    """Train on dialogues, save the model and its tokenizer in `to`, and return all losses."""
    # Before the training, because the path may be wrong.
    to.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    rows = [tokenize(dialogue, tokenizer) for dialogue in dialogues if dialogue.reply]
    fitting = [row for row in rows if len(row.ids) <= max_tokens]
    print(f"{len(fitting)} rows; {len(rows) - len(fitting)} have more than {max_tokens} tokens")
    if not fitting:
        raise SystemExit("no row with a reply is left to train on: raise --max-tokens")
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    # The rate rises over the first tenth of the updates, and then falls to 0.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=updates, pct_start=0.1
    )
    losses = list[float]()
    model.train()
    batches = shuffled_batches(fitting, batch_size, seed)
    for update in range(updates):
        batch = padded(next(batches), tokenizer.pad_token_id or 0)
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if (update + 1) % 50 == 0:
            print(f"update {update + 1}: loss {sum(losses[-50:]) / 50:.3f}")
    model.save_pretrained(to)
    tokenizer.save_pretrained(to)
    return losses


def shuffled_batches(
    rows: Sequence[Tokens], batch_size: int, seed: int
) -> Iterator[Sequence[Tokens]]:
    """Yield batches without end; each pass over the rows has another order."""
    order = random.Random(seed)
    remaining = list[Tokens]()
    while True:
        while len(remaining) < batch_size:
            remaining += order.sample(rows, len(rows))
        yield remaining[:batch_size]
        del remaining[:batch_size]


@torch.inference_mode()
def check(
    dialogues: Sequence[Dialogue], model_folder: str | Path, *, max_new_tokens: int
) -> list[str]:
    """Return a greedy reply to each request."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    model.eval()
    replies = list[str]()
    for dialogue in dialogues:
        ids = torch.tensor([request_ids(dialogue, tokenizer)])
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
        )
        replies.append(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True))
    return replies


def first_error(reply: str) -> int | None:
    """Return the index of the first step called incorrect, -1 for none, None without verdicts."""
    verdicts = VERDICT.findall(reply)
    for number, verdict in verdicts:
        if verdict == "incorrect":
            return int(number) - 1
    return -1 if verdicts else None


def main() -> None:
    """Train or check, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["train", "check"])
    parser.add_argument("data", type=Path, help="an exported folder, or a JSONL or Parquet file")
    parser.add_argument("--model", required=True, help="a folder, or a model on the Hub")
    parser.add_argument("--to", type=Path, required=True, help="model folder, or file of replies")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=16, help="dialogues per update")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--max-tokens", type=int, default=1024, help="of a dialogue to train on")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="of a reply of `check`")
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    action = options.pop("action")
    max_new_tokens = options.pop("max_new_tokens")
    dialogues = read_dialogues(options.pop("data"))
    if action == "train":
        train(dialogues, options.pop("model"), **options)
        return
    options["to"].parent.mkdir(parents=True, exist_ok=True)
    replies = check(dialogues, options["model"], max_new_tokens=max_new_tokens)
    rows = [{"reply": reply, "first_error": first_error(reply)} for reply in replies]
    lines = [json.dumps(row) for row in rows]
    options["to"].write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
