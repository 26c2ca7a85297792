"""Train the pocket model: `python -m pocket.train --minutes 75 --out runs/pocket`.

Two processes of one thread each share every batch (gradients are averaged), because two threads of one process collapse as soon as
anything else runs on the machine. The learning rate follows the clock, so a run ends, annealed, when it was told to.
Muon for the matrices, AdamW for the embedding and the norms. A checkpoint is written every few minutes; when
`OUT/own.jsonl` appears (see `pocket.sample`), part of the solutions to check are the model's own.
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

from pocket.lessons import RECALL_SHARE, Lesson, lessons, own_solutions
from pocket.model import Llama
from pocket.muon import Muon
from pocket.tokenizer import build
from problems.arithmetic_domain.stories import Story

WORKERS = 2
TOKENS = 5120  # of one worker's batch
LENGTHS = (160, 208, 256, 304, 352, 416, 480, 576)  # each is compiled once
# Higher rates (0.02, 0.004, weight decay 0.01) saturate the attention of so small a model without query-key norms: it then never learns
# to look a name up, and 46 million tokens were spent on finding that out.
MUON_RATE, ADAM_RATE, WEIGHT_DECAY = 0.012, 0.003, 0.1
WARMUP = 0.01  # share of the run
FIRST_SHARE = 0.06  # of the run, with problems of at most 3 steps
RECALL_FIRST, RECALL_UNTIL = 0.30, 0.45  # share of the lessons, share of the run
LOG_EVERY, SAVE_EVERY = 50, 240.0  # steps, seconds
BOS, EOS = 1, 2
HAS_BF16 = bool(
    torch.cpu.get_capabilities().get("avx512_bf16")
)  # without it bfloat16 is many times slower than float32
PORT = 29537


@dataclass(kw_only=True)
class Mixture:
    """What lessons are drawn from at the moment."""

    most_steps: int
    recall_share: float
    own: Sequence[tuple[Story, Sequence[str]]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Token ids and loss weights, each [rows, length]."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor


def batches(tokenizer: Tokenizer, seed: int, mixture: Mixture) -> Iterator[Batch]:
    """Batches of lessons of similar length."""
    random = Random(f"lessons:{seed}")
    waiting: dict[int, list[tuple[list[int], list[float]]]] = {length: [] for length in LENGTHS}
    while True:
        tokens, weights = _encode(
            tokenizer, next(lessons(random, mixture.most_steps, mixture.own, mixture.recall_share))
        )
        length = next((length for length in LENGTHS if len(tokens) <= length + 1), None)
        if length is None:
            continue
        waiting[length].append((tokens, weights))
        if len(waiting[length]) == TOKENS // length:
            yield _stack(waiting.pop(length), length)
            waiting[length] = []


def _encode(tokenizer: Tokenizer, lesson: Lesson) -> tuple[list[int], list[float]]:
    tokens, weights = [BOS], [0.0]
    for text, weight in lesson:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokens += ids
        weights += [weight] * len(ids)
    return [*tokens, EOS], [*weights, 1.0]


def _stack(rows: list[tuple[list[int], list[float]]], length: int) -> Batch:
    tokens = torch.zeros(len(rows), length + 1, dtype=torch.long)
    weights = torch.zeros(len(rows), length + 1)
    for index, (ids, told) in enumerate(rows):
        tokens[index, : len(ids)] = torch.tensor(ids)
        weights[index, : len(told)] = torch.tensor(told)
    return Batch(inputs=tokens[:, :-1].contiguous(), targets=tokens[:, 1:], weights=weights[:, 1:])


def rate(progress: float, decay: float) -> float:
    """The learning rate's factor: up, flat, then linearly down to 0 over the last share `decay` of the run."""
    return min(1.0, progress / WARMUP, max(0.0, (1.0 - progress) / decay))


