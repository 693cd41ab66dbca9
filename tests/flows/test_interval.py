"""Which ends of a path a field is sampled to."""

from __future__ import annotations

from typing import Any

import pytest

from bnsbench.flows.interval import stands_still, usual_interval
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP, Path
from bnsbench.flows.predictions import singularity
from bnsbench.flows.sampled_path import as_path

SMOOTH = as_path((lambda t: 3 * t**2 - 2 * t**3, lambda t: 1 - 3 * t**2 + 2 * t**3))
SQUARE = as_path((lambda t: t**2, lambda t: 1 - t**2))
LINEAR_VP = as_path((lambda t: t, lambda t: (1 - t**2).sqrt()))


@pytest.mark.parametrize("path", [CondOT(), Cosine(), DiscreteVP.linear(), EDM(), VE()], ids=lambda path: path.name)
def test_most_paths_are_sampled_from_end_to_end(path: Path) -> None:
    assert usual_interval(path) == (0.0, 1.0)
    assert not stands_still(path, 0.0)
    assert not stands_still(path, 1.0)


@pytest.mark.parametrize(
    ("path", "begin", "end"),
    [
        (VP(), 0.0, 0.999),
        # alpha / sigma = 1e-4, and 1e4, in closed form
        (SQUARE, 1e-2, 1.0),
        (SMOOTH, 5.784e-3, 1 - 5.784e-3),
        # sigma of VP at 0.999 is 0.01049: t = sqrt(1 - sigma^2)
        (LINEAR_VP, 0.0, 0.999945),
    ],
)
def test_other_ends_are_left_out(path: Any, begin: float, end: float) -> None:
    assert usual_interval(path) == pytest.approx((begin, end), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("prediction", ["velocity", "x", "epsilon", "v"])
def test_a_path_that_stands_still_has_no_prediction_there(prediction: Any) -> None:
    assert "stand still" in str(singularity(SQUARE, prediction, 0.0))
    assert singularity(SQUARE, prediction, 0.01) is None
