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
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
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
# A killed run loses the training since its last checkpoint.
SAVE_SECONDS = 240.0
# Ids of the special tokens; the id of the padding is 0.
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
    waiting = defaultdict[int, list[Encoded]](list)
    while True:
        # A new generator for every lesson, so that changes of the mixture take effect at once.
        source = lessons(
            random,
            mixture.most_steps,
            mixture.own_pairs,
            mixture.recall_share,
        )
        tokens, weights = _encode(tokenizer, next(source))
        length = _padded_length(len(tokens))
        if length is None:
            continue
        rows = waiting[length]
        rows.append((tokens, weights))
        if len(rows) == BATCH_TOKENS // length:
            del waiting[length]
            yield _stack(rows, length)


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
        encoding = tokenizer.encode(text, add_special_tokens=False)
        tokens += encoding.ids
        weights += [weight] * len(encoding.ids)
    # The end has weight too: a model that does not learn to stop fills every request.
    tokens.append(EOS)
    weights.append(1.0)
    return tokens, weights


def _stack(rows: list[Encoded], length: int) -> Batch:
    # Padding has id 0 and weight 0.
    shape = (len(rows), length + 1)
    tokens = torch.zeros(shape, dtype=torch.long)
    weights = torch.zeros(shape)
    for index, (row_tokens, row_weights) in enumerate(rows):
        end = len(row_tokens)
        tokens[index, :end] = torch.tensor(row_tokens)
        weights[index, :end] = torch.tensor(row_weights)
    # The model is compiled for contiguous inputs; a slice with other strides would be compiled too.
    inputs = tokens[:, :-1].contiguous()
    return Batch(
        inputs=inputs,
        targets=tokens[:, 1:],
        weights=weights[:, 1:],
    )


def rate(progress: float, decay: float) -> float:
    """Return the factor of the learning rate: warm-up, constant, then linear decay to 0.

    Args:
        progress: The elapsed share of the run.
        decay: The share of the run over which the rate decays.
    """
    warmup = progress / WARMUP
    # The last step may end after the requested time, when the remaining share is negative.
    remaining = max(0.0, 1.0 - progress)
    return min(1.0, warmup, remaining / decay)


