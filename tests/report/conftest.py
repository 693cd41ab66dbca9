from __future__ import annotations

import numpy as np
import pytest

from bnsbench.contract import PluginHost
from bnsbench.suite.plan import make_plan
from bnsbench.suite.record import Record, Score
from bnsbench.suite.suitefile import Suite


@pytest.fixture
def make_records():
    """Return records with chosen PSNRs: (solver, NFE) -> (mean, spread) in dB; None for a failed cell."""

    def make(values, models=("ring8",), seed=0, samples=200):
        solvers = list(dict.fromkeys(solver for solver, _ in values))
        nfe = sorted({n for _, n in values})
        content = {"name": "made", "nfe": nfe, "solvers": solvers, "models": list(models), "samples": samples, "seed": seed}
        cells = make_plan(Suite.parse(content, "here"), PluginHost.load())
        return [
            _record(cell, values[cell.solver.name, cell.nfe]) for cell in cells if (cell.solver.name, cell.nfe) in values
        ]

    return make


def _record(cell, value):
    if value is None:
        return Record(cell.key, cell.content, "skipped" if cell.skip else "failed", cell.skip or "it broke")
    mean, spread = value
    common = np.random.default_rng(0).standard_normal(cell.samples)
    own = np.random.default_rng(sum(cell.solver.name.encode())).standard_normal(cell.samples)
    # Solvers share most of a sample's difficulty: that is why they are compared sample by sample.
    numbers = mean + 5.0 * (common - common.mean()) + spread * (own - own.mean())
    score = Score("1", "higher", "dB", mean, mean - 0.7, mean + 0.7, details={"median": mean, "p05": mean - 8})
    return Record(
        cell.key,
        cell.content,
        "ok",
        metrics={"psnr": score, "fid": Score("1", "lower", value=100 / mean)},
        nfe=cell.nfe,
        forwards=cell.nfe,
        train_forwards=1000 if cell.trained else 0,
        seconds={"sampling": 1e-4, "total": 0.25},
        truth={"ceiling": 90.0},
        model={"dtype": "float64"},
        per_sample={"psnr": tuple(round(float(number), 3) for number in numbers)},
    )
