"""Roots of increasing cubics against NumPy's, and the times of interpolated paths, which rest on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bnsbench.flows.cubics import root_in_unit
from bnsbench.flows.paths import DiscreteVP, Path
from bnsbench.flows.sampled_path import Sampled


def test_roots_are_those_of_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    roots = torch.rand(200, generator=generator, dtype=torch.float64)
    roots[:4] = torch.tensor([0.0, 1.0, 1e-12, 1 - 1e-12], dtype=torch.float64)
    # (u - r) (p u^2 + q) with p, q > 0 increases with a single real root.
    p, q = torch.rand(2, 200, generator=generator, dtype=torch.float64) + torch.tensor([[0.0], [0.3]])
    cubic = torch.stack([p, -p * roots, q, -q * roots])
    found = root_in_unit(cubic)
    torch.testing.assert_close(found, roots, rtol=0, atol=1e-15)
    for column, root in zip(cubic[:, 4:20].T.tolist(), found[4:20].tolist(), strict=True):
        real = [each.real for each in np.roots(column) if abs(each.imag) < 1e-9]
        assert min(abs(each - root) for each in real) < 1e-9


def test_a_root_with_a_flat_slope_is_found() -> None:
    thousandth = torch.tensor([[0.0], [1.0], [0.0], [-1e-12]], dtype=torch.float64)  # u^2 = 1e-12
    assert float(root_in_unit(thousandth)) == pytest.approx(1e-6, rel=1e-9)


POLYNOMIAL = Sampled.of(lambda t: t**3, lambda t: 1 - t**3)
ROOT = Sampled.of(lambda t: t, lambda t: (1 - t**2).sqrt())


@pytest.mark.parametrize("path", [DiscreteVP.linear(), DiscreteVP.linear(timesteps=2), POLYNOMIAL, ROOT])
def test_the_time_of_a_noise_level_is_that_time(path: Path) -> None:
    t = torch.linspace(1e-3, 1 - 1e-3, 1999, dtype=torch.float64).reshape(1999, 1)
    torch.testing.assert_close(path.time(path.log_snr(t)), t, rtol=0, atol=1e-12)
    beyond = path.time(torch.tensor([-math.inf, -299.0, 299.0, math.inf], dtype=torch.float64))
    assert beyond[[0, 3]].tolist() == [0.0, 1.0]
    assert bool((beyond.diff() >= 0).all())
    assert float(path.time(0.5)) == pytest.approx(float(path.time(torch.tensor([0.5]))[0]), abs=1e-15)


def test_timesteps_of_a_schedule_are_met_exactly() -> None:
    path = DiscreteVP.linear()
    nodes = torch.arange(1000, dtype=torch.float64) / 999
    torch.testing.assert_close(path.time(path.log_snr(nodes)), nodes, rtol=0, atol=1e-15)
