from __future__ import annotations

import pytest
import torch

from bnsbench.models.digits import figures as module
from bnsbench.models.digits.data import split_digits
from bnsbench.models.digits.figures import measure_generator
from bnsbench.models.digits.recipes import RECIPES


@pytest.mark.parametrize(("part", "ratio"), [(0, 0.0), (1, 1.0)], ids=["copies", "held out"])
def test_copies_of_training_images_are_told_from_images_that_were_held_out(monkeypatch, part, ratio):
    _, held = split_digits()
    shown = split_digits()[part].images[: len(held.images)]
    monkeypatch.setattr(module, "SAMPLES", len(shown))
    monkeypatch.setattr(module, "solve", lambda field, x0, tolerance: (shown.to(torch.float32), 0))
    figures = measure_generator("ot")
    assert figures["nearest_ratio"] == pytest.approx(ratio, abs=2e-3)
    assert RECIPES["digits-ot"].gates.keys() <= figures.keys()
