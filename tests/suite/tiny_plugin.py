"""A plugin in one file: a small exact model, solvers that behave and misbehave, and metrics, all of them quick."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import torch

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import Budgets, MetricSpec, ModelSpec, SolverSpec
from bnsbench.errors import NotApplicableError
from bnsbench.metrics.base import MetricValue
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver


@hookimpl
def bnsbench_models():
    yield ModelSpec("tiny", ":tiny", guidable=True, modality="points")
    yield ModelSpec("plain", ":plain", modality="points")
    yield ModelSpec("broken", ":broken")
    yield ModelSpec("blind", ":blind", modality="points")
    yield ModelSpec("lost", ":lost", modality="points")


@hookimpl
def bnsbench_solvers():
    yield SolverSpec("steps", ":steps", kind="traced")
    for name in ("live", "greedy", "lazy", "nan", "raises", "dies", "hangs", "random", "reshapes"):
        yield SolverSpec(name, f":{name}", kind="direct")
    yield SolverSpec("pairs", ":pairs", budgets=Budgets(2, 2))
    yield SolverSpec("learned", ":learned", kind="trained")
    yield SolverSpec("searched", ":searched", kind="tuned")
    yield SolverSpec("speaks", ":speaks", kind="direct")


@hookimpl
def bnsbench_metrics():
    yield MetricSpec("width", ":make_width", direction="lower")
    yield MetricSpec("never", ":make_never")
    yield MetricSpec("spread", ":Spread", parameters={"file": ""})
    yield MetricSpec("faulty", ":make_faulty")
    yield MetricSpec("endless", ":make_endless")


def _mixture(classes: bool):
    from bnsbench.flows.paths import CondOT
    from bnsbench.models.mixtures import Mixture, MixtureModel

    means = torch.tensor([[0.8, 0.0], [0.0, 0.8], [-0.8, 0.0], [0.0, -0.8]], dtype=torch.float64)
    factors = 0.15 * torch.eye(2, dtype=torch.float64).expand(4, 2, 2)
    weights = torch.full((4,), 0.25, dtype=torch.float64)
    return MixtureModel(Mixture(weights, means, factors, 2 if classes else None), CondOT(), (2,))


def tiny():
    return _mixture(classes=True)


def blind():
    """A model that decodes one of its samples to nothing."""
    found = _mixture(classes=False)
    found.decode = lambda x: torch.where(torch.arange(len(x))[:, None] == 3, torch.nan, x)
    return found


def plain():
    return _mixture(classes=False)


def lost():
    """A model whose velocities are not finite anywhere."""
    found = _mixture(classes=False)
    found.predict = lambda t, x, condition: torch.full_like(x, torch.nan)
    return found


def broken():
    raise RuntimeError("no weights\nfor you")


def steps(field, x0, nfe):
    x = x0
    for k in range(nfe):
        x = x + field(torch.tensor(k / nfe, dtype=torch.float64), x) / nfe
    return x


live = steps


def pairs(field, x0, nfe):
    x, h = x0, 2 / nfe
    for k in range(nfe // 2):
        middle = x + h / 2 * field(torch.tensor(k * h, dtype=torch.float64), x)
        x = x + h * field(torch.tensor((k + 0.5) * h, dtype=torch.float64), middle)
    return x


def greedy(field, x0, nfe):
    return steps(field, x0, nfe + 1)


def lazy(field, x0, nfe):
    return steps(field, x0, max(1, nfe - 1))


def nan(field, x0, nfe):
    x = steps(field, x0, nfe).clone()
    x[:3] = float("nan")
    return x


def raises(field, x0, nfe):
    raise ValueError("I do not\nfeel like it")


def dies(field, x0, nfe):
    os._exit(7)


def hangs(field, x0, nfe):
    while True:
        time.sleep(0.01)


def random(field, x0, nfe):
    return steps(field, x0, nfe) + 0.01 * torch.randn_like(x0)


def reshapes(field, x0, nfe):
    return steps(field, x0, nfe)[:, :1]


def learned(problem, nfe):
    """Euler's table with steps that depend on the model's truth and on the rung below, as a training would."""
    time.sleep(float(os.environ.get("TINY_TRAINING_SECONDS", "0")))
    found = problem.source.pairs("train", 4)
    below = problem.previous(nfe // 2).solver.times[1] if nfe >= 4 and problem.previous else 0.0
    shift = 0.02 * torch.tanh(found.x1.sum()) + 0.001 * below
    b = torch.full((nfe, nfe), 1 / nfe, dtype=torch.float64).tril()
    solver = NonStationarySolver(torch.linspace(0, 1, nfe + 1, dtype=torch.float64), torch.ones(nfe), b * (1 + shift))
    source = problem.source
    forwards = {"teacher": 40, "training": 10 * nfe, "validation": 0}
    return SolverArtefact(
        solver=solver,
        path=source.model.path,
        interval=source.model.interval,
        model=source.name,
        fingerprint=source.model.fingerprint(),
        guidance=source.guidance,
        name="learned",
        training={"forwards": forwards, "seconds": time.process_time(), "psnr": 30.0},
    )


def searched(problem, nfe):
    found = learned(problem, nfe)
    return replace(found, training={**found.training, "grid": "logsnr:-5:5", "rule": "ab2"})


def speaks(field, x0, nfe):
    steps(field, x0, nfe)
    return "states"


def make_width():
    return lambda samples: MetricValue(float(samples.latents.std()), details={"n": float(len(samples))})


class Spread:
    """The deviation of the samples with replicates, and a file that it depends on."""

    def __init__(self, file=""):
        self.file = file

    def __call__(self, samples):
        value = float(samples.latents.std())
        return MetricValue(value, replicates=[value + k / 3 for k in range(5)])

    def fingerprint(self):
        return self.file and f"content of {self.file}"


def make_never():
    def never(samples):
        raise NotApplicableError("points have no such thing")

    return never


def make_faulty():
    def faulty(samples):
        raise ZeroDivisionError("nothing to divide")

    return faulty


def make_endless():
    def endless(samples):
        while True:
            try:
                time.sleep(0.05)
            except Exception:  # noqa: BLE001, S112 (that is what is wrong with it)
                continue

    return endless
