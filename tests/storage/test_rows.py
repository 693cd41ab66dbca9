"""Rows that come in parts are those that `torch.cat` gives."""

from __future__ import annotations

import pytest
import torch

from bnsbench.storage.rows import Rows


@pytest.mark.parametrize("count", [7, 5, 3])
def test_rows_are_those_of_cat_and_what_is_too_much_is_left_out(count: int) -> None:
    parts = [torch.randn(size, 2, 3) for size in (3, 0, 3, 1)]
    rows = Rows(count)
    for part in parts:
        rows.add(part)
    assert torch.equal(rows.whole(), torch.cat(parts)[:count])
    assert rows.whole().is_contiguous()


def test_rows_are_copied_and_the_wider_type_is_kept() -> None:
    first, second = torch.ones(2, 1), torch.full((1, 1), 1 / 3, dtype=torch.float64)
    rows = Rows(3, "cpu")
    rows.add(first)
    first.zero_()
    rows.add(second)
    assert torch.equal(rows.whole(), torch.tensor([[1.0], [1.0], [1 / 3]], dtype=torch.float64))


def test_missing_rows_are_noticed() -> None:
    rows = Rows(3)
    with pytest.raises(ValueError, match="0 of 3 rows"):
        rows.whole()
    rows.add(torch.zeros(2))
    with pytest.raises(ValueError, match="2 of 3 rows"):
        rows.whole()
