"""Gradient descent on an input of the denoiser, for each row until its own target."""

from collections.abc import Callable

import torch
from torch import Tensor


def descend(
    start_N: Tensor,
    loss: Callable[[Tensor], Tensor],
    optimizer_of: Callable[[list[Tensor]], torch.optim.Optimizer],
    target: float,
    iterations: int,
    fixed: Callable[[Tensor], None] = lambda gradient_N: None,
) -> tuple[Tensor, Tensor]:
    """Return the input after at most ``iterations`` steps, and which rows reached the target (N,).

    ``loss``: (N,) of an input. A row that has reached the target stays where it is. ``fixed``: sets
    the gradient to zero where the input must not change; the caller restores these parts, which
    weight decay still changes.
    """
    x_N = start_N.float().requires_grad_()
    optimizer = optimizer_of([x_N])
    best_N = x_N.detach().clone()
    done_N = torch.zeros(len(x_N), dtype=torch.bool, device=x_N.device)
    shape = (-1, *[1] * (x_N.ndim - 1))
    for left in range(iterations, -1, -1):
        loss_N = loss(x_N)
        best_N = torch.where(done_N.view(shape), best_N, x_N.detach())
        done_N |= loss_N.detach() <= target
        if left == 0 or bool(done_N.all()):
            break
        (gradient_N,) = torch.autograd.grad(loss_N.sum(), [x_N])
        fixed(gradient_N)
        x_N.grad = gradient_N
        optimizer.step()
    return best_N, done_N
