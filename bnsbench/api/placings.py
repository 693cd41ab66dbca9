"""Where a solver stands among the classics on fresh noise, each classic on the best grid that a search has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsbench.api.sampling import BATCH
from bnsbench.api.training import Trainings
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.solvers.samplers import run_metered
from bnsbench.statistics import decibels_of_mean
from bnsbench.training.tuning.tuned_classics import THOROUGH, tuned_classics
from bnsbench.truth.pairs import PairSource
from bnsbench.truth.psnr import psnr_per_sample

TEST_SAMPLES = 256
WORST = 0.05
"""The share of samples that are worse than the quantile of `Placing.worst`."""


@dataclass(frozen=True)
class Placing:
    """How a solver does on test noise: under every guidance scale the PSNR in dB of each sample, float64 [n].

    grid: of a tuned classic, in words.
    """

    solver: str
    psnr: tuple[Tensor, ...]
    grid: str = ""

    @property
    def mean(self) -> float:
        """The mean over samples and scales, in dB."""
        return float(torch.stack(self.psnr).mean())

    @property
    def means(self) -> list[float]:
        """The mean over samples under each scale, in dB."""
        return [float(values.mean()) for values in self.psnr]

    @property
    def of_mean_error(self) -> list[float]:
        """The decibels of the mean squared error under each scale, which the worst samples rule."""
        return [decibels_of_mean(values.numpy()) for values in self.psnr]

    @property
    def worst(self) -> list[float]:
        """What a twentieth of the samples does not reach under each scale, in dB."""
        return [float(values.quantile(WORST)) for values in self.psnr]


def placings_of(trainings: Trainings, sources: Sequence[PairSource], artefact: SolverArtefact) -> list[Placing]:
    """Return where a solver and the tuned classics stand, the best first; the classics' search uses training noise."""
    nfe = artefact.solver.nfe
    try:
        found = tuned_classics(trainings.problem(nfe), nfe, pairs=THOROUGH[-1].pairs, heats=THOROUGH).ranking.by_rule
    except (NotApplicableError, UsageError) as error:  # no classic has a grid that the path or the budget allows
        trainings.listener.notice(f"No classic stands beside it: {error}")
        found = {}
    placings = [Placing(artefact.name, _psnr(sources, artefact.solver), str(artefact.training.get("grid", "")))]
    for name, best in found.items():
        placings.append(Placing(name, _psnr(sources, best.table), best.grid.in_words))
    return sorted(placings, key=lambda placing: -placing.mean)


def _psnr(sources: Sequence[PairSource], table: NonStationarySolver) -> tuple[Tensor, ...]:
    found = []
    for source in sources:
        pairs = source.pairs("test", TEST_SAMPLES)
        samples, _ = run_metered(table, pairs.field, pairs.x0, table.nfe, BATCH)
        found.append(psnr_per_sample(samples, pairs.x1, source.model.data_range).cpu())
    return tuple(found)
