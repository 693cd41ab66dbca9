from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from bnsbench.models.copying import mean_nearest, nearest_ratio


def images(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))


def test_distance_is_that_of_a_search_tree():
    some, others = images(120, 0), images(300, 1)
    tree = NearestNeighbors(n_neighbors=1, algorithm="kd_tree").fit(others.flatten(1).numpy())
    expected = tree.kneighbors(some.flatten(1).numpy())[0].mean()
    assert mean_nearest(some, others) == pytest.approx(expected, rel=1e-5)


def test_ratio_is_zero_for_copies_and_one_for_what_is_held_out():
    training, held = images(200, 0), images(70, 1)
    assert nearest_ratio(training[:60], training, held) == pytest.approx(0, abs=1e-3)
    assert nearest_ratio(held, training, held) == 1
    assert nearest_ratio(images(70, 2), training, held) == pytest.approx(1, abs=0.1)
    assert nearest_ratio(held + 1, training, held) > 1
