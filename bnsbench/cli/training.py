"""Training for one command: where pairs come from, trainings that can be interrupted, and where solvers stand."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import typer
from torch import Tensor

from bnsbench.cli.components import make_model
from bnsbench.cli.training_progress import TrainingProgress
from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.specs import ModelSpec, SolverSpec
from bnsbench.errors import BnsbenchError, NotApplicableError, UsageError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.tracing import Sampler
from bnsbench.process.machine import cache_folder, choose_device
from bnsbench.suite.plan import digest
from bnsbench.training.problem import Problem
from bnsbench.training.trainer import make_problem, train_solver
from bnsbench.training.tuning.tuned_classics import THOROUGH, tuned_classics
from bnsbench.truth.mixed_source import MixedSource, Source
from bnsbench.truth.pairs import PairSource
from bnsbench.truth.psnr import psnr_per_sample

TEST_SAMPLES = 256


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
        """The mean over samples and scales."""
        return float(torch.stack(self.psnr).mean())


def sources_of(
    model: Selection[ModelSpec],
    scales: Sequence[float],
    seed: int,
    tolerance: float,
    device: str,
    dtype: str | None,
    progress: TrainingProgress,
) -> list[PairSource]:
    """Return where the pairs under each guidance scale come from, all of one model."""
    place, cache = choose_device(device), cache_folder() / "pairs"
    made = make_model(model, place, dtype)
    return [PairSource(made, model.canonical, w, seed, tolerance, cache, place, progress.stage) for w in scales]


def combined(sources: Sequence[PairSource], weights: Sequence[float]) -> Source:
    """Return what one solver is trained for: the only source, or a mixture of all."""
    return sources[0] if len(sources) == 1 and not weights else MixedSource(tuple(sources), tuple(weights))


@dataclass
class Session:
    """The trainings of one command; each is kept until the command ends, so that an interrupted one goes on where it was."""

    host: PluginHost
    selection: Selection[SolverSpec]
    source: Source
    progress: TrainingProgress
    weights: Sequence[float] = ()

    def __post_init__(self) -> None:
        made, source = self.source.model, self.source
        task: dict[str, object] = {"model": made.fingerprint(), "name": source.name, "dtype": str(made.dtype)}
        task |= {"guidance": source.guidance, "weights": list(self.weights)}
        task |= {"solver": self.selection.name, "version": self.selection.spec.version, "seed": source.seed}
        task |= {"tolerance": source.truth_tolerance}
        self.folder = cache_folder() / "training" / digest(task)
        self.known: dict[int, SolverArtefact] = {}

    def trained(self, budget: int) -> SolverArtefact:
        """Return the solver for a budget, trained now unless it has been."""
        if budget not in self.known:
            self.known[budget] = self._kept(budget) or self._train(budget)
        return self.known[budget]

    def forget(self) -> None:
        """Delete what an interrupted command would have gone on from."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kept(self, budget: int) -> SolverArtefact | None:
        try:
            return SolverArtefact.load(self.folder / f"nfe{budget}.json")
        except BnsbenchError:  # not there, or cut off
            return None

    def problem(self, budget: int) -> Problem:
        """Return the problem of training for a budget."""
        return make_problem(
            self.source,
            self.host,
            previous=self.trained,
            progress=self.progress.training,
            checkpoint=self.folder / f"nfe{budget}.pt",
            provider=self.selection.spec.provider,
        )

    def _train(self, budget: int) -> SolverArtefact:
        artefact = train_solver(self.selection, self.problem(budget), budget)
        artefact.save(self.folder / f"nfe{budget}.json")
        return artefact


def placings_of(session: Session, sources: Sequence[PairSource], artefact: SolverArtefact) -> list[Placing]:
    """Return where a solver stands among the classics, each on the best grid that a search has found; the best first."""
    try:
        problem, nfe = session.problem(artefact.solver.nfe), artefact.solver.nfe
        tuned = tuned_classics(problem, nfe, pairs=THOROUGH[-1].pairs, heats=THOROUGH).ranking.by_rule
    except (NotApplicableError, UsageError) as error:  # no classic has a grid that the path or the budget allows
        typer.echo(f"No classic stands beside it: {error}", err=True)
        tuned = {}
    placings = [Placing(artefact.name, _psnr(sources, artefact.solver), str(artefact.training.get("grid", "")))]
    for name, best in tuned.items():
        placings.append(Placing(name, _psnr(sources, best.table), best.grid.in_words))
    return sorted(placings, key=lambda placing: -placing.mean)


def _psnr(sources: Sequence[PairSource], sampler: Sampler) -> tuple[Tensor, ...]:
    found = []
    for source in sources:
        pairs = source.pairs("test", TEST_SAMPLES)
        samples = sampler(pairs.field, pairs.x0.clone())
        found.append(psnr_per_sample(samples, pairs.x1, source.model.data_range).cpu())
    return tuple(found)
