from __future__ import annotations

from typing import get_args

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP, Path, Preconditioned
from bnsbench.flows.predictions import (
    Prediction,
    check_prediction,
    singularity,
    to_data,
    to_noise,
    to_velocity,
    velocity_coefficients,
)

PATHS = [CondOT(), Cosine(), VP(), DiscreteVP.linear(), EDM()]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
@pytest.mark.parametrize("prediction", get_args(Prediction))
@pytest.mark.parametrize("per_sample", [False, True])
def test_each_prediction_of_a_known_pair_gives_its_velocity(path: Path, prediction: Prediction, per_sample: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    noise, data = torch.randn(2, 6, 3, 2, generator=generator, dtype=torch.float64)
    t = torch.linspace(0.1, 0.95, 6, dtype=torch.float64) if per_sample else torch.tensor(0.37, dtype=torch.float64)
    a, s, da, ds = (f(t).reshape(-1, 1, 1) for f in (path.alpha, path.sigma, path.d_alpha, path.d_sigma))
    x, u = s * noise + a * data, ds * noise + da * data
    told = {"velocity": u, "epsilon": noise, "x": data, "v": a * noise - s * data}[prediction]
    torch.testing.assert_close(to_velocity(path, prediction, t, x, told), u, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(to_data(path, t, x, u), data, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(to_noise(path, t, x, u), noise, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_data_and_noise_are_finite_at_both_ends(path: Path, end: float) -> None:
    x, u = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.isfinite(to_data(path, end, x, u)).all()
    assert torch.isfinite(to_noise(path, end, x, u)).all()


def test_the_state_s_precision_is_kept() -> None:
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert to_velocity(CondOT(), "epsilon", torch.tensor(0.5), x, x).dtype == torch.float32


SINGULAR: list[tuple[Path, Prediction, float, str | None]] = [
    (CondOT(), "epsilon", 0.0, "alpha is 0 there"),
    (Cosine(), "epsilon", 0.0, "alpha is 0 there"),
    (Preconditioned(CondOT(), 2.0), "epsilon", 0.0, "alpha is 0 there"),
    (CondOT(), "x", 1.0, "sigma is 0 there"),
    (EDM(0.0), "x", 1.0, "sigma is 0 there"),
    (VP(), "x", 1.0, "sigma is 0 there"),
    (VP(), "epsilon", 1.0, "slope of sigma is infinite there, and a prediction of epsilon"),
    (VP(4.0, 4.0), "v", 1.0, "slope of sigma is infinite there, and a prediction of v"),
    (Preconditioned(VP(), 2.0), "epsilon", 1.0, "slope of sigma"),
    (VP(), "epsilon", 0.0, None),
    (VP(), "epsilon", 1 - 1e-3, None),
    (VP(), "velocity", 1.0, None),
    (CondOT(), "epsilon", 1.0, None),
    (CondOT(), "x", 0.0, None),
    (CondOT(), "v", 1.0, None),
    (Cosine(), "v", 0.0, None),
    (Cosine(), "v", 1.0, None),
    (EDM(), "x", 1.0, None),
    (EDM(0.0), "epsilon", 1.0, None),
    (VE(), "epsilon", 0.0, None),
    (DiscreteVP.linear(), "epsilon", 1.0, None),
]


@pytest.mark.parametrize(("path", "prediction", "t", "reason"), SINGULAR, ids=lambda value: getattr(value, "name", value))
def test_a_prediction_is_singular_just_where_its_coefficients_are(
    path: Path, prediction: Prediction, t: float, reason: str | None
) -> None:
    found = singularity(path, prediction, t)
    # Where sigma's slope is infinite, a large number stands for it.
    largest = max(abs(float(coefficient)) for coefficient in velocity_coefficients(path, prediction, t))
    finite = largest < 1e8
    assert (found is None) == finite
    assert found is None if reason is None else reason in str(found)


def test_unknown_predictions_are_refused() -> None:
    check_prediction("epsilon")
    with pytest.raises(UsageError, match="no prediction type 'score'"):
        check_prediction("score")
