"""Solvers with one fault each: the check that is to find it has the solver's name, spelt with hyphens."""

from __future__ import annotations

import itertools
from itertools import pairwise

import torch

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import Budgets, SolverSpec
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver

_CALLS = itertools.count(1)


def _spec(name, target="sound", summary="A solver with a fault.", **settings):
    return SolverSpec(name, f":{target}", summary, **settings)


@hookimpl
def bnsbench_solvers():
    yield _spec("sound", order=1)
    yield _spec("sound-pairs", "midpoint", order=2, budgets=Budgets(2, 2))
    yield _spec("sound-direct", kind="direct", order=1)
    yield _spec("summary", summary="nothing")
    yield _spec("no-summary", summary="")
    yield SolverSpec("version", ":sound", "A solver with a fault.", "")
    yield _spec("target", "nowhere")
    yield _spec("not-callable", "NUMBER")
    yield _spec("parameters", parameters={"grid": "uniform"})
    yield _spec("defaults", "with_defaults", parameters={"shift": 1.0, "grid": "uniform"})
    yield _spec("undeclared", "with_defaults")
    for name in ("raises", "reshapes", "nan", "endless"):
        yield _spec(name, name, kind="direct")
    yield _spec("overspends", "overspends", order=1)
    yield _spec("underspends", "underspends", order=1)
    yield _spec("interval", "interval", kind="direct", order=1)
    yield _spec("deterministic", "unsteady", kind="direct", order=1)
    yield _spec("batch-split", "batch_split", kind="direct", order=1)
    yield _spec("input", "overwrites", order=1)
    yield _spec("moves-state", "moves_state", order=1)
    yield _spec("needs-state", "needs_state", kind="direct", order=1)
    yield _spec("precision", "precision", order=1)
    yield _spec("order", "third", order=2, budgets=Budgets(2, 2))
    yield _spec("order-by-choice", "by_choice", order=2, budgets=Budgets(2, 2), parameters={"stage": 0.5})
    yield _spec("table", "clips", order=1)
    yield _spec("no-order")
    yield _spec("one-path", "one_path", kind="direct", order=1)
    for name in ("learned", "learned-nfe", "learned-origin", "learned-finite", "learned-unsteady", "learned-state"):
        yield _spec(name, "learned", kind="trained", parameters={"fault": name.removeprefix("learned").strip("-")})
    yield _spec("learned-file", "learned", kind="trained", parameters={"fault": "file"})


NUMBER = 3


def steps(field, x0, nfe, shift=0.0):
    begin, end = field.interval
    x, h = x0, (end - begin) / nfe
    for k in range(nfe):
        x = x + h * field(torch.tensor(begin + (k + shift) * h, dtype=torch.float64), x)
    return x


def sound(field, x0, nfe):
    return steps(field, x0, nfe)


def with_defaults(field, x0, nfe, shift=0.0, grid="uniform"):
    return steps(field, x0, nfe)


def raises(field, x0, nfe):
    raise ValueError("not today")


def reshapes(field, x0, nfe):
    return steps(field, x0, nfe)[:2]


def nan(field, x0, nfe):
    return steps(field, x0, nfe) * float("nan")


def endless(field, x0, nfe):
    while True:
        field(torch.tensor(field.interval[0]), x0)


def overspends(field, x0, nfe):
    return steps(field, x0, nfe + 1)


def underspends(field, x0, nfe):
    return steps(field, x0, max(1, nfe - 1))


def interval(field, x0, nfe):
    return steps(field, x0, nfe, shift=-0.1)


def unsteady(field, x0, nfe):
    return steps(field, x0, nfe) + 1e-12 * next(_CALLS)


def batch_split(field, x0, nfe):
    x1 = steps(field, x0, nfe)
    return x1 + 1e-6 * x1.mean(0)


def overwrites(field, x0, nfe):
    begin, end = field.interval
    for k in range(nfe):
        x0 += (end - begin) / nfe * field(torch.tensor(begin + k * (end - begin) / nfe, dtype=torch.float64), x0)
    return x0


def moves_state(field, x0, nfe):
    torch.rand(1)
    return steps(field, x0, nfe)


def needs_state(field, x0, nfe):
    with torch.random.fork_rng(devices=()):
        return steps(field, x0, nfe) + 1e-6 * torch.rand(1).to(x0)


def precision(field, x0, nfe):
    return steps(field, x0, nfe) * torch.ones(1, dtype=torch.float64)


def two_stages(field, x, nfe, stage):
    begin, end = field.interval
    for s, t in pairwise(torch.linspace(begin, end, nfe // 2 + 1, dtype=torch.float64)):
        h = t - s
        x = x + h * field(s + stage * h, x + stage * h * field(s, x))
    return x


def midpoint(field, x, nfe):
    return two_stages(field, x, nfe, 1 / 2)


def third(field, x, nfe):
    return two_stages(field, x, nfe, 1 / 3)


def by_choice(field, x, nfe, stage=0.5):
    return two_stages(field, x, nfe, stage)


def clips(field, x0, nfe):
    return steps(field, x0, nfe).clamp(-50.0, 50.0)


def one_path(field, x0, nfe):
    from bnsbench.errors import NotApplicableError

    if field.path.name != "condot":
        raise NotApplicableError("made for CondOT")
    return steps(field, x0, nfe).clamp(-50.0, 50.0)


def learned(problem, nfe, fault):
    source, rows = problem.source, nfe + (fault == "nfe")
    weight = 1e300 if fault == "finite" else 1.0
    if fault in ("unsteady", "state"):
        weight += 1e-6 * (next(_CALLS) if fault == "unsteady" else float(torch.rand(1)))
    b = weight * torch.full((rows, rows), 1 / rows, dtype=torch.float64).tril()
    solver = NonStationarySolver(torch.linspace(0, 1, rows + 1, dtype=torch.float64), torch.ones(rows), b)
    return SolverArtefact(
        solver,
        source.model.path,
        source.model.interval,
        source.name,
        "another" if fault == "origin" else source.model.fingerprint(),
        source.guidance,
        5 if fault == "file" else "learned",  # type: ignore[arg-type]
    )
