"""Train the pocket model: `python -m pocket.train --minutes 75 --out runs/pocket`.

Two processes of one thread each share every batch and average their gradients. Two threads of one
process become much slower as soon as anything else runs on the machine. The learning rate follows
the clock, so that a run ends, fully annealed, after the requested time.

Matrices are trained with Muon, the embedding and the norms with AdamW. A checkpoint is written
every few minutes. If `OUT/own.jsonl` exists (see `pocket.sample`), part of the check lessons use
the model's own solutions.
"""

import argparse
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from pocket.curriculum import RECALL_SHARE, Lesson, lessons, own_solutions
from pocket.model import Llama
from pocket.muon import Muon
from pocket.tokenizer import build
from problems.arithmetic_domain.stories import ArithmeticStory

WORKERS = 2
# Tokens of one worker's batch, padding included.
BATCH_TOKENS = 5120
# Lengths of padded lessons. The model is compiled once for each of them.
LENGTHS = (160, 208, 256, 304, 352, 416, 480, 576)
# Higher rates (0.02 and 0.004, with weight decay 0.01) saturate the attention of a model of this
# size without query-key norms. It then never learns to look up a name; 46 million tokens of
# training were needed to see this.
MUON_RATE = 0.012
ADAM_RATE = 0.003
WEIGHT_DECAY = 0.1
# Shares of the run: warm-up of the learning rate, and problems of at most FIRST_MAX_STEPS steps.
WARMUP = 0.01
FIRST_SHARE = 0.06
FIRST_MAX_STEPS = 3
MAX_STEPS = 6
# Until this share of the run, more of the lessons are recall lessons.
RECALL_UNTIL = 0.45
FIRST_RECALL_SHARE = 0.30
LOG_STEPS = 50
SAVE_SECONDS = 240.0
BOS = 1
EOS = 2
# Without these instructions bfloat16 is many times slower than float32.
HAS_BF16 = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
PORT = 29537


