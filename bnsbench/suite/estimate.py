"""The expected cost of a plan: network forwards by purpose, and hours of a GPU where a suite says what a forward takes.

The estimate uses what the embedded models cost in the committed results; records hold what was really spent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bnsbench.suite.plan import Cell

TRUTH_EVALUATIONS = 160
"""Evaluations of a ground truth: 107 to 218 on the embedded models; 160 to 320 in Shaul et al. 2024."""
TEACHER_EVALUATIONS = 48
"""Evaluations of a training's truth: 24 to 96 of a long table, or those of the adaptive rule for accurate solvers."""
TRAINING_PASSES = 60
"""Times that a training goes through its pairs with n evaluations each, validation included: 45 (n = 4) to 70 (n = 8)."""
PAIRS, VALIDATION_PAIRS = 256, 64
"""Training pairs if the solver does not say, as most trainings come to, and those to validate on."""

TUNING_RUNS = 600
"""Samples that the search for a time grid takes from noise to data: 400 for one rule, 800 for all."""
TUNING_PAIRS = 8

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


def estimate(cells: Iterable[Cell]) -> Estimate:
    """Return what the cells that are not skipped are expected to cost, each ground truth and training counted once."""
    wanted = [cell for cell in cells if cell.skip is None]
    trained, tuned = ([cell for cell in wanted if cell.kind == kind] for kind in ("trained", "tuned"))
    truths, taught, searched = ({cell.field_digest: cell for cell in cells} for cells in (wanted, trained, tuned))
    purposes = {
        "sampling": [(cell, cell.nfe * cell.samples) for cell in wanted],
        "truth": [(cell, TRUTH_EVALUATIONS * cell.samples) for cell in truths.values()],
        "training": [
            *((cell, TEACHER_EVALUATIONS * (_pairs(cell) + VALIDATION_PAIRS)) for cell in taught.values()),
            *((cell, TRAINING_PASSES * cell.nfe * _pairs(cell)) for cell in trained),
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


def _pairs(cell: Cell) -> int:
    return int(cell.solver.parameters.get("pairs", 0)) or PAIRS


def _hours(cell: Cell, evaluations: int) -> float:
    operations = 1e9 * (cell.gflops or 0.0) * cell.forwards_per_evaluation * evaluations
    return operations / (1e12 * UTILISATION * PEAK_TFLOPS[cell.dtype or "float32"]) / 3600
