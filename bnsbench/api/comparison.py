"""Several solvers on one model: how near each comes to the exact solution of the ODE, on the same noise."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bnsbench.api.named import (
    TABLE,
    AnySolver,
    FoundSolver,
    NamedModel,
    find_solver,
    is_file,
    named_model,
    open_host,
    scale_of,
    several,
    shipped_for,
    whole,
)
from bnsbench.api.placings import TEST_SAMPLES, WORST
from bnsbench.api.sampling import BATCH
from bnsbench.api.scope import remark_on
from bnsbench.api.training import TOLERANCE, Trainings, sources_of
from bnsbench.contract import PluginHost, Selection, split_selectors
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import DivergedError, NotApplicableError, UsageError
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.solvers.samplers import run_metered
from bnsbench.statistics import decibels_of_mean, mean_interval
from bnsbench.training.listener import Listener
from bnsbench.truth.pairs import Pairs
from bnsbench.truth.psnr import psnr_per_sample

if TYPE_CHECKING:
    import pandas as pd

Solvers = AnySolver | Sequence[AnySolver] | Mapping[str, AnySolver]


def compare(
    model: str | Model,
    solvers: Solvers,
    nfe: int | Sequence[int] | None = None,
    *,
    guidance: float = 0.0,
    samples: int = TEST_SAMPLES,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    strict: bool = False,
    plugins: Sequence[Path | str] = (),
    cache: Path | str | None = None,
    listener: Listener | None = None,
) -> pd.DataFrame:
    """Compare solvers on one model by the PSNR to the exact solution of its ODE, all on the same test noise.

    A trained or tuned solver that is given by name ("bns", "tuned", "ab3[grid=best]") is taken as the package ships it,
    or trained now. Test noise is never trained on.

    Args:
        model: A selector such as "digits-ot", or a model of your own (see `wrap`).
        solvers: Selectors, files, what `train` returned, or tables; one or several, or a mapping from the names of their
            rows to them.
        nfe: Evaluations to spend, one number or several; files and tables have their own and stand in their own row.
        guidance: The scale w of u_w = (1 + w) u_cond - w u_uncond.
        samples: How many samples to compare on.
        seed: Of every noise stream.
        tolerance: Of the ground truth, between 0 and 1.
        device: "auto", "cpu", "cuda" or "cuda:<i>".
        dtype: Precision of the network; None for the model's own.
        strict: Whether a trained solver that is used elsewhere than where it was trained (other weights, guidance, shape,
            precision, quantisation or adapters) is skipped; otherwise the listener is told, or it is a warning without one.
        plugins: Single plugin files to load.
        cache: Folder for ground truth; BNSBENCH_CACHE or the user's cache folder if None.
        listener: Hears what is being done.

    Returns:
        One row for each solver and NFE: solver, nfe, status ("ok", "skipped" or "diverged"), psnr in dB (the mean over
        samples) with its 95 % interval psnr_low to psnr_high, psnr_mse (the decibels of the mean squared error), psnr_p05
        (what a twentieth of the samples does not reach), forwards of the network per sample, train_forwards (everything
        that a training or search has cost, 0 for a classic, none where a table does not say), and the reason where there is
        no result. ``attrs`` has the model, the guidance, the samples and the ceiling: the PSNR that the ground truth itself
        can resolve.

    Raises:
        UsageError: For an unknown name, or a solver that is given by name without an NFE.
        DivergedError: If the model's ground truth cannot be solved.
    """
    import pandas as pd  # noqa: PLC0415 (slow to import)

    host, scale, count = open_host(plugins), scale_of(guidance), whole("samples", samples)
    asked = _asked(host, solvers, nfe)
    named = named_model(host, model, device, dtype)
    comparison = _Comparison(
        host=host,
        model=named,
        listener=listener or Listener(),
        guidance=scale,
        seed=seed,
        tolerance=tolerance,
        cache=None if cache is None else Path(cache),
        strict=strict,
        tell=_warn if listener is None else listener.notice,
    )
    pairs = comparison.source.pairs("test", count)
    rows = [comparison.row(each, pairs) for each in asked]
    comparison.forget()
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(dict.fromkeys(_COUNTS, "Int64"))
    table.attrs.update(model=named.name, guidance=scale, samples=count, ceiling=comparison.source.ceiling())
    return table


def _warn(remark: str) -> None:
    warnings.warn(remark, stacklevel=5)


_COLUMNS = (
    *("solver", "nfe", "status", "psnr", "psnr_low", "psnr_high", "psnr_mse", "psnr_p05"),
    *("forwards", "train_forwards", "reason"),
)
_COUNTS = ("nfe", "forwards", "train_forwards")


@dataclass(frozen=True)
class _Asked:
    """A solver of one row: what was given, the name of its row, and its NFE, None where it knows its own."""

    solver: AnySolver
    label: str
    nfe: int | None


def _asked(host: PluginHost, solvers: Solvers, nfe: int | Sequence[int] | None) -> list[_Asked]:
    """Return every solver with every NFE, and those that know their own once; UsageError for a name that there is not."""
    budgets = [] if nfe is None else [whole("nfe", each) for each in several(nfe)]
    found: list[_Asked] = []
    for label, solver in _labelled(solvers):
        if not isinstance(solver, str) or is_file(solver):
            found.append(_Asked(solver, label, None))
            continue
        host.solver(solver)
        if not budgets:
            raise UsageError(f"The solver {solver!r} needs a budget: give nfe.")
        found += [_Asked(solver, label, budget) for budget in budgets]
    return found


def _labelled(solvers: Solvers) -> Iterator[tuple[str, AnySolver]]:
    """Yield each solver with the name of its rows; texts may name several, with commas between."""
    if isinstance(solvers, Mapping):
        yield from solvers.items()
        return
    for each in [solvers] if isinstance(solvers, str | Path | SolverArtefact | NonStationarySolver) else solvers:
        if isinstance(each, SolverArtefact):
            yield each.name, each
        elif isinstance(each, NonStationarySolver):
            yield f"table {each.fingerprint()[:6]}", each
        elif isinstance(each, str) and not is_file(each):
            yield from ((name, name) for name in split_selectors(each))
        else:
            yield str(each), each


@dataclass
class _Comparison:
    """What the rows of one comparison share, and the trainings that they needed."""

    host: PluginHost
    model: NamedModel
    listener: Listener
    guidance: float
    seed: int
    tolerance: float
    cache: Path | None
    strict: bool
    tell: Callable[[str], None]

    def __post_init__(self) -> None:
        (self.source,) = sources_of(
            self.model,
            [self.guidance],
            seed=self.seed,
            tolerance=self.tolerance,
            cache=self.cache,
            listener=self.listener,
        )
        self._trainings: dict[str, Trainings] = {}

    def row(self, asked: _Asked, pairs: Pairs) -> dict[str, Any]:
        """Return the row of one solver; what it cannot do is its reason."""
        row: dict[str, Any] = {"solver": asked.label, "nfe": asked.nfe, "status": "ok", "reason": ""}
        try:
            found = self._found(asked)
            row |= {"nfe": found.nfe, "train_forwards": _cost_of(found)}
            self.listener.stage(f"sampling with {asked.label} at {found.nfe} NFE")
            field = found.field(pairs.field)
            states, spent = run_metered(found.sampler, field, pairs.x0, found.nfe, BATCH)
            psnr = psnr_per_sample(states, pairs.x1, self.source.model.data_range).cpu().numpy()
            if not np.isfinite(psnr).all():  # so that squares that overflow are found as well
                raise DivergedError("Its samples left the finite numbers.")
        except NotApplicableError as error:
            return {**row, "status": "skipped", "reason": str(error)}
        except DivergedError as error:
            return {**row, "status": "diverged", "reason": str(error)}
        low, high = mean_interval(psnr)
        figures = {"psnr": psnr.mean(), "psnr_low": low, "psnr_high": high}
        figures |= {"psnr_mse": decibels_of_mean(psnr), "psnr_p05": np.quantile(psnr, WORST)}
        return {**row, **figures, "nfe": spent, "forwards": spent * field.forwards_per_evaluation}

    def forget(self) -> None:
        """Delete what interrupted trainings would have gone on from."""
        for trainings in self._trainings.values():
            trainings.forget()

    def _found(self, asked: _Asked) -> FoundSolver:
        """Return the solver, trained now if it has to be and the package ships none.

        Raises:
            NotApplicableError: For an NFE that it cannot spend, or one that was trained on another path.
        """
        solver, nfe, setting = asked.solver, asked.nfe, self.model.setting
        if nfe is not None and isinstance(solver, str):
            selection = self.host.solver(solver)
            reason = selection.spec.budgets.reason_against(nfe)
            if reason is not None:
                raise NotApplicableError(f"The solver {selection.name!r} {reason}.")
            if selection.spec.trained:
                shipped = shipped_for(selection, nfe, self.model, self.guidance)
                solver = shipped or self._trained(selection).solver(nfe)
        found = find_solver(self.host, solver, nfe, setting, self.model, self.guidance)
        try:
            if remark := remark_on(found, self.model, self.guidance, self.strict):
                self.tell(f"{asked.label}: {remark}")
        except UsageError as error:
            raise NotApplicableError(str(error)) from error
        return found

    def _trained(self, selection: Selection[SolverSpec]) -> Trainings:
        if selection.name not in self._trainings:
            folder = self.model.cache(self.cache)
            self._trainings[selection.name] = Trainings(self.host, selection, self.source, self.listener, cache=folder)
        return self._trainings[selection.name]


def _cost_of(found: FoundSolver) -> int | None:
    """Return the forwards that a training or search has cost, 0 for a classic; None for a table that does not say."""
    if found.student is not None:
        return sum(found.student.forwards.values())
    if found.artefact is None:
        return None if found.name == TABLE else 0
    forwards = found.artefact.training.get("forwards")
    return None if forwards is None else sum(forwards.values())
