"""A table told on another path: the same solver for the same model, whose trajectories are seen in another time and scale.

The family of non-stationary solvers is closed under changes of scale and time (Shaul et al. 2024, Section 3.3), so that a
field has one best table whatever path it is told on. Training chooses its numbers on the path `CANONICAL`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.flows.paths import CANONICAL, Path
from bnsbench.flows.scale_time import scale_time, time_at
from bnsbench.nonstationary.table import NonStationarySolver, canonical


def on_path(table: NonStationarySolver, path: Path, new: Path, ends: Tensor | None = None) -> NonStationarySolver:
    """Return the table whose states are s_r times those of ``table``, for the field on ``path`` seen on ``new``.

    With x_bar = s x and u_bar = g x_bar + h u (`bnsbench.flows.scale_time`), every u_j of the table becomes
    (u_bar_j - g_j x_bar_j) / h_j, and so does either answer of a guided network. Differentiable in the table's numbers; its
    two ends stay constants, since log-SNR may be infinite there.

    Args:
        table: For fields on ``path``, on any interval.
        path: The path on which it is told.
        new: The other one.
        ends: [2], the first and the last time there, where they are known better than to rounding.
    """
    if path == new:
        return table
    # Where the times lie on the new path, and the change's derivatives there.
    with torch.no_grad():
        ends = new.time(path.log_snr(table.times[[0, -1]])) if ends is None else ends
    times = torch.cat([ends[:1], time_at(new, path.log_snr(table.times[1:-1])), ends[1:]])
    with torch.no_grad():
        first, last = (scale_time(path, new, r) for r in ends.unbind())
    _, scale, d_time, slope = scale_time(path, new, times[1:-1])
    at_start, after = first[1], torch.cat([scale, last[1][None]])  # s_0; s_1 .. s_n
    g = torch.cat([first[3][None], slope])
    h = torch.cat([(first[1] * first[2])[None], scale * d_time])
    # x_bar_{i+1} = s_{i+1} (a_i x_bar_0 / s_0 + sum_j b_ij (u_bar_j - g_j x_bar_j) / h_j), summed over both answers as well
    # where the columns are split.
    d = after[:, None] * table.rows[:, 1:] / h.repeat_interleave(table.columns)
    of_states = d.view(table.nfe, table.nfe, table.columns).sum(2) * g
    from_noise = torch.cat([(after * table.a / at_start)[:, None], torch.zeros_like(of_states[:, 1:])], dim=1)
    a, weights = canonical(from_noise - of_states, d)
    return NonStationarySolver.from_rows(times, torch.cat([a[:, None], weights], dim=1), table.guidance)


def canonical_times(times: Tensor, path: Path) -> Tensor:
    """Return times of ``path`` as those of equal log-SNR on the canonical path."""
    return times if path == CANONICAL else CANONICAL.time(path.log_snr(times))


def from_canonical_times(times: Tensor, path: Path, interval: tuple[float, float]) -> Tensor:
    """Return canonical times [n + 1] as those of equal log-SNR on ``path``, from one end of its interval to the other."""
    if path == CANONICAL:
        return times
    told = path.time(CANONICAL.log_snr(times)).clamp(*interval)
    told[0], told[-1] = interval
    return told
