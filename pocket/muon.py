"""The optimizer Muon (Jordan et al. 2024): momentum with orthogonalized updates.

PyTorch's implementation multiplies in bfloat16. On a CPU without bfloat16 instructions that is
thirty times slower than float32, which is used here.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

__all__ = ["Muon"]

# Newton-Schulz iterations and the coefficients of their quintic polynomial, from the paper.
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Muon for matrices, with decoupled weight decay."""

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Apply one step with Nesterov momentum; `closure` is ignored."""
        for group in self.param_groups:
            for matrix in group["params"]:
                velocity = self.state[matrix].setdefault("velocity", torch.zeros_like(matrix))
                velocity.lerp_(matrix.grad, 1 - group["momentum"])
                direction = orthogonal(matrix.grad.lerp(velocity, group["momentum"]))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                # Scales the update so that its size does not depend on the matrix's shape.
                scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                matrix.add_(direction, alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return approximately the nearest matrix with singular values 1, of the same shape."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = COEFFICIENTS
    x: Tensor = matrix / matrix.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x
