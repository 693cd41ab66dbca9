"""A plugin for runs that are killed: an exact model, a classic solver, and a trained one that saves its state on the way."""

from __future__ import annotations

import os
import time

import torch

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import ModelSpec, SolverSpec
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.training.optimisers.checkpoint import Checkpoint

ITERATIONS = 4

if os.environ.get("CLOCKS_STAND_STILL"):  # set for worker processes too, which load this before they run a cell
    time.perf_counter = lambda: 0.0


@hookimpl
def bnsbench_models():
    yield ModelSpec("tiny", ":tiny", guidable=True, modality="points")


@hookimpl
def bnsbench_solvers():
    yield SolverSpec("steps", ":steps", kind="traced")
    yield SolverSpec("learned", ":learned", kind="trained")


def tiny():
    from bnsbench.flows.paths import CondOT
    from bnsbench.models.mixtures import Mixture, MixtureModel

    means = torch.tensor([[0.8, 0.0], [0.0, 0.8], [-0.8, 0.0], [0.0, -0.8]], dtype=torch.float64)
    factors = 0.15 * torch.eye(2, dtype=torch.float64).expand(4, 2, 2)
    return MixtureModel(Mixture(torch.full((4,), 0.25, dtype=torch.float64), means, factors, 2), CondOT(), (2,))


def steps(field, x0, nfe):
    x = x0
    for k in range(nfe):
        x = x + field(torch.tensor(k / nfe, dtype=torch.float64), x) / nfe
    return x


def learned(problem, nfe):
    """Euler's table with a shift that is iterated on, each iteration saved; its count tells whether any was lost."""
    source, kept = problem.source, Checkpoint(problem.checkpoint)
    below = problem.previous(nfe // 2).solver.times[1] if nfe >= 4 and problem.previous else torch.tensor(0.0)
    state = kept.load() or {"shift": torch.zeros((), dtype=torch.float64), "done": 0}
    while state["done"] < ITERATIONS:
        found = source.pairs("train", 4)
        shift = 0.5 * state["shift"] + 0.01 * torch.tanh(found.x1.double().sum()) + 0.001 * below
        state = {"shift": shift, "done": state["done"] + 1}
        kept.save(state)
    b = torch.full((nfe, nfe), 1 / nfe, dtype=torch.float64).tril()
    times = torch.linspace(0, 1, nfe + 1, dtype=torch.float64)
    kept.remove()
    return SolverArtefact(
        solver=NonStationarySolver(times, torch.ones(nfe), b * (1 + state["shift"])),
        path=source.model.path,
        interval=source.model.interval,
        model=source.name,
        fingerprint=source.model.fingerprint(),
        guidance=source.guidance,
        name="learned",
        training={"forwards": {"training": 10 * state["done"]}, "seconds": 0.0, "psnr": 30.0},
    )
