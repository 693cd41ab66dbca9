"""How a table does elsewhere than where it was trained, beside what was made for each of these places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bnsbench.api.named import NamedModel, loaded, named_model, open_host, scales_of, shipped_for, whole
from bnsbench.api.sampling import BATCH
from bnsbench.api.scope import elsewhere
from bnsbench.api.training import TOLERANCE, Trainings, sources_of, trainable, tunable
from bnsbench.api.wrapped import WrappedModel
from bnsbench.contract import PluginHost
from bnsbench.errors import DivergedError, NotApplicableError, UsageError
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.blending import BLEND, trained_kind
from bnsbench.nonstationary.change_of_path import on_path
from bnsbench.nonstationary.scope import Scope, differences, with_measured
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.solvers.samplers import run_metered
from bnsbench.statistics import Floats, mean_interval, paired_difference
from bnsbench.training.listener import Listener
from bnsbench.truth.pairs import Pairs, PairSource
from bnsbench.truth.psnr import psnr_per_sample

if TYPE_CHECKING:
    import pandas as pd

SAMPLES = 128
CLASSICS = "tuned"
"""The solver that stands for all classics: the best of them on its best grid."""

COLUMNS = (
    *("model", "guidance", "dtype", "status", "psnr", "psnr_low", "psnr_high"),
    *(f"specialist{end}" for end in ("", "_psnr", "_difference", "_low", "_high", "_forwards")),
    *(f"classic{end}" for end in ("", "_psnr", "_difference", "_low", "_high", "_forwards")),
    *("ceiling", "forwards", "truth_forwards", "reason"),
)
COUNTS = ("specialist_forwards", "classic_forwards", "forwards", "truth_forwards")


@dataclass(frozen=True)
class Transfer:
    """What `transfer` has measured.

    Args:
        table: One row for each place: model, guidance, dtype; status ("ok", "skipped" or "diverged") with the reason; psnr
            in dB (the mean over samples) with its 95 % interval; of the specialist and of the best tuned classic the name,
            the PSNR and what they cost in forwards, and the difference of the table to each (negative where the table is
            worse) with its paired 95 % interval; the ceiling that the ground truth resolves; forwards of the network per
            sample, and of the ground truth.
        artefact: The solver, with what was measured in its training record: where it is used elsewhere, it is told then.
        forwards: Of the network that all of it took: ground truth, samples, searches and trainings; the measurement of the
            ceilings aside.
    """

    table: pd.DataFrame
    artefact: SolverArtefact
    forwards: int


def transfer(
    solver: str | Path | SolverArtefact,
    *,
    guidance: float | Sequence[float] | None = None,
    dtype: str | torch.dtype | Sequence[str | torch.dtype] | None = None,
    model: str | Model | Sequence[str | Model] | None = None,
    specialists: Sequence[str | Path | SolverArtefact] = (),
    train: bool = False,
    samples: int = SAMPLES,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    device: str = "auto",
    plugins: Sequence[Path | str] = (),
    cache: Path | str | None = None,
    listener: Listener | None = None,
) -> Transfer:
    """Measure how a trained table does under other guidance, in other precisions and on other models.

    Beside it stand, on the same test noise, a table of the same kind that was trained there (the specialist), the best tuned
    classic there, and the ceiling of the ground truth. For a model on another path the table is converted to that path. What
    is computed is kept in the cache, so that a measurement that was interrupted goes on where it was.

    Args:
        solver: The file of a trained solver, or what `train` returned.
        guidance: The scales w; those of the table if None.
        dtype: Precisions of the network, such as ["float32", "bfloat16"]; the model's own if None.
        model: Models by selector, or models of your own; the one that the table names if None.
        specialists: Solvers that were trained elsewhere, of which each stands where it was trained. The table itself and
            those that the package ships are known.
        train: Whether to train a specialist where there is none.
        samples: Of each place, 2 or more.
        seed: Of every noise stream.
        tolerance: Of the ground truth, between 0 and 1.
        device: "auto", "cpu", "cuda" or "cuda:<i>".
        plugins: Single plugin files to load.
        cache: Folder for ground truth and trainings; BNSBENCH_CACHE or the user's cache folder if None.
        listener: Hears what is being done.

    Returns:
        The matrix, and the solver with what was measured in its record.

    Raises:
        UsageError: For an unknown name, a file that is none, or several precisions of a model that can be cast only once.
        DivergedError: If a model's ground truth cannot be solved.
    """
    import pandas as pd  # noqa: PLC0415 (slow to import)

    host, count = open_host(plugins), whole("samples", samples)
    if count < 2:
        raise UsageError("An interval takes 2 samples or more.")
    artefact = loaded(solver)
    models, types = _several(model or artefact.model), _several(dtype)
    scales = artefact.scope.guidance if guidance is None else scales_of(guidance)
    folder = None if cache is None else Path(cache)
    others = list(map(loaded, specialists))
    measurement = Measurement(host, artefact, others, train, count, listener or Listener(), folder)
    rows = []
    for named in _placed(host, models, types, device):
        sources = sources_of(named, scales, seed=seed, tolerance=tolerance, cache=folder, listener=measurement.listener)
        rows += [measurement.row(named, source) for source in sources]
    measurement.forget()
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COUNTS, "Int64"))
    table.attrs.update(
        solver=artefact.name, nfe=artefact.solver.nfe, samples=count, seed=seed, forwards=measurement.forwards
    )
    measured = replace(artefact, training=with_measured(artefact.training, measurement.entries))
    return Transfer(table, measured, measurement.forwards)


def _several(values: Any) -> list[Any]:
    return list(values) if isinstance(values, list | tuple) else [values]


def _placed(
    host: PluginHost, models: Sequence[str | Model], types: Sequence[str | torch.dtype | None], device: str
) -> Iterator[NamedModel]:
    """Yield every model in every precision, one after the other."""
    for model in models:
        if len(types) > 1 and not isinstance(model, str | WrappedModel):
            raise UsageError(
                "A model's object is cast in place: give it by its selector to measure it in several precisions."
            )
        for dtype in types:
            yield named_model(host, model, device, dtype)


@dataclass
class Measurement:
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
