"""A plugin in one file: an exact model and a solver that end the worker that runs them, once, where a test asks for it.

The test names by BNSBENCH_DEATHS a folder that holds a file for each death to come, whose content is the signal.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import torch

from bnsbench.paths import CondOT
from bnsbench.plugin import Model, ModelSpec, SolverSpec, cache_folder, hookimpl

SUITE = """
name = "clouds"
models = ["two-clouds"]
solvers = ["euler", "stopped", "bns[pairs=64,iterations=4,ladder=none]"]
nfe = [4]
samples = 16
metrics = ["psnr"]
"""


@hookimpl
def bnsbench_models():
    yield ModelSpec("two-clouds", ":TwoClouds", "Two round Gaussians in the plane, exact.", modality="points")


@hookimpl
def bnsbench_solvers():
    yield SolverSpec("stopped", ":stopped", "Euler's method, stopped before its last step.", kind="direct", order=1)


class TwoClouds(Model):
    path, shape, prediction, dtype = CondOT(), (2,), "velocity", torch.float64
    centres, spread = torch.tensor([[-0.7, 0.2], [0.6, -0.4]], dtype=torch.float64), 0.2

    def predict(self, t, x, condition):  # noqa: ARG002
        if any((cache_folder() / "training").glob("*.pt")):  # the state of a training that has not come to its end
            die_once("training")
        t = t.to(x).expand(len(x))[:, None, None]
        moved = x[:, None] - t * self.centres.to(x)
        variance = (t * self.spread) ** 2 + (1 - t) ** 2
        weights = (-moved.square().sum(-1, keepdim=True) / (2 * variance)).softmax(1)
        velocities = self.centres.to(x) + (t * self.spread**2 - (1 - t)) / variance * moved
        return (weights * velocities).sum(1)

    def fingerprint(self):
        return hashlib.sha256(b"two clouds").hexdigest()


def stopped(field, x0, nfe):
    begin, end = field.interval
    x, h = x0, (end - begin) / nfe
    for k in range(nfe):
        if k == nfe - 1:
            die_once("cell")
        x = x + h * field(x0.new_tensor(begin + k * h), x)
    return x


def die_once(where: str) -> None:
    """End the worker whose child process this is, if that is to be done, and has not been."""
    order = Path(os.environ.get("BNSBENCH_DEATHS", "/none")) / where
    if order.exists():
        name = order.read_text()
        order.unlink()
        os.kill(os.getppid(), signal.Signals[name])
        time.sleep(100)
