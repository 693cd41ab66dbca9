from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from bnsbench.storage.plain_data import as_plain_data
from bnsbench.storage.shelf import Shelf, Shelved

ROWS = [(1.5, -0.0, 5e-324), tuple(np.random.default_rng(0).standard_normal(1000).tolist()), (1e308,)]


@pytest.fixture
def kept():
    shelf = Shelf(most=0)
    return [shelf.keep(row) for row in ROWS]


def test_rows_come_back_bit_by_bit_in_any_order(kept):
    for k in (2, 0, 1, 0):
        assert isinstance(kept[k], Shelved)
        assert np.asarray(kept[k]).tobytes() == np.array(ROWS[k]).tobytes()
        assert np.array(list(kept[k])).tobytes() == np.array(ROWS[k]).tobytes()


def test_a_row_behaves_as_a_tuple(kept):
    row, values = kept[1], ROWS[1]
    assert (len(row), row[3], row[-1], list(row[2:5])) == (1000, values[3], values[-1], list(values[2:5]))
    assert row == values
    assert row != values[1:]
    assert values[7] in row
    assert as_plain_data({"psnr": row}) == {"psnr": list(values)}
    assert copy.deepcopy(row) == values
    assert pickle.loads(pickle.dumps(row)) == values  # noqa: S301 (what this test has written)
    assert np.asarray(row, dtype=np.float32).dtype == np.float32


def test_the_first_rows_stay_in_memory():
    shelf = Shelf(most=1002)
    found = [shelf.keep(row) for row in ROWS]
    assert [isinstance(row, Shelved) for row in found] == [False, True, False]
    assert found[0] is ROWS[0]


def test_a_row_with_gaps_stays_in_memory():
    row = (1.0, None, 2.0)
    assert Shelf(most=0).keep(row) is row  # type: ignore[arg-type]


def test_rows_stay_in_memory_where_no_file_can_be_written(monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert Shelf(most=0).keep(ROWS[1]) is ROWS[1]
