"""Train a generative verifier on an export of Stepmark: replies of a judge (`verification`).

    stepmark export verification --dataset data/pocket --to data/critiques
    python examples/verifier_sft.py train data/critiques --model MODEL --to data/verifier
    python examples/verifier_sft.py check data/critiques --model data/verifier --to replies.jsonl

Supervised fine-tuning of a causal language model of transformers, with the loss on the replies
only. The exported replies agree with the labels, so the model learns to repeat its right checks
(rejection sampling). `check` writes a greedy reply to each request, and the first step that it
calls incorrect.

Needs torch, transformers and datasets. Nothing of Stepmark is imported: copy this file.
"""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    HfArgumentParser,
    set_seed,
)

IGNORED = -100  # the label of tokens that train nothing, for the loss and for the padding
# A line of a reply: steps are counted from 1. Change it for a judge with another prompt.
VERDICT = re.compile(r"^Step ([1-9]\d{0,3})\b.*\b(correct|incorrect)\W*$", re.MULTILINE)
Messages = list[dict[str, str]]  # a chat: each message has a `role` and its `content`
Tokens = dict[str, list[int]]  # the tokens of a chat (`input_ids`), and their `labels`


@dataclass
class Options:
    """The options of the command line besides paths."""

    updates: int = 200  # how often the weights change
    batch_size: int = 16  # replies per update of `train`, requests that `check` answers together
    learning_rate: float = 1e-4  # of AdamW, for all updates
    max_tokens: int = 1024  # longer chats are not trained on
    max_new_tokens: int = 512  # the length of a reply of `check`
    seed: int = 0  # of the choice of replies


def read_chats(source: Path) -> list[Messages]:
    """Return the rows of a JSONL or Parquet file, or of the split `train` of a folder."""
    if source.is_dir():
        rows = load_dataset(str(source), split="train")
    elif source.read_bytes().strip():
        read = Dataset.from_parquet if source.suffix == ".parquet" else Dataset.from_json
        rows = read(str(source))
    else:  # the errors of `datasets` do not name the file
        raise SystemExit(f"{source} has no rows")
    if "messages" not in rows.column_names:
        names = ", ".join(rows.column_names)
        raise SystemExit(f"export `verification`: no such row has {names}")
    return list(rows["messages"])


def tokenize_request(chat: Messages, tokenizer: Any) -> list[int]:
    """Return the tokens of a chat up to the reply: with the chat template, if there is one."""
    is_answered = chat[-1]["role"] == "assistant"
    request = chat[:-1] if is_answered else chat
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(request, add_generation_prompt=True, tokenize=False)
        return list(tokenizer(text, add_special_tokens=False).input_ids)
    text = "".join(message["content"] for message in request)
    return list(tokenizer(text).input_ids)


def tokenize(chat: Messages, tokenizer: Any) -> Tokens:
    """Return the tokens of a chat. The labels are those of the reply and of the end token."""
    request = tokenize_request(chat, tokenizer)
    reply = tokenizer(chat[-1]["content"], add_special_tokens=False).input_ids
    reply.append(tokenizer.eos_token_id)  # so that a reply of `check` ends
    return {"input_ids": request + reply, "labels": [IGNORED] * len(request) + reply}


def train(chats: list[Messages], base: str, to: Path, options: Options) -> None:
    """Train a verifier from the language model `base`, and save it in the folder `to`."""
    to.mkdir(parents=True, exist_ok=True)  # before the training: the path may be wrong
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # Llama has none
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    answered = [chat for chat in chats if chat[-1]["role"] == "assistant"]
    rows = [tokenize(chat, tokenizer) for chat in answered]
    rows = [row for row in rows if len(row["input_ids"]) <= options.max_tokens]
    print(len(rows), "of", len(chats), "rows; the others have no reply, or too many tokens")
    if not rows:
        raise SystemExit("no row with a reply is left to train on: raise --max-tokens")
    optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate)
    pad = DataCollatorForSeq2Seq(tokenizer)  # to the longest row of a batch
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
def check(chats: list[Messages], folder: Path, options: Options) -> list[str]:
    """Return a greedy reply to each request."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # Llama has none
    tokenizer.padding_side = "left"  # the replies continue the ends of the rows
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    model.eval()
    replies = list[str]()
    for start in range(0, len(chats), options.batch_size):
        batch = chats[start : start + options.batch_size]
        ids = [tokenize_request(chat, tokenizer) for chat in batch]
        inputs = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        output = model.generate(**inputs, do_sample=False, max_new_tokens=options.max_new_tokens)
        written = output[:, inputs.input_ids.shape[1] :]
        replies += tokenizer.batch_decode(written, skip_special_tokens=True)
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
    parser = HfArgumentParser(Options, description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["train", "check"])
    parser.add_argument("data", type=Path, help="an exported folder, or a JSONL or Parquet file")
    parser.add_argument("--model", required=True, help="a folder; for `train` also one on the Hub")
    parser.add_argument("--to", type=Path, required=True, help="model folder, or file of replies")
    options, paths = parser.parse_args_into_dataclasses()
    chats = read_chats(paths.data)
    if paths.action == "train":
        train(chats, paths.model, paths.to, options)
        return
    replies = check(chats, Path(paths.model), options)
    with paths.to.open("w") as file:
        for reply in replies:
            row = {"reply": reply, "first_error": first_error(reply)}
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
