"""How fast a machine is: what a table's steps cost beside its network, and forwards per second of the embedded models."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bnsbench.api.named import named_model
from bnsbench.contract import PluginHost
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.process.machine import threads

STEPS = 8
"""Evaluations of the table that is timed."""

ROUNDS = 40
"""Turns that everything that is compared takes; the quickest is told, since a busy machine only makes it slower."""

ROUND = 5e-3
"""Seconds of a turn, in which a processor seldom goes over to other work."""

SHAPES = ((1, 4, 32, 32), (1, 4, 64, 64), (16, 4, 64, 64))
"""States whose steps are timed: latents of small and large pictures, and a batch of them."""

NETWORK = 5e-3
"""Seconds of a network's forward beside which the share of the steps is told."""

MODELS = ("digits-ot", "fashion-ot", "scenes", "speech")
"""Embedded models whose forwards are timed, with BATCH samples."""

BATCH = 32

SECONDS = 2.0
"""That each model is timed."""


@dataclass(frozen=True)
class Step:
    """Microseconds of one step beside its network: of the engine's, and of a loop of x + h u, for states of a shape."""

    states: tuple[int, ...]
    engine: float
    loop: float

    @property
    def overhead(self) -> float:
        """The share of a step behind a forward of NETWORK seconds that is not the network's."""
        return self.engine / (self.engine + 1e6 * NETWORK)


@dataclass(frozen=True)
class Forwards:
    """Forwards of a model per second with BATCH samples each, counted by sample, and the parameters of its networks."""

    model: str
    parameters: int
    per_second: float


def measure(host: PluginHost, device: str) -> dict[str, Any]:
    """Return what is measured, JSON-like: in half a minute on a CPU.

    Args:
        host: Knows the models.
        device: "cpu" or "cuda:<i>", as `choose_device` returns it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads())
    try:
        steps = list(step_costs(device))
        found = list(forwards(host, device))
    finally:
        torch.set_num_threads(before)
    return {
        "device": device,
        "threads": threads(),
        "steps": [
            {
                "states": list(step.states),
                "engine_microseconds": round(step.engine, 1),
                "loop_microseconds": round(step.loop, 1),
                "overhead": round(step.overhead, 5),
            }
            for step in steps
        ],
        "forwards": [
            {"model": each.model, "parameters": each.parameters, "per_second": round(each.per_second, 1)} for each in found
        ],
    }


def step_costs(device: str) -> Iterator[Step]:
    """Yield what a step costs besides its network, by the shape of states: the engine and a loop take turns."""
    table = euler(STEPS)
    for shape in SHAPES:
        x0 = torch.randn(shape, device=device)
        field = at_hand(torch.randn_like(x0))
        engine, loop = compared([partial(table, field, x0), partial(bare_loop, field, x0, STEPS)], device)
        yield Step(shape, 1e6 * engine / STEPS, 1e6 * loop / STEPS)


def at_hand(velocity: Tensor) -> FunctionField:
    """Return a field whose velocity costs nothing, since it is there."""
    return FunctionField(lambda _t, _x: velocity, CondOT())


def euler(n: int) -> NonStationarySolver:
    """Return Euler's rule with n steps as a table, of which every coefficient is used."""
    return NonStationarySolver(torch.linspace(0, 1, n + 1), torch.ones(n), torch.full((n, n), 1.0 / n).tril())


def bare_loop(field: Callable[[Tensor, Tensor], Tensor], x0: Tensor, n: int) -> Tensor:
    """Return the last state of Euler's rule, written as a loop that holds nothing but the state."""
    x, times = x0, torch.linspace(0, 1, n + 1, dtype=torch.float64).to(x0.device).unbind()
    with torch.no_grad():
        for t in times[:-1]:
            x = x + field(t, x) / n
    return x


def compared(works: Sequence[Callable[[], object]], device: str, rounds: int | None = None) -> list[float]:
    """Return the seconds of each of several works, which take turns, in the quickest of these.

    Args:
        works: What is timed.
        device: Where it happens.
        rounds: How many turns; ROUNDS if None.
    """
    counts = []
    for work in works:
        timed(work, device)
        counts.append(max(1, int(ROUND / max(timed(work, device), 1e-6))))
    turns = [
        [timed(work, device, count) for work, count in zip(works, counts, strict=True)] for _ in range(rounds or ROUNDS)
    ]
    return [min(found) for found in zip(*turns, strict=True)]


def timed(work: Callable[[], object], device: str, count: int = 1) -> float:
    """Return the mean seconds that it takes, done ``count`` times in a row, until the device has done it."""
    _wait(device)
    began = time.perf_counter()
    for _ in range(count):
        work()
    _wait(device)
    return (time.perf_counter() - began) / count


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def forwards(host: PluginHost, device: str) -> Iterator[Forwards]:
    """Yield the speed of the embedded models, without guidance."""
    for name in MODELS:
        model = named_model(host, name, device, None).model
        condition = model.conditions(torch.arange(BATCH))
        field = model.field(None if condition is None else condition.to(device))
        x = torch.randn(BATCH, *model.shape, device=device)
        t = torch.tensor(0.4, dtype=torch.float64, device=device)
        with torch.no_grad():
            field(t, x)
            best, until = math.inf, time.perf_counter() + SECONDS
            while best == math.inf or time.perf_counter() < until:
                best = min(best, timed(lambda: field(t, x), device))  # noqa: B023
        parameters = sum(weight.numel() for network in model.networks() for weight in network.parameters())
        yield Forwards(name, parameters, BATCH / best)
