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
        self,
        matrices: Iterable[nn.Parameter],
        lr: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
        }
        super().__init__(matrices, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Apply one step with Nesterov momentum; `closure` is ignored."""
        for group in self.param_groups:
            lr = group["lr"]
            momentum = group["momentum"]
            for matrix in group["params"]:
                state = self.state[matrix]
                if "velocity" not in state:
                    state["velocity"] = torch.zeros_like(matrix)
                velocity = state["velocity"]
                velocity.lerp_(matrix.grad, 1 - momentum)
                gradient = matrix.grad.lerp(velocity, momentum)
                direction = orthogonal(gradient)
                # The decay is decoupled: it does not pass through momentum and orthogonalization.
                matrix.mul_(1 - lr * group["weight_decay"])
                # With this factor the size of the update does not depend on the matrix's shape.
                rows, columns = matrix.shape
                scale = max(1.0, rows / columns) ** 0.5
                matrix.add_(direction, alpha=-lr * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return approximately the nearest matrix with singular values 1, of the same shape."""
    rows, columns = matrix.shape
    if rows > columns:
        # The Gram matrix of the shorter side is smaller.
        return orthogonal(matrix.T).T
    a, b, c = COEFFICIENTS
    # The iterations need singular values of at most 1, and the Frobenius norm bounds them all. The
    # lower limit avoids a division by zero where the gradient is zero.
    norm = matrix.norm().clamp(min=1e-7)
    x: Tensor = matrix / norm
    for _ in range(ITERATIONS):
        gram = x @ x.T
        quartic = c * gram @ gram
        polynomial = b * gram + quartic
        x = a * x + polynomial @ x
    return x
