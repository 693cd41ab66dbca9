"""What a process keeps between cells, and how it decodes."""

from __future__ import annotations

import torch
from torch import Tensor

from bnsbench.suite.context import decode
from tests.flows.toy import GaussianModel


class Decoding(GaussianModel):
    """A model that decodes three samples at once and no more."""

    def decode(self, x: Tensor) -> Tensor:
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return 2 * x


def test_samples_are_decoded_in_parts_that_fit() -> None:
    x = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    for batch in (1, 2, 8, 100):
        assert torch.equal(decode(Decoding(), x, batch), 2 * x)
