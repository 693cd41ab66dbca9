"""Small networks as users have them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """u = k (c - x) + t: a velocity field whose samples have a closed form."""

    def __init__(self, k: float = 1.5, centre: float = 0.25) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.tensor(k))
        self.centre = nn.Parameter(torch.tensor(centre))
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.seen.append((t, x))
        return self.k * (self.centre - x) + t.reshape(-1, *(1,) * (x.ndim - 1))

    def exact(self, x0: Tensor) -> Tensor:
        """Return x(1): the solution of dx/dt = k (c - x) + t from x(0) = x0."""
        k, c = self.k.detach().double(), self.centre.detach().double()
        particular = c - 1 / k**2  # x_p(t) = c - 1 / k^2 + t / k
        return particular + 1 / k + (x0 - particular) * torch.exp(-k)


class Labelled(nn.Module):
    """u = (c - x) (1 + t), where c is 1 for label 1, -1 for label 0 and 0 for none (label 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.tensor([-1.0, 1.0, 0.0]))

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return (self.centres[label][:, None] - x) * (1 + t[:, None])
