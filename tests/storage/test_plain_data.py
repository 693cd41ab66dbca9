from __future__ import annotations

import numpy as np

from bnsbench.storage.plain_data import as_plain_data


def test_plain_data():
    assert as_plain_data({"a": (np.float64(1.5), np.int64(2), float("nan")), 3: None}) == {"a": [1.5, 2, None], "3": None}
