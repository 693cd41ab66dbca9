"""Several solvers on one model: how near each comes to the exact solution of the ODE, on the same noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bnsbench.api.named import AnySolver, FoundSolver, NamedModel, find_solver, named_model, open_host
from bnsbench.api.placings import TEST_SAMPLES, WORST
from bnsbench.api.training import TOLERANCE, Trainings, sources_of
from bnsbench.contract import PluginHost
from bnsbench.errors import DivergedError, NotApplicableError, UsageError
from bnsbench.flows.measured import Meter
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.statistics import decibels_of_mean, mean_interval
from bnsbench.training.listener import Listener
from bnsbench.truth.pairs import Pairs, PairSource
from bnsbench.truth.psnr import psnr_per_sample

if TYPE_CHECKING:
    import pandas as pd

BATCH = 64
"""Samples that go through the network together."""


def compare(
    model: str | Model,
    solvers: AnySolver | Sequence[AnySolver],
    nfe: int | Sequence[int] | None = None,
    *,
    guidance: float = 0.0,
    samples: int = TEST_SAMPLES,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    plugins: Sequence[Path | str] = (),
    cache: Path | str | None = None,
    listener: Listener | None = None,
) -> pd.DataFrame:
    """Compare solvers on one model by the PSNR to the exact solution of its ODE, all on the same test noise.

    A trained or tuned solver that is given by name ("bns", "tuned", "ab3[grid=best]") is taken as the package ships it,
    or trained now. Test noise is never trained on.

    Args:
        model: A selector such as "digits-ot", or a model of your own (see `wrap`).
        solvers: Selectors, files, what `train` returned, or tables; one or several.
        nfe: Evaluations to spend, one number or several; files and tables have their own and stand in their own row.
        guidance: The scale w of u_w = (1 + w) u_cond - w u_uncond.
        samples: How many samples to compare on.
        seed: Of every noise stream.
        tolerance: Of the ground truth, between 0 and 1.
        device: "auto", "cpu", "cuda" or "cuda:<i>".
        dtype: Precision of the network; None for the model's own.
        plugins: Single plugin files to load.
        cache: Folder for ground truth; BNSBENCH_CACHE or the user's cache folder if None.
        listener: Hears what is being done.

    Returns:
        One row for each solver and NFE: solver, nfe, status ("ok", "skipped" or "diverged"), psnr in dB (the mean over
        samples) with its 95 % interval psnr_low to psnr_high, psnr_mse (the decibels of the mean squared error), psnr_p05
        (what a twentieth of the samples does not reach), forwards of the network per sample, train_forwards (everything
        that a training or search has cost, 0 for a classic), and the reason where there is no result. ``attrs`` has the
        model, the guidance, the samples and the ceiling: the PSNR that the ground truth itself can resolve.

    Raises:
        UsageError: For an unknown name, or a solver that is given by name without an NFE.
        DivergedError: If the model's ground truth cannot be solved.
    """
    import pandas as pd  # noqa: PLC0415 (slow to import)

    host, heard = open_host(plugins), listener or Listener()
    named = named_model(host, model, device, dtype)
    folder = named.cache(None if cache is None else Path(cache))
    (source,) = sources_of(named, [guidance], seed=seed, tolerance=tolerance, cache=folder, listener=heard)
    asked = _asked(solvers, nfe)
    pairs = source.pairs("test", samples)
    rows = [_row(host, named, source, pairs, each, budget, folder, heard) for each, budget in asked]
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(dict.fromkeys(_COUNTS, "Int64"))
    table.attrs.update(model=named.name, guidance=guidance, samples=samples, ceiling=source.ceiling())
    return table


_COLUMNS = (
    *("solver", "nfe", "status", "psnr", "psnr_low", "psnr_high", "psnr_mse", "psnr_p05"),
    *("forwards", "train_forwards", "reason"),
)
_COUNTS = ("nfe", "forwards", "train_forwards")


def _asked(solvers: AnySolver | Sequence[AnySolver], nfe: int | Sequence[int] | None) -> list[tuple[AnySolver, int | None]]:
    """Return every solver with every NFE, and those that know their own once."""
    several = [solvers] if isinstance(solvers, str | Path | SolverArtefact | NonStationarySolver) else list(solvers)
    budgets = [nfe] if isinstance(nfe, int) else list(nfe or [])
    found: list[tuple[AnySolver, int | None]] = []
    for each in several:
        fixed = not isinstance(each, str) or each.endswith(".json")
        if not fixed and not budgets:
            raise UsageError(f"The solver {each!r} needs a budget: give nfe.")
        found += [(each, None)] if fixed else [(each, budget) for budget in budgets]
    return found


def _row(
    host: PluginHost,
    model: NamedModel,
    source: PairSource,
    pairs: Pairs,
    asked: AnySolver,
    nfe: int | None,
    cache: Path,
    listener: Listener,
) -> dict[str, Any]:
    """Return the row of one solver; what it cannot do is its reason."""
    row = {"solver": _name(asked), "nfe": nfe, "status": "ok", "train_forwards": 0}
    try:
        found = _made(host, model, source, asked, nfe, cache, listener)
        listener.stage(f"sampling with {found.name} at {found.nfe} NFE")
        psnr, spent = _psnr(found, pairs, source.model.data_range)
    except NotApplicableError as error:
        return {**row, "status": "skipped", "reason": str(error)}
    except DivergedError as error:
        return {**row, "status": "diverged", "reason": str(error)}
    low, high = mean_interval(psnr)
    trained = {} if found.artefact is None else found.artefact.training.get("forwards", {})
    figures = {"psnr": psnr.mean(), "psnr_low": low, "psnr_high": high}
    figures |= {"psnr_mse": decibels_of_mean(psnr), "psnr_p05": np.quantile(psnr, WORST)}
    cost = {"forwards": spent * source.forwards_per_evaluation, "train_forwards": sum(trained.values())}
    return {**row, "solver": found.name, "nfe": spent, **figures, **cost, "reason": ""}


def _name(asked: AnySolver) -> str:
    if isinstance(asked, SolverArtefact):
        return asked.name
    return "table" if isinstance(asked, NonStationarySolver) else str(asked)


def _made(
    host: PluginHost,
    model: NamedModel,
    source: PairSource,
    asked: AnySolver,
    nfe: int | None,
    cache: Path,
    listener: Listener,
) -> FoundSolver:
    """Return the solver, trained now if it has to be and the package ships none; NotApplicableError for a budget."""
    selection = host.solver(asked) if isinstance(asked, str) and nfe is not None else None
    if selection is not None and nfe is not None:
        reason = selection.spec.budgets.reason_against(nfe)
        if reason is not None:
            raise NotApplicableError(f"The solver {selection.name!r} {reason}.")
    if selection is None or nfe is None or not selection.spec.trained:
        return find_solver(host, asked, nfe, model.setting, model, source.guidance)
    try:
        return find_solver(host, asked, nfe, model.setting, model, source.guidance)
    except UsageError:  # the package ships none
        artefact = Trainings(host, selection, source, listener, cache=cache).solver(nfe)
        return find_solver(host, artefact, nfe, model.setting)


def _psnr(solver: FoundSolver, pairs: Pairs, data_range: float) -> tuple[np.ndarray[Any, np.dtype[np.float64]], int]:
    """Return the PSNR in dB of every sample, and the evaluations spent on each."""
    found, spent = [], 0
    for part in _parts(pairs):
        meter = Meter(part.field, part.x0)
        with torch.no_grad():
            states = solver.sampler(meter.field, part.x0.clone())
        meter.close()
        spent = meter.spent(solver.nfe)
        found.append(psnr_per_sample(states, part.x1, data_range).cpu())
        if not bool(found[-1].isfinite().all()):  # so that squares that overflow are found as well
            raise DivergedError("its samples left the finite numbers")
    return torch.cat(found).numpy(), spent


def _parts(pairs: Pairs) -> Iterator[Pairs]:
    for begin in range(0, len(pairs), BATCH):
        yield pairs.part(slice(begin, begin + BATCH))
