from __future__ import annotations

from typing import get_args

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.paths import EDM, VP, CondOT, Cosine, DiscreteVP, Path
from bnsbench.flows.predictions import Prediction, check_prediction, to_data, to_noise, to_velocity

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


def test_unknown_predictions_are_refused() -> None:
    check_prediction("epsilon")
    with pytest.raises(UsageError, match="no prediction type 'score'"):
        check_prediction("score")
