"""The expected cost of a plan: network forwards by purpose, and hours of a GPU where a suite says what a forward takes.

What a training costs is known from `bnsbench.training.recipes.forecast`; records hold what was really spent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bnsbench.suite.plan import Cell
from bnsbench.training.recipes.forecast import TUNING_PAIRS, TUNING_RUNS, Forecast, forecast, task_of
from bnsbench.training.teaching import EXACT

TRUTH_EVALUATIONS = EXACT
"""Evaluations of a ground truth, by the adaptive rule."""

GPU = "A100"
PEAK_TFLOPS = {"float64": 9.7, "float32": 19.5, "bfloat16": 312.0}
"""Peak speeds of an A100 in 10^12 operations per second, from its data sheet."""
UTILISATION = 0.4
"""Part of the peak speed that large networks reach."""


@dataclass(frozen=True)
class Estimate:
    """Network forwards of single samples, by purpose.

    hours: of one A100; None if the suite does not say for every model how many operations a forward takes.
    """

    sampling: int
    truth: int
    training: int
    hours: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, JSON-like."""
        return asdict(self)


def estimate(cells: Iterable[Cell], retrain: bool = False) -> Estimate:
    """Return what the cells that are not skipped are expected to cost, each ground truth and training counted once.

    Solvers that the package has cost no training, unless ``retrain`` asks for it.
    """
    wanted = [cell for cell in cells if cell.skip is None]
    made = [cell for cell in wanted if cell.needs_training(retrain)]
    trained, tuned = ([cell for cell in made if cell.kind == kind] for kind in ("trained", "tuned"))
    truths, searched = ({cell.field_digest: cell for cell in cells} for cells in (wanted, tuned))
    forecasts = [(cell, _training(cell)) for cell in trained]
    # Trainings of one field learn from the same truth: that of the one which needs most counts.
    taught = {cell.field_digest: (cell, found.truth) for cell, found in sorted(forecasts, key=lambda each: each[1].truth)}
    purposes = {
        "sampling": [(cell, cell.nfe * cell.samples) for cell in wanted],
        "truth": [(cell, TRUTH_EVALUATIONS * cell.samples) for cell in truths.values()],
        "training": [
            *taught.values(),
            *((cell, found.total - found.truth) for cell, found in forecasts),
            *((cell, TRUTH_EVALUATIONS * 2 * TUNING_PAIRS) for cell in searched.values()),
            *((cell, TUNING_RUNS * cell.nfe) for cell in tuned),
        ],
    }
    forwards = {
        purpose: sum(count * cell.forwards_per_evaluation for cell, count in work) for purpose, work in purposes.items()
    }
    known = bool(wanted) and all(cell.gflops for cell in wanted)
    hours = sum(_hours(cell, count) for work in purposes.values() for cell, count in work) if known else None
    return Estimate(**forwards, hours=hours)


def _training(cell: Cell) -> Forecast:
    family = cell.solver.name.partition("[")[0]
    return forecast(task_of(family, cell.nfe, cell.solver.parameters))


def _hours(cell: Cell, evaluations: int) -> float:
    operations = 1e9 * (cell.gflops or 0.0) * cell.forwards_per_evaluation * evaluations
    return operations / (1e12 * UTILISATION * PEAK_TFLOPS[cell.dtype or "float32"]) / 3600
