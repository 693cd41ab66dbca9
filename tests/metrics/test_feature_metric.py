"""Dealing out real images to say what perfect samples would score."""

from __future__ import annotations

import pytest
import torch

from bnsbench.metrics.feature_metric import deal

FEATURES = torch.arange(12, dtype=torch.float64)[:, None]
LABELS = torch.arange(12) % 3


@pytest.mark.parametrize(("asked", "drawn"), [(4, 4), (6, 6), (7, 6), (100, 6)])
@pytest.mark.parametrize("labels", [None, LABELS])
def test_at_most_half_are_drawn_and_the_others_left(asked, drawn, labels):
    some, others = deal(FEATURES, labels, asked)
    assert (len(some), len(others)) == (drawn, 12 - drawn)
    assert torch.cat([some, others]).flatten().sort().values.tolist() == FEATURES.flatten().tolist()


def test_classes_are_drawn_evenly():
    some, _ = deal(FEATURES, LABELS, 6)
    assert torch.bincount(some.flatten().long() % 3).tolist() == [2, 2, 2]
