"""Training for one command: where pairs come from, trainings that can be interrupted, and where solvers stand."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from bnsbench.cli.components import Setting, find_solver, make_model
from bnsbench.cli.progress import TrainingProgress
from bnsbench.errors import BnsbenchError
from bnsbench.flows.mixed import MixedSource, Source
from bnsbench.flows.pairs import PairSource
from bnsbench.flows.psnr import psnr_per_sample
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.tracing import Sampler
from bnsbench.plugins import PluginHost, Selection
from bnsbench.plugins.sources import BUILTIN
from bnsbench.specs import ModelSpec, SolverSpec
from bnsbench.suite.environment import cache_folder
from bnsbench.suite.plan import digest
from bnsbench.suite.run import choose_device
from bnsbench.suite.trained import make_problem, train_solver

CLASSICS = (
    *("euler", "midpoint", "heun", "rk4", "ab2", "ab4", "ddim", "ipndm", "deis"),
    *("dpm++2m", "dpm++2m[grid=logsnr]", "unipc", "unipc[grid=logsnr]"),
)
"""The solvers beside which a trained one is shown, those of them that can spend its NFE."""

TEST_SAMPLES = 256

Standings = list[tuple[str, list[float]]]
"""Solvers with their PSNR in dB on test noise at every guidance scale, the best on average first."""


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

    def _train(self, budget: int) -> SolverArtefact:
        checkpoint = self.folder / f"nfe{budget}.pt"
        problem = make_problem(
            self.source,
            self.host,
            previous=self.trained,
            progress=self.progress.training,
            checkpoint=checkpoint,
            provider=self.selection.spec.provider,
        )
        artefact = train_solver(self.selection, problem, budget)
        artefact.save(self.folder / f"nfe{budget}.json")
        return artefact


def standings_of(host: PluginHost, sources: Sequence[PairSource], artefact: SolverArtefact) -> Standings:
    """Return where a trained solver stands among the classics."""
    model = sources[0].model
    standings = [(artefact.name, _psnr(sources, artefact.solver))]
    offered = {spec.name for spec in host.solvers if spec.provider == BUILTIN}
    for name in CLASSICS:
        if name.partition("[")[0] not in offered:
            continue
        try:
            found = find_solver(host, f"{BUILTIN}/{name}", artefact.solver.nfe, Setting(model.path, model.interval))
        except BnsbenchError:  # it cannot spend this NFE, or has no such grid on this path
            continue
        standings.append((name, _psnr(sources, found.sampler)))
    return sorted(standings, key=lambda row: -sum(row[1]))


def _psnr(sources: Sequence[PairSource], sampler: Sampler) -> list[float]:
    found = []
    for source in sources:
        pairs = source.pairs("test", TEST_SAMPLES)
        samples = sampler(pairs.field, pairs.x0.clone())
        found.append(float(psnr_per_sample(samples, pairs.x1, source.model.data_range).mean()))
    return found
