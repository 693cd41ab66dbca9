"""A plugin in one file whose model and metric read a number from a file, as others read weights and data."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import MetricSpec, ModelSpec, SolverSpec
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.metrics.base import MetricValue

LOADED: list[str] = []


@hookimpl
def bnsbench_models():
    yield ModelSpec("weighed", ":weighed", parameters={"weights": ""}, modality="points")


@hookimpl
def bnsbench_solvers():
    yield SolverSpec("steps", ":steps")


@hookimpl
def bnsbench_metrics():
    yield MetricSpec("scaled", ":scaled", parameters={"data": ""})
    yield MetricSpec("optional", ":optional")


def weighed(weights=""):
    from bnsbench.flows.paths import CondOT
    from bnsbench.models.mixtures import Mixture, MixtureModel

    LOADED.append(weights)
    width = number(weights)
    means = torch.tensor([[0.8, 0.0], [0.0, 0.8], [-0.8, 0.0], [0.0, -0.8]], dtype=torch.float64)
    factors = width * torch.eye(2, dtype=torch.float64).expand(4, 2, 2)
    return MixtureModel(Mixture(torch.full((4,), 0.25, dtype=torch.float64), means, factors, None), CondOT(), (2,))


def steps(field, x0, nfe):
    x = x0
    for k in range(nfe):
        x = x + field(torch.tensor(k / nfe, dtype=torch.float64), x) / nfe
    return x


class scaled:  # noqa: N801 (the target is the factory of a metric)
    def __init__(self, data=""):
        self.data, self.scale = data, number(data) if data else 1.0
        if self.scale != self.scale:
            raise NotApplicableError("a scale has to be a number")

    def fingerprint(self):
        return hashlib.sha256(Path(self.data).read_bytes()).hexdigest() if self.data else ""

    def __call__(self, samples):
        if self.scale < 0:
            raise NotApplicableError("a scale has to be positive")
        info = {"files": self.fingerprint()} if self.data else {}
        return MetricValue(self.scale * float(samples.latents.std()), info=info)


def optional():
    """A metric without files that needs another program."""
    if "CHANGING_PROGRAM" not in os.environ:
        raise NotApplicableError("the program is not installed")
    return lambda samples: MetricValue(float(samples.latents.std()))


def number(file):
    if not Path(file).is_file():
        raise UsageError(f"There is no file {file}.")
    return float(Path(file).read_text())
