"""Muon (Jordan et al. 2024): momentum whose steps are orthogonal matrices.

PyTorch's own works in bfloat16, which a CPU without such instructions multiplies thirty times slower than float32.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

__all__ = ["Muon"]

ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """For matrices only; weight decay is decoupled."""

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One Nesterov step."""
        for group in self.param_groups:
            for matrix in group["params"]:
                velocity = self.state[matrix].setdefault("velocity", torch.zeros_like(matrix))
                velocity.lerp_(matrix.grad, 1 - group["momentum"])
                direction = orthogonal(matrix.grad.lerp(velocity, group["momentum"]))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(
                    direction,
                    alpha=-group["lr"] * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5,
                )


def orthogonal(matrix: Tensor) -> Tensor:
    """Roughly the nearest matrix with singular values 1 (Newton-Schulz, quintic): [rows, columns] -> the same."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = COEFFICIENTS
    x: Tensor = matrix / matrix.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
