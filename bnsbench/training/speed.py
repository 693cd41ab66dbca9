"""How long a network takes, and how much memory, measured on a few forwards."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

try:
    from resource import RUSAGE_SELF, getrusage
except ImportError:  # a system that has none
    _HAS_USAGE = False
else:
    _HAS_USAGE = True

from bnsbench.flows.model import ModelField
from bnsbench.process.ranks import by_itself, team
from bnsbench.truth.pairs import TAUGHT_CHUNK, PairSource

SECONDS = 0.3
"""About how long the measurement goes on; a slow network is asked as often as need be."""


@dataclass(frozen=True)
class Speed:
    """What a forward of the network costs.

    Args:
        seconds: of one sample, on the mean of those forwards and backwards that a training counts.
        batch: samples that were evaluated together.
        memory: the most bytes in use on the way: of the device, or of the process on a CPU; None where nobody knows.
    """

    seconds: float
    batch: int
    memory: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, JSON-like."""
        return asdict(self)


def measure(source: PairSource, batch: int = TAUGHT_CHUNK) -> Speed:
    """Return what a forward costs, of as many samples at once as a training's steps begin with, or fewer if they are slow.

    Nothing is solved or kept. A backward pass counts as two forwards, as everywhere. Of processes that work together, the
    first one measures how long it takes it alone.

    Args:
        source: the model under its guidance, and where it runs.
        batch: samples at most.
    """
    return team().of_first(lambda: _measure_alone(source, batch))


def _measure_alone(source: PairSource, batch: int) -> Speed:
    with by_itself():
        return _measure(source, batch)


def _measure(source: PairSource, batch: int) -> Speed:
    _pass(source, 1)  # the first pass also loads and compiles
    alone = _timed(source, 1)
    # A slow network is not asked for more than a moment at a time.
    size = max(1, min(batch, int(SECONDS / alone))) if alone > SECONDS / batch else batch
    while True:
        try:
            return _measured(source, size)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2


def _measured(source: PairSource, batch: int) -> Speed:
    _forget_peak(source.device)
    began, passes = time.perf_counter(), 0
    while not passes or time.perf_counter() - began < SECONDS:
        _pass(source, batch)
        passes += 1
    seconds = time.perf_counter() - began
    forwards = 3 * passes * batch * source.forwards_per_evaluation
    return Speed(seconds / forwards, batch, _peak(source.device))


def _timed(source: PairSource, batch: int) -> float:
    began = time.perf_counter()
    _pass(source, batch)
    return time.perf_counter() - began


def _pass(source: PairSource, batch: int) -> None:
    """Evaluate the guided field once, and go back through it, as a step of the descent does."""
    indices = torch.arange(batch)
    field, x0 = source.field(indices), source.initial("train", indices)
    begin, end = source.model.interval
    _evaluate(field, torch.tensor(0.5 * (begin + end), dtype=torch.float64), x0)
    if torch.device(source.device).type == "cuda":
        torch.cuda.synchronize(source.device)


def _evaluate(field: ModelField, t: Tensor, x0: Tensor) -> None:
    x = x0.detach().requires_grad_()
    with torch.enable_grad():
        velocity = field(t, x)
    if velocity.requires_grad:
        torch.autograd.grad(velocity, x, torch.ones_like(velocity), allow_unused=True)


def _forget_peak(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: str) -> int | None:
    """Return the most bytes that have been in use."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if not _HAS_USAGE:
        return None
    used = getrusage(RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used
