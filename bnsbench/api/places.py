"""The places of one transfer: what stands in the row of each, and which specialist and classic stand there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bnsbench.api.named import NamedModel, shipped_for
from bnsbench.api.sampling import BATCH
from bnsbench.api.scope import elsewhere
from bnsbench.api.training import Trainings, trainable, tunable
from bnsbench.contract import PluginHost
from bnsbench.errors import DivergedError, NotApplicableError, UsageError
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.blending import BLEND, trained_kind
from bnsbench.nonstationary.change_of_path import on_path
from bnsbench.nonstationary.scope import Scope, differences
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.solvers.samplers import run_metered
from bnsbench.statistics import Floats, mean_interval, paired_difference
from bnsbench.training.listener import Listener
from bnsbench.truth.pairs import Pairs, PairSource
from bnsbench.truth.psnr import psnr_per_sample

CLASSICS = "tuned"
"""The solver that stands for all classics: the best of them on its best grid."""


@dataclass
class Places:
    """What the places of one transfer share: the table, what is known of specialists, and what was spent.

    Args:
        host: Knows the solvers that have names.
        artefact: The table.
        specialists: Solvers that were trained elsewhere, the first choice there.
        train: Whether to train those that are missing.
        samples: Of each place.
        listener: Hears what is being done.
        cache: The folder for trainings.
    """

    host: PluginHost
    artefact: SolverArtefact
    specialists: Sequence[SolverArtefact]
    train: bool
    samples: int
    listener: Listener
    cache: Path | None
    forwards: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)
    _trainings: list[Trainings] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The solver that trains a table of this kind: its name, or that of what it was blended from."""
        return trained_kind(self.artefact)

    def row(self, model: NamedModel, source: PairSource) -> dict[str, Any]:
        """Return the row of one place."""
        used = model.scope(source.guidance)
        where = {"model": model.name, "guidance": source.guidance, "dtype": used.network.dtype}
        pairs = source.pairs("test", self.samples)
        truth = pairs.truth_evaluations * source.forwards_per_evaluation
        self.forwards += truth
        row = {**where, "status": "ok", "reason": "", "ceiling": source.ceiling(), "truth_forwards": truth}
        self.listener.stage(f"sampling {model.name} at w = {source.guidance:g} in {used.network.dtype}")
        try:
            own = self._psnr(self._on_path_of(model.model), pairs, source)
        except (NotApplicableError, DivergedError) as error:
            return {
                **row,
                "status": "skipped" if isinstance(error, NotApplicableError) else "diverged",
                "reason": str(error),
            }
        low, high = mean_interval(own)
        row |= {"psnr": own.mean(), "psnr_low": low, "psnr_high": high}
        row["forwards"] = self.artefact.solver.nfe * source.forwards_per_evaluation
        entry = {"scope": used.to_dict(), "samples": self.samples, "seed": source.seed, **_figures(row)}
        for kind, found in (("specialist", self._specialist(model, source)), ("classic", self._classic(model, source))):
            beside = self._beside(found, own, pairs, source)
            row |= {f"{kind}_{name}".removesuffix("_name"): value for name, value in beside.items()}
            # What was trained in another precision stands beside the table, but is none that was trained there.
            if found and "difference" in beside and not differences(found[0].scope, used):
                entry[kind] = beside
        self.entries.append(entry)
        return row

    def forget(self) -> None:
        """Delete what interrupted trainings would have gone on from."""
        for trainings in self._trainings:
            trainings.forget()

    def _on_path_of(self, model: Model) -> NonStationarySolver:
        """Return the table for a model, converted if it lies on another path; NotApplicableError for another interval."""
        artefact = self.artefact
        other = elsewhere(artefact, model)
        if not other:
            return artefact.solver
        if artefact.path == model.path:
            raise NotApplicableError(other)
        return on_path(artefact.solver, artefact.path, model.path, torch.tensor(model.interval, dtype=torch.float64))

    def _psnr(self, table: NonStationarySolver, pairs: Pairs, source: PairSource) -> Floats:
        """Return the PSNR of each sample; DivergedError if one is not finite."""
        states, spent = run_metered(table, pairs.field, pairs.x0, table.nfe, BATCH)
        self.forwards += spent * len(pairs) * source.forwards_per_evaluation
        psnr: Floats = psnr_per_sample(states, pairs.x1, source.model.data_range).cpu().numpy()
        if not np.isfinite(psnr).all():
            raise DivergedError("Its samples left the finite numbers.")
        return psnr

    def _beside(self, found: _Found | None, own: Floats, pairs: Pairs, source: PairSource) -> dict[str, Any]:
        """Return what a row says of another solver: its name, PSNR and cost, and the difference of the table to it."""
        if found is None:
            return {"name": ""}
        artefact, name = found
        told: dict[str, Any] = {"name": name, "forwards": _cost(artefact)}
        try:
            other = own if self._is_own(artefact) else self._psnr(artefact.solver, pairs, source)
        except (NotApplicableError, DivergedError) as error:
            return {**told, "name": f"{name}: {error}"}
        told["psnr"] = float(other.mean())
        difference = None if self._is_own(artefact) else paired_difference(other.tolist(), own.tolist())
        if difference is not None:
            told |= {"difference": difference.mean, "low": difference.low, "high": difference.high}
        return told

    def _specialist(self, model: NamedModel, source: PairSource) -> _Found | None:
        """Return the solver that was trained for a place, or if there is none for its weights and guidance elsewhere."""
        used = model.scope(source.guidance)
        shipped = self._shipped(self.kind, model, source.guidance)
        # A blend was not trained where it is for. What the package ships is better known than its file may say.
        own = [] if self.artefact.name == BLEND else [self.artefact]
        candidates = [*self.specialists, *([shipped] if shipped else []), *own]
        known = {_identity(each): each for each in reversed(candidates)}
        fitting = [
            each for each in reversed(known.values()) if each.solver.nfe == self.artefact.solver.nfe and _fits(each, used)
        ]
        fitting.sort(key=lambda each: each.network.dtype != used.network.dtype)
        for each in fitting:
            if not differences(each.scope, used):
                return each, self._called(each)
        if self.train:
            return self._trained(self.kind, source), self.kind
        return (fitting[0], f"{self._called(fitting[0])}, trained in {fitting[0].network.dtype}") if fitting else None

    def _called(self, solver: SolverArtefact) -> str:
        return "itself" if self._is_own(solver) else solver.name

    def _is_own(self, solver: SolverArtefact) -> bool:
        return _identity(solver) == _identity(self.artefact)

    def _classic(self, model: NamedModel, source: PairSource) -> _Found:
        """Return the best tuned classic of a place, searched now unless the package ships it."""
        found = self._shipped(CLASSICS, model, source.guidance)
        if found is None or differences(found.scope, model.scope(source.guidance)):
            found = self._trained(CLASSICS, source)
        return found, f"{found.training.get('rule', CLASSICS)}"

    def _shipped(self, name: str, model: NamedModel, guidance: float) -> SolverArtefact | None:
        try:
            selection = self.host.solver(name)
        except UsageError:  # a file may name a solver that is not installed here
            return None
        return shipped_for(selection, self.artefact.solver.nfe, model, guidance)

    def _trained(self, name: str, source: PairSource) -> SolverArtefact:
        choose = tunable if name == CLASSICS else trainable
        folder = NamedModel(source.model, source.name, source.device).cache(self.cache)
        trainings = Trainings(self.host, choose(self.host, name), source, self.listener, cache=folder)
        self._trainings.append(trainings)
        found = trainings.solver(self.artefact.solver.nfe)
        self.forwards += _cost(found) or 0
        return found


_Found = tuple[SolverArtefact, str]
"""A solver, and what it is called in its row."""


def _identity(artefact: SolverArtefact) -> tuple[object, ...]:
    """Return what a solver is the same by, whatever else its file says of its network."""
    return artefact.solver.fingerprint(), artefact.fingerprint, artefact.scope.guidance


def _fits(artefact: SolverArtefact, used: Scope) -> bool:
    """Return whether a solver was trained for these weights and this guidance alone, in whatever precision."""
    return artefact.fingerprint == used.fingerprint and artefact.scope.guidance == used.guidance


def _cost(artefact: SolverArtefact) -> int | None:
    """Return the forwards that a training or search has cost; None if its record does not say."""
    forwards = artefact.training.get("forwards")
    return sum(forwards.values()) if isinstance(forwards, Mapping) else None


def _figures(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in ("psnr", "psnr_low", "psnr_high", "ceiling")}
