from __future__ import annotations

import pytest

from bnsbench.models.digits.data import split_digits
from bnsbench.models.digits.figures import nearest_ratio


def test_nearest_ratio_is_zero_for_copies_and_one_for_held_out_digits():
    kept, held = split_digits()
    assert nearest_ratio(kept.images[:50]) == pytest.approx(0, abs=1e-3)
    assert nearest_ratio(held.images) == pytest.approx(1)