def work(rank: int, options: argparse.Namespace) -> None:
    """Run one of the two workers."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(PORT))
    torch.set_num_threads(1)
    # The same seed in all workers, because they start from the same weights.
    torch.manual_seed(options.seed)
    dist.init_process_group("gloo", rank=rank, world_size=WORKERS)
    tokenizer = Tokenizer.from_file(str(options.out / "tokenizer.json"))
    model = Llama(tokenizer.get_vocab_size())
    if options.resume:
        model.load_state_dict(load_file(options.out / "weights.safetensors"))
    mixture = Mixture(most_steps=FIRST_MAX_STEPS, recall_share=FIRST_RECALL_SHARE)
    if options.resume:
        # A trained model does not need an introduction with short problems.
        mixture.most_steps = MAX_STEPS
    # Every worker draws other lessons, in this run and in runs with other seeds.
    lessons_seed = options.seed * WORKERS + rank
    source = batches(tokenizer, lessons_seed, mixture)
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
    """Train until the time is up; the first worker logs and writes checkpoints.

    All workers have the same weights, because they start equal and apply averaged gradients.
    """
    optimizers = _optimizers(model)
    compiled = _compiled(model)
    started = time.time()
    saved = started
    tokens = 0
    step = 0
    progress = 0.0
    losses = deque[float](maxlen=LOG_STEPS)
    while progress < 1.0:
        batch = next(source)
        loss = _backward(compiled, model, batch)
        losses.append(loss)
        # Padding is not counted. The batches of other workers have about as many tokens.
        is_token = batch.targets > 0
        tokens += int(is_token.sum()) * WORKERS
        minutes = (time.time() - started) / 60
        progress = _average(model, minutes / options.minutes)
        for optimizer, base_rate in optimizers:
            learning_rate = base_rate * options.rate * rate(progress, options.decay)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
        step += 1
        if progress > FIRST_SHARE:
            mixture.most_steps = MAX_STEPS
        if progress > RECALL_UNTIL:
            mixture.recall_share = RECALL_SHARE
        if step % LOG_STEPS == 0:
            # `pocket.sample` may have written new solutions in the meantime.
            mixture.own_pairs = own_solutions(options.out / "own.jsonl")
        if is_first and step % LOG_STEPS == 0:
            row = {
                "step": step,
                "tokens": tokens,
                "progress": round(progress, 4),
                "loss": round(sum(losses) / LOG_STEPS, 4),
                "seconds": round(time.time() - started, 1),
            }
            _log(options.out, row)
        is_due = progress >= 1.0 or time.time() - saved > SAVE_SECONDS
        if is_first and is_due:
            saved = time.time()
            _save(model, options.out)


def _optimizers(model: Llama) -> list[tuple[torch.optim.Optimizer, float]]:
    """Return the optimizers with their full learning rates."""
    matrices = list[torch.nn.Parameter]()
    vectors = list[torch.nn.Parameter]()
    for name, parameter in model.named_parameters():
        # The embedding is a table of vectors, so AdamW trains it like the norms.
        if parameter.ndim == 2 and "embed" not in name:
            matrices.append(parameter)
        else:
            vectors.append(parameter)
    muon = Muon(
        matrices,
        lr=MUON_RATE,
        momentum=0.95,
        weight_decay=WEIGHT_DECAY,
    )
    adam = torch.optim.AdamW(
        vectors,
        lr=ADAM_RATE,
        betas=(0.9, 0.98),
        weight_decay=0.0,
    )
    return [(muon, MUON_RATE), (adam, ADAM_RATE)]


def _compiled(model: Llama) -> Callable[[Tensor], Tensor]:
    """Return the model compiled for every length, so that no compilation counts as training."""
    # Beyond the limit PyTorch would run the model uncompiled, which is slower.
    torch._dynamo.config.recompile_limit = len(LENGTHS) + 1
    compiled: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False)
    for length in LENGTHS:
        rows = BATCH_TOKENS // length
        tokens = torch.zeros(rows, length, dtype=torch.long)
        with torch.autocast("cpu", torch.bfloat16, enabled=HAS_BF16):
            logits = compiled(tokens)
            # The backward pass is compiled by its first call.
            torch.autograd.backward(logits.float().sum())
    return compiled


def _backward(compiled: Callable[[Tensor], Tensor], model: Llama, batch: Batch) -> float:
    """Store the gradients of a batch in the model; return its loss in nats per weighted token."""
    with torch.autocast("cpu", torch.bfloat16, enabled=HAS_BF16):
        logits = compiled(batch.inputs)
    # The loss is computed in float32, outside autocast.
    losses = functional.cross_entropy(
        logits.flatten(0, 1).float(),
        batch.targets.flatten(),
        reduction="none",
    )
    weighted = losses * batch.weights.flatten()
    loss = weighted.sum() / batch.weights.sum()
    model.zero_grad()
    torch.autograd.backward(loss)
    return loss.item()


def _save(model: Llama, out: Path) -> None:
    """Write a checkpoint under a temporary name and rename it, so that it is always complete."""
    weights = dict[str, Tensor]()
    for name, weight in model.state_dict().items():
        # safetensors rejects tensors that are not contiguous.
        weights[name] = weight.contiguous()
    partial = out / "partial.safetensors"
    save_file(weights, partial)
    partial.rename(out / "weights.safetensors")


def _average(model: Llama, clock: float) -> float:
    """Average the gradients and the clock over the workers and clip the gradients to norm 1.

    Returns:
        The average clock, which keeps the learning rates of the workers equal.
    """
    gradients = list[Tensor]()
    for parameter in model.parameters():
        if parameter.grad is not None:
            gradients.append(parameter.grad)
    # One message for all gradients and the clock, which is the last number.
    parts = [gradient.flatten() for gradient in gradients]
    parts.append(torch.tensor([clock]))
    flat = torch.cat(parts)
    dist.all_reduce(flat)
    flat /= WORKERS
    norm = float(flat[:-1].norm())
    # The small number avoids a division by zero.
    factor = min(1.0, 1.0 / (norm + 1e-6))
    flat[:-1] *= factor
    start = 0
    for gradient in gradients:
        end = start + gradient.numel()
        gradient.copy_(flat[start:end].view_as(gradient))
        start = end
    return float(flat[-1])


def _log(out: Path, row: Mapping[str, float]) -> None:
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
