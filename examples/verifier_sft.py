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

IGNORED = -100
"""The label of tokens that train nothing, for the loss and the padding of transformers."""
VERDICT = re.compile(r"^Step ([1-9]\d{0,3})\b.*\b(correct|incorrect)\W*$", re.MULTILINE)
"""A line of a reply: steps are counted from 1. Change it for a judge with another prompt."""
Messages = list[dict[str, str]]
"""A chat: each message has a `role` and its `content`."""
Tokens = dict[str, list[int]]
"""The tokens of a chat (`input_ids`), and a label for each of them (`labels`)."""


@dataclass
class Options:
    """The options of the command line besides paths."""

    updates: int = 200
    """The number of changes of the weights."""
    batch_size: int = 16
    """Replies per update of `train`, and requests that `check` answers together."""
    learning_rate: float = 1e-4
    """The learning rate of AdamW, which is constant."""
    max_tokens: int = 1024
    """Longer chats are not trained on."""
    max_new_tokens: int = 512
    """The length of a reply of `check`."""
    seed: int = 0
    """The seed of the random choice of replies."""


def read_chats(source: Path) -> list[Messages]:
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
    if "messages" not in rows.column_names:
        columns = ", ".join(rows.column_names)
        raise SystemExit(f"export `verification`: no such row has {columns}")
    return list(rows["messages"])


def tokenize_request(chat: Messages, tokenizer: Any) -> list[int]:
    """Return the tokens of a chat up to the reply: with the chat template, if there is one."""
    is_answered = chat[-1]["role"] == "assistant"
    request = chat[:-1] if is_answered else chat
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(request, add_generation_prompt=True, tokenize=False)
        return list(tokenizer(text, add_special_tokens=False).input_ids)
    contents = [message["content"] for message in request]
    text = "".join(contents)
    return list(tokenizer(text).input_ids)


def tokenize(chat: Messages, tokenizer: Any) -> Tokens:
    """Return the tokens of a chat. The labels are those of the reply and of the end token."""
    request = tokenize_request(chat, tokenizer)
    reply = tokenizer(chat[-1]["content"], add_special_tokens=False).input_ids
    reply.append(tokenizer.eos_token_id)  # so that a reply of `check` ends
    ignored = [IGNORED] * len(request)
    return {"input_ids": request + reply, "labels": ignored + reply}


def train(chats: list[Messages], base: str, to: Path, options: Options) -> None:
    """Train a verifier from the language model `base`, and save it in the folder `to`."""
    # Before the training, because the path may be wrong.
    to.mkdir(parents=True, exist_ok=True)
    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # Llama has none
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    rows = list[Tokens]()
    for chat in chats:
        row = tokenize(chat, tokenizer)
        length = len(row["input_ids"])
        if chat[-1]["role"] == "assistant" and length <= options.max_tokens:
            rows.append(row)
    print(len(rows), "of", len(chats), "rows; the others have no reply, or too many tokens")
    if not rows:
        raise SystemExit("no row with a reply is left to train on: raise --max-tokens")
    optimizer = torch.optim.AdamW(model.parameters(), options.learning_rate)
    # Rows are padded to the longest one of a batch.
    pad = DataCollatorForSeq2Seq(tokenizer)
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
    # The replies continue the ends of the rows.
    tokenizer.padding_side = "left"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    model.eval()
    replies = list[str]()
    for start in range(0, len(chats), options.batch_size):
        end = start + options.batch_size
        batch = chats[start:end]
        ids = [tokenize_request(chat, tokenizer) for chat in batch]
        inputs = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        output = model.generate(**inputs, do_sample=False, max_new_tokens=options.max_new_tokens)
        request_length = inputs.input_ids.shape[1]
        written = output[:, request_length:]
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
    summary = __doc__.splitlines()[0]
    parser = HfArgumentParser(Options, description=summary)
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
            line = json.dumps(row)
            file.write(f"{line}\n")


if __name__ == "__main__":
    main()
