"""Gauss-Newton through a feature extractor that takes few samples at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bnsbench.process.parts import DoesNotFitError
from bnsbench.training.objectives import make_objective
from bnsbench.training.optimisers.forward_derivatives import Derivative
from bnsbench.training.optimisers.gauss_newton import GaussNewton, Iterate
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.problem import Cost
from bnsbench.truth.pairs import Pairs
from tests.training.toys import bend, free, plane_source, smooth_features

PHI, FAMILY = smooth_features(), free()


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return plane_source(bend, tolerance=1e-6).pairs("train", 12)


@pytest.fixture(scope="module")
def iterate(pairs: Pairs) -> Iterate:
    table = FAMILY.table(FAMILY.start())
    return Iterate(FAMILY.start(), table, run(table, pairs.field, pairs.x0), torch.full((len(pairs),), torch.nan), 0.0)


@pytest.mark.parametrize(("values", "gradients", "told"), [(99, 5, [3]), (4, 99, [3]), (99, 1, [1])])
@pytest.mark.parametrize("derivative", ["backward", "forward"])
def test_features_are_taken_in_parts_that_fit_into_memory(
    pairs: Pairs, iterate: Iterate, derivative: Derivative, values: int, gradients: int, told: list[int]
) -> None:
    """Twelve samples at first, halved until they fit: a graph of their features takes more than the features themselves."""
    heard = list[str]()

    def cramped(x: Tensor) -> Tensor:
        if len(x) > (gradients if x.requires_grad else values):
            raise torch.OutOfMemoryError
        return PHI(x)

    systems = [
        GaussNewton(FAMILY, make_objective("log-features", phi, heard.append), pairs, Cost(), derivative=derivative)
        for phi in (PHI, cramped)
    ]
    whole, parts = (descent.system(iterate, 1) for descent in systems)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-14)
    assert [int(text.split(" at a time")[0].split()[-1]) for text in heard] == told
    assert all("do not fit into memory when the feature extractor is" in text for text in heard)


def test_an_extractor_that_takes_no_sample_is_told_with_what_to_do(pairs: Pairs, iterate: Iterate) -> None:
    def full(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError

    descent = GaussNewton(FAMILY, make_objective("features", full), pairs, Cost())
    with pytest.raises(DoesNotFitError, match=r"Not even one sample .* the feature extractor is .* objective=log-mse"):
        descent.system(iterate, 1)
