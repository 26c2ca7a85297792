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
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from pocket.lessons import lessons, own_solutions
from pocket.model import Llama
from pocket.tokenizer import build

WORKERS = 2
TOKENS = 5120  # of one worker's batch
LENGTHS = (160, 256, 384, 576)  # each is compiled once
MUON_RATE, ADAM_RATE = 0.02, 0.004
WARMUP, DECAY = 0.01, 0.55  # shares of the run
FIRST_SHARE = 0.06  # of the run, with problems of at most 3 steps
LOG_EVERY, SAVE_EVERY = 50, 240.0
EOS = 2


def batches(tokenizer: Tokenizer, seed: int, state: dict[str, object]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(inputs, targets, weights), each [rows, length], of lessons of similar length."""
    random = Random(f"lessons:{seed}")
    waiting: dict[int, list[tuple[list[int], list[float]]]] = {length: [] for length in LENGTHS}
    source, made_for = iter(()), None
    while True:
        wanted = (state["most_steps"], len(state["own"]))  # type: ignore[arg-type]
        if wanted != made_for:
            source, made_for = lessons(random, state["most_steps"], state["own"]), wanted  # type: ignore[arg-type, assignment]
        tokens, weights = _encode(tokenizer, next(source))
        length = next((length for length in LENGTHS if len(tokens) <= length + 1), None)
        if length is None:
            continue
        waiting[length].append((tokens, weights))
        rows = TOKENS // length
        if len(waiting[length]) == rows:
            yield _stack(waiting[length], length)
            waiting[length] = []


def _encode(tokenizer: Tokenizer, lesson: object) -> tuple[list[int], list[float]]:
    tokens, weights = [1], [0.0]
    for text, weight in lesson:  # type: ignore[attr-defined]
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokens += ids
        weights += [weight] * len(ids)
    return [*tokens, EOS], [*weights, 1.0]


def _stack(rows: list[tuple[list[int], list[float]]], length: int) -> tuple[Tensor, Tensor, Tensor]:
    tokens = torch.zeros(len(rows), length + 1, dtype=torch.long)
    weights = torch.zeros(len(rows), length + 1)
    for index, (ids, told) in enumerate(rows):
        tokens[index, : len(ids)] = torch.tensor(ids)
        weights[index, : len(told)] = torch.tensor(told)
    return tokens[:, :-1], tokens[:, 1:], weights[:, 1:]


def rate(progress: float) -> float:
    """The learning rate's factor: up, flat, then linearly down to 0."""
    return min(1.0, progress / WARMUP, max(0.0, (1.0 - progress) / DECAY))


def work(rank: int, options: argparse.Namespace) -> None:
    """One of the two workers."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29523")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=WORKERS)
    torch.manual_seed(options.seed)
    tokenizer = Tokenizer.from_file(str(options.out / "tokenizer.json"))
    model = Llama(tokenizer.get_vocab_size())
    if options.resume:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(options.out / "weights.safetensors"))
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [
        torch.optim.Muon(matrices, lr=MUON_RATE, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    bases = [MUON_RATE, ADAM_RATE]
    compiled = torch.compile(model, dynamic=False)
    state: dict[str, object] = {"most_steps": 6 if options.resume else 3, "own": []}
    source = batches(tokenizer, options.seed * WORKERS + rank, state)
    for length in LENGTHS:  # compile before the clock starts
        with torch.autocast("cpu", torch.bfloat16):
            compiled(torch.zeros(TOKENS // length, length, dtype=torch.long)).float().sum().backward()
    started = saved = time.time()
    seen, step, losses = 0, 0, []
    while True:
        inputs, targets, weights = next(source)
        with torch.autocast("cpu", torch.bfloat16):
            logits = compiled(inputs)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
        loss = (loss * weights.flatten()).sum() / weights.sum()
        for parameter in model.parameters():
            parameter.grad = None
        loss.backward()
        seen += int((targets > 0).sum())
        clock = torch.tensor([(time.time() - started) / 60 / options.minutes])
        progress = _average(model, clock)
        for optimizer, base in zip(optimizers, bases, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base * rate(progress)
            optimizer.step()
        step += 1
        losses.append(loss.item())
        state["most_steps"] = 3 if progress < FIRST_SHARE and not options.resume else 6
        if rank == 0 and step % LOG_EVERY == 0:
            _log(options.out, step, seen * WORKERS, progress, sum(losses[-LOG_EVERY:]) / LOG_EVERY, time.time() - started)
        if step % LOG_EVERY == 0 and not state["own"]:
            state["own"] = own_solutions(options.out / "own.jsonl")
        done = progress >= 1.0
        if rank == 0 and (done or time.time() - saved > SAVE_EVERY):
            saved = time.time()
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, options.out / "partial.safetensors")
            (options.out / "partial.safetensors").rename(options.out / "weights.safetensors")
        if done:
            break
    dist.destroy_process_group()


def _average(model: Llama, clock: Tensor) -> float:
    """Average gradients and the clock over the workers; returns the clock."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([*(g.flatten() for g in grads), clock])
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
    row = {"step": step, "tokens": seen, "progress": round(progress, 4), "loss": round(loss, 4), "seconds": round(seconds, 1)}
    with (out / "log.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--out", type=Path, default=Path("runs/pocket"))
    parser.add_argument("--resume", action="store_true", help="start from OUT/weights.safetensors")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    build().save(str(options.out / "tokenizer.json"))
    mp.spawn(work, args=(options,), nprocs=WORKERS)


if __name__ == "__main__":
    main()
