"""Tensors that come in parts: put together without holding everything twice, as `torch.cat` does.

Nor are small parts kept between large temporary tensors, which makes the C library's heap grow with every part.
"""

from __future__ import annotations

import torch
from torch import Tensor

HELD_NUMBERS = 2**29
"""The largest tensor that is held in memory besides what is made of it: 2 GB in float32."""


class Rows:
    """So many rows, which come one part after the other.

    Args:
        count: The number of rows in all; what comes beyond them is left out.
        device: Where they are to lie; where the first part lies if None.
    """

    def __init__(self, count: int, device: str | None = None) -> None:
        self.count, self._device = count, device
        self._found: Tensor | None = None
        self._filled = 0

    def add(self, part: Tensor) -> None:
        """Take the next rows [n, ...], which are copied; of another dtype than those before, the wider of both is kept."""
        if self._found is None:
            self._found = torch.empty((self.count, *part.shape[1:]), dtype=part.dtype, device=self._device or part.device)
        wider = torch.promote_types(self._found.dtype, part.dtype)
        if wider != self._found.dtype:
            self._found = self._found.to(wider)
        end = min(self._filled + len(part), self.count)
        self._found[self._filled : end] = part[: end - self._filled]
        self._filled = end

    def whole(self) -> Tensor:
        """Return all rows [count, ...].

        Raises:
            ValueError: Some of them have not come.
        """
        if self._found is None or self._filled < self.count:
            raise ValueError(f"{self._filled} of {self.count} rows have come")
        return self._found
