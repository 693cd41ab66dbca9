"""The floor under errors: how far it is lowered, and of what it is a share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bnsbench.training.floor import BEGIN, DECAY, floor_under, share_at


@pytest.mark.parametrize("last", [0.0, 0.03, 0.5, 2.0])
def test_the_share_falls_by_the_same_factor_from_step_to_step_until_it_is_the_least(last: float) -> None:
    shares = [share_at(iteration, last) for iteration in range(40)]
    assert shares == pytest.approx([max(last, BEGIN * math.exp(k * math.log(DECAY))) for k in range(40)], rel=1e-12)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(last, abs=1e-19)
    assert shares[0] == max(1.0, last)


def drawn(count: int, scale: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.rand(count, generator=generator, dtype=torch.float64).exp()


@pytest.mark.parametrize("count", [1, 7, 31])
def test_it_is_a_share_of_the_median_error(count: int) -> None:
    errors = drawn(count, 1e-4, 0)
    assert floor_under(0.03, errors) == pytest.approx(0.03 * float(np.median(errors.numpy())), rel=1e-12)
    assert floor_under(0.0, errors) == 0.0


def test_an_outlier_leaves_it_where_it_is() -> None:
    errors = drawn(9, 1.0, 1)
    spoilt = errors.clone()
    spoilt[errors.argmax()] = torch.inf
    assert floor_under(0.5, spoilt) == floor_under(0.5, errors)


def test_several_tables_share_the_least_of_theirs_in_any_order() -> None:
    tables = [drawn(5, scale, 2) for scale in (1.0, 1e-6, 1e3)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        assert floor_under(0.3, *(tables[k] for k in order)) == floor_under(0.3, tables[1])


def test_broken_tables_have_none_and_do_not_raise_that_of_others() -> None:
    broken = torch.full((5,), torch.inf, dtype=torch.float64)
    assert floor_under(0.3, broken) == 0.0
    assert floor_under(0.3, torch.full((5,), torch.nan)) == 0.0
    errors = drawn(5, 1.0, 3)
    assert floor_under(0.3, broken, errors) == floor_under(0.3, errors)


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_it_falls_with_the_errors(scale: float) -> None:
    errors = drawn(11, 1.0, 4)
    assert floor_under(0.2, scale * errors) == pytest.approx(scale * floor_under(0.2, errors), rel=1e-12)
