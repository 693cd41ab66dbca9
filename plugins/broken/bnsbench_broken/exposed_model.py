"""A sound model, each instance of which anybody can get hold of."""

import hashlib

import torch

from bnsbench import Model
from bnsbench.paths import CondOT

made = []


class Ball(Model):
    """The data are N(centre, I / 4) in the plane, whose best prediction is known in closed form."""

    path = CondOT()
    shape = (2,)
    prediction = "x"
    interval = (0.0, 1.0 - 1e-3)
    dtype = torch.float64

    def __init__(self):
        self.centre = torch.tensor([0.5, -0.25], dtype=torch.float64)

    def predict(self, t, x, condition):
        del condition
        alpha, sigma = (c.to(x).reshape(-1, 1) for c in (self.path.alpha(t), self.path.sigma(t)))
        return self.centre + alpha / (alpha**2 + 4.0 * sigma**2) * (x - alpha * self.centre)

    def fingerprint(self):
        return hashlib.sha256(b"ball").hexdigest()

    def to(self, device, dtype):
        self.centre = self.centre.to(device, dtype)
        return super().to(device, dtype)


def make():
    """Return a new one, and keep it."""
    made.append(Ball())
    return made[-1]
