from __future__ import annotations

import torch

from bnsbench.flows.paths import VP, CondOT
from bnsbench.training.starts import START_GRIDS, start_grids


def test_start_grids_span_the_interval_with_increasing_times() -> None:
    for path, end in ((CondOT(), 1.0), (VP(), 0.999)):
        grids = start_grids(path, (0.0, end), 5)
        assert tuple(grids) == START_GRIDS
        for times in grids.values():
            assert (times[0], times[-1], len(times)) == (0.0, end, 6)
            assert (times.diff() > 0).all()
    uniform = torch.linspace(0, 0.999, 6, dtype=torch.float64)
    torch.testing.assert_close(start_grids(VP(), (0.0, 0.999), 5)["uniform"], uniform)
