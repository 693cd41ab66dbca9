from __future__ import annotations

from dataclasses import replace

import pytest

from bnsbench.truth.pairs import PairSource
from tests.training.toys import SOURCE


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    """The pairs of SOURCE, solved once."""
    return replace(SOURCE, cache=tmp_path_factory.mktemp("pairs"))