@dataclass(kw_only=True)
class Mixture:
    """The current settings of the curriculum."""

    most_steps: int
    recall_share: float
    own_pairs: Sequence[tuple[ArithmeticStory, Sequence[str]]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Token ids and loss weights, each of shape [rows, length]."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor


Encoded = tuple[list[int], list[float]]
"""The token ids of a lesson and their loss weights."""


def batches(tokenizer: Tokenizer, seed: int, mixture: Mixture) -> Iterator[Batch]:
    """Yield batches of lessons of similar length; `mixture` may change between batches."""
    random = Random(f"lessons:{seed}")
    waiting: dict[int, list[Encoded]] = {length: [] for length in LENGTHS}
    while True:
        # A new generator for every lesson, so that changes of the mixture take effect at once.
        lesson = next(lessons(random, mixture.most_steps, mixture.own_pairs, mixture.recall_share))
        encoded = _encode(tokenizer, lesson)
        length = _padded_length(len(encoded[0]))
        if length is None:
            continue
        waiting[length].append(encoded)
        if len(waiting[length]) == BATCH_TOKENS // length:
            yield _stack(waiting.pop(length), length)
            waiting[length] = []


def _padded_length(tokens: int) -> int | None:
    """Return the smallest length that holds the lesson; None if it is too long."""
    for length in LENGTHS:
        if tokens <= length + 1:  # inputs and targets are shifted by one token
            return length
    return None


def _encode(tokenizer: Tokenizer, lesson: Lesson) -> Encoded:
    tokens = [BOS]
    weights = [0.0]
    for text, weight in lesson:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokens += ids
        weights += [weight] * len(ids)
    return [*tokens, EOS], [*weights, 1.0]


def _stack(rows: list[Encoded], length: int) -> Batch:
    tokens = torch.zeros(len(rows), length + 1, dtype=torch.long)
    weights = torch.zeros(len(rows), length + 1)
    for index, (row_ids, row_weights) in enumerate(rows):
        tokens[index, : len(row_ids)] = torch.tensor(row_ids)
        weights[index, : len(row_weights)] = torch.tensor(row_weights)
    return Batch(inputs=tokens[:, :-1].contiguous(), targets=tokens[:, 1:], weights=weights[:, 1:])


def rate(progress: float, decay: float) -> float:
    """Return the factor of the learning rate: warm-up, constant, then linear decay to 0.

    Args:
        progress: The elapsed share of the run.
        decay: The share of the run over which the rate decays.
    """
    return min(1.0, progress / WARMUP, max(0.0, (1.0 - progress) / decay))


def work(rank: int, options: argparse.Namespace) -> None:
    """Run one of the two workers."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(PORT))
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    dist.init_process_group("gloo", rank=rank, world_size=WORKERS)
    tokenizer = Tokenizer.from_file(str(options.out / "tokenizer.json"))
    model = Llama(tokenizer.get_vocab_size())
    if options.resume:
        model.load_state_dict(load_file(options.out / "weights.safetensors"))
    first_max_steps = MAX_STEPS if options.resume else FIRST_MAX_STEPS
    mixture = Mixture(most_steps=first_max_steps, recall_share=FIRST_RECALL_SHARE)
    source = batches(tokenizer, options.seed * WORKERS + rank, mixture)
    _train(model, source, mixture, options, is_first=rank == 0)
    dist.destroy_process_group()


def _train(
    model: Llama,
    source: Iterator[Batch],
    mixture: Mixture,
    options: argparse.Namespace,
    *,
    is_first: bool,
) -> None:
    """Train until the time is up; the first worker logs and writes checkpoints."""
    optimizers = _optimizers(model)
    compiled = _compiled(model)
    started = saved = time.time()
    tokens = step = 0
    progress = 0.0
    losses = deque[float](maxlen=LOG_STEPS)
    while progress < 1.0:
        batch = next(source)
        losses.append(_backward(compiled, model, batch))
        tokens += int((batch.targets > 0).sum()) * WORKERS
        progress = _average(model, (time.time() - started) / 60 / options.minutes)
        for optimizer, base_rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = base_rate * options.rate * rate(progress, options.decay)
            optimizer.step()
        step += 1
        if progress > FIRST_SHARE:
            mixture.most_steps = MAX_STEPS
        if progress > RECALL_UNTIL:
            mixture.recall_share = RECALL_SHARE
        if step % LOG_STEPS == 0:
            mixture.own_pairs = own_solutions(options.out / "own.jsonl")
            if is_first:
                seconds = time.time() - started
                _log(options.out, step, tokens, progress, sum(losses) / LOG_STEPS, seconds)
        if is_first and (progress >= 1.0 or time.time() - saved > SAVE_SECONDS):
            saved = time.time()
            _save(model, options.out)


def _optimizers(model: Llama) -> list[tuple[torch.optim.Optimizer, float]]:
    """Return the optimizers with their full learning rates."""
    matrices = list[torch.nn.Parameter]()
    vectors = list[torch.nn.Parameter]()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embed" not in name:
            matrices.append(parameter)
        else:
            vectors.append(parameter)
    muon = Muon(matrices, lr=MUON_RATE, momentum=0.95, weight_decay=WEIGHT_DECAY)
    adam = torch.optim.AdamW(vectors, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    return [(muon, MUON_RATE), (adam, ADAM_RATE)]


def _compiled(model: Llama) -> Callable[[Tensor], Tensor]:
    """Return the model compiled for every length, so that no compilation counts as training."""
    torch._dynamo.config.recompile_limit = len(LENGTHS) + 1
    compiled: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)
    for length in LENGTHS:
        tokens = torch.zeros(BATCH_TOKENS // length, length, dtype=torch.long)
        with torch.autocast("cpu", torch.bfloat16, enabled=HAS_BF16):
            torch.autograd.backward(compiled(tokens).float().sum())
    return compiled


def _backward(compiled: Callable[[Tensor], Tensor], model: Llama, batch: Batch) -> float:
    """Store the gradients of a batch in the model; return its loss in nats per weighted token."""
    with torch.autocast("cpu", torch.bfloat16, enabled=HAS_BF16):
        logits = compiled(batch.inputs)
    losses = functional.cross_entropy(
        logits.flatten(0, 1).float(), batch.targets.flatten(), reduction="none"
    )
    loss = (losses * batch.weights.flatten()).sum() / batch.weights.sum()
    model.zero_grad()
    torch.autograd.backward(loss)
    return loss.item()


def _save(model: Llama, out: Path) -> None:
    """Write a checkpoint under a temporary name and rename it, so that it is always complete."""
    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, out / "partial.safetensors")
    (out / "partial.safetensors").rename(out / "weights.safetensors")


def _average(model: Llama, clock: float) -> float:
    """Average the gradients and the clock over the workers and clip the gradients to norm 1.

    Returns:
        The average clock, which keeps the learning rates of the workers equal.
    """
    gradients = [item.grad for item in model.parameters() if item.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), torch.tensor([clock])])
    dist.all_reduce(flat)
    flat /= WORKERS
    norm = flat[:-1].norm()
    flat[:-1] *= min(1.0, 1.0 / (float(norm) + 1e-6))
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
    return float(flat[-1])


def _log(out: Path, step: int, tokens: int, progress: float, loss: float, seconds: float) -> None:
    row = {
        "step": step,
        "tokens": tokens,
        "progress": round(progress, 4),
        "loss": round(loss, 4),
        "seconds": round(seconds, 1),
    }
    with (out / "log.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=75, help="duration of the training")
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--out", type=Path, default=Path("runs/pocket"), help="the run's folder")
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the learning rates")
    parser.add_argument(
        "--decay", type=float, default=0.55, help="share of the run over which the rates decay to 0"
    )
    parser.add_argument("--resume", action="store_true", help="start from OUT/weights.safetensors")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    build().save(str(options.out / "tokenizer.json"))
    spawn(work, args=(options,), nprocs=WORKERS)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
