from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from bnsbench.training.moments import FrechetDistance


def features(count: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) @ mixing + seed


@pytest.mark.parametrize(("count", "width"), [(200, 6), (7, 3), (50, 1)])
def test_it_is_torch_fidelity_s_distance(count: int, width: int) -> None:
    one, other = features(count, width, 0), features(count + 5, width, 1)
    statistics = [fid_features_to_statistics(each) for each in (one, other)]
    statistics = [
        {name: value.reshape((width,) * (1 + (name == "sigma"))) for name, value in each.items()} for each in statistics
    ]
    expected = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
    assert float(FrechetDistance(other)(one)) == pytest.approx(float(expected), rel=1e-6)


def test_in_one_feature_it_is_that_of_means_and_deviations() -> None:
    one, other = features(40, 1, 2), features(30, 1, 3)
    expected = (one.mean() - other.mean()) ** 2 + (one.std() - other.std()) ** 2
    assert float(FrechetDistance(other)(one)) == pytest.approx(float(expected))


def test_equal_features_and_moved_ones() -> None:
    given = features(20, 4, 0)
    distance = FrechetDistance(given)
    assert float(distance(given.flip(0))) == pytest.approx(0.0, abs=1e-9)
    assert float(distance(given + torch.tensor([3.0, 4.0, 0.0, 0.0]))) == pytest.approx(25.0)


@pytest.mark.parametrize("count", [30, 4], ids=["full rank", "fewer samples than features"])
def test_its_gradient_is_that_of_differences(count: int) -> None:
    given = features(count, 5, 4).requires_grad_()
    distance = FrechetDistance(features(30, 5, 5))
    (gradient,) = torch.autograd.grad(distance(given), given)
    direction, step = features(count, 5, 6), 1e-6
    with torch.no_grad():
        difference = (distance(given + step * direction) - distance(given - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(difference), rel=1e-5)
    assert math.isfinite(float(gradient.norm()))
