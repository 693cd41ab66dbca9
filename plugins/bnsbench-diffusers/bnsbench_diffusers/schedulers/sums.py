"""The weighted sums that a table's steps are, over all that has been seen, in memory that is allocated once."""

from __future__ import annotations

import torch
from torch import Tensor


class Sums:
    """Sums rows[i] . (x_0, f_0, ..., f_i) of the first state and the outputs so far, of which each comes with its step.

    A step copies its output into the history and makes one matrix product; coefficients, history and what the steps look at
    of them stay in their place from one run to the next. They wait for no device.

    Args:
        rows: Coefficients [n, n + 1] in float64 on the CPU.
        like: States of the runs: their device, their size and, from float32 up, their precision are those of the sums.
    """

    def __init__(self, rows: Tensor, like: Tensor) -> None:
        self._kind = _kind(like)
        size, device, precision = self._kind
        placed = rows.to(device, precision)
        history = torch.empty(len(rows) + 1, size, dtype=precision, device=device)
        self._first = history[0]
        self._steps = [(history[i + 1], history[: i + 2].T, placed[i, : i + 2]) for i in range(len(rows))]

    def serve(self, like: Tensor) -> bool:
        """Return whether states are of the kind for which the sums were made."""
        return self._kind == _kind(like)

    def begin(self, state: Tensor) -> None:
        """Take the first state of a run."""
        self._first.copy_(state.reshape(-1))

    def add(self, i: int, output: Tensor) -> Tensor:
        """Return the state [numbers] after step i for its output, which the later steps will see as well."""
        place, seen, weights = self._steps[i]
        place.copy_(output.reshape(-1))
        # With a place for its result, the product is out of reach of an autocast that is meant for the network.
        return torch.mv(seen, weights, out=torch.empty_like(place))


def _kind(like: Tensor) -> tuple[int, torch.device, torch.dtype]:
    return like.numel(), like.device, torch.promote_types(like.dtype, torch.float32)