def work(rank: int, options: argparse.Namespace) -> None:
    """One of the two workers, from the first batch to the last."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(PORT))
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    dist.init_process_group("gloo", rank=rank, world_size=WORKERS)
    tokenizer = Tokenizer.from_file(str(options.out / "tokenizer.json"))
    model = Llama(tokenizer.get_vocab_size())
    if options.resume:
        model.load_state_dict(load_file(options.out / "weights.safetensors"))
    mixture = Mixture(most_steps=6 if options.resume else 3, recall_share=RECALL_FIRST)
    source = batches(tokenizer, options.seed * WORKERS + rank, mixture)
    _learn(model, source, mixture, options, is_first=rank == 0)
    dist.destroy_process_group()


def _learn(
    model: Llama,
    source: Iterator[Batch],
    mixture: Mixture,
    options: argparse.Namespace,
    *,
    is_first: bool,
) -> None:
    optimizers, compiled = _optimizers(model), _compiled(model)
    started = saved = time.time()
    seen = step = 0
    progress, losses = 0.0, deque[float](maxlen=LOG_EVERY)
    while progress < 1.0:
        batch = next(source)
        losses.append(_descend(compiled, model, batch))
        seen += int((batch.targets > 0).sum()) * WORKERS
        progress = _average(model, (time.time() - started) / 60 / options.minutes)
        for optimizer, base in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = base * options.rate * rate(progress, options.decay)
            optimizer.step()
        step += 1
        if progress > FIRST_SHARE:
            mixture.most_steps = 6
        if progress > RECALL_UNTIL:
            mixture.recall_share = RECALL_SHARE
        if step % LOG_EVERY == 0:
            mixture.own = own_solutions(options.out / "own.jsonl")
            if is_first:
                _log(
                    options.out,
                    step,
                    seen,
                    progress,
                    sum(losses) / LOG_EVERY,
                    time.time() - started,
                )
        if is_first and (progress >= 1.0 or time.time() - saved > SAVE_EVERY):
            saved = time.time()
            _save(model, options.out)


def _optimizers(model: Llama) -> list[tuple[torch.optim.Optimizer, float]]:
    """Each with its full learning rate."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        (Muon(matrices, lr=MUON_RATE, momentum=0.95, weight_decay=WEIGHT_DECAY), MUON_RATE),
        (torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0), ADAM_RATE),
    ]


def _compiled(model: Llama) -> Callable[[Tensor], Tensor]:
    """The model compiled for every length, before the clock starts."""
    torch._dynamo.config.recompile_limit = len(LENGTHS) + 1
    compiled: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)
    for length in LENGTHS:
        with torch.autocast("cpu", torch.bfloat16, enabled=HAS_BF16):
            torch.autograd.backward(
                compiled(torch.zeros(TOKENS // length, length, dtype=torch.long)).float().sum()
            )
    return compiled


def _descend(compiled: Callable[[Tensor], Tensor], model: Llama, batch: Batch) -> float:
    """Leave the gradients of a batch in the model; returns its loss in nats per weighted token."""
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
    save_file(
        {name: weight.contiguous() for name, weight in model.state_dict().items()},
        out / "partial.safetensors",
    )
    (out / "partial.safetensors").rename(out / "weights.safetensors")


def _average(model: Llama, clock: float) -> float:
    """Average gradients (clipped to norm 1) and the clock over the workers; returns the clock."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([*(g.flatten() for g in grads), torch.tensor([clock])])
    dist.all_reduce(flat)
    flat /= WORKERS
    norm = flat[:-1].norm()
    flat[:-1] *= min(1.0, 1.0 / (float(norm) + 1e-6))
    place = 0
    for grad in grads:
        grad.copy_(flat[place : place + grad.numel()].view_as(grad))
        place += grad.numel()
    return float(flat[-1])


def _log(out: Path, step: int, seen: int, progress: float, loss: float, seconds: float) -> None:
    row = {
        "step": step,
        "tokens": seen,
        "progress": round(progress, 4),
        "loss": round(loss, 4),
        "seconds": round(seconds, 1),
    }
    with (out / "log.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--out", type=Path, default=Path("runs/pocket"))
    parser.add_argument("--rate", type=float, default=1.0, help="a factor on the learning rates")
    parser.add_argument(
        "--decay",
        type=float,
        default=0.55,
        help="the share of the run over which the rates fall to 0",
    )
    parser.add_argument("--resume", action="store_true", help="start from OUT/weights.safetensors")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    build().save(str(options.out / "tokenizer.json"))
    spawn(work, args=(options,), nprocs=WORKERS)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
