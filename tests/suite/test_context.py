"""What a process keeps between cells, and how it decodes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.errors import BnsbenchError
from bnsbench.suite.context import checked_model, decode
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


@pytest.mark.parametrize(
    "fact",
    [
        *({"shape": shape} for shape in ("2", (), (0,), (1.5,))),
        *({"interval": interval} for interval in ((1.0, 0.0), (0.0, 0.5, 1.0), (0.0, math.nan), ("0", "1"))),
        *({"data_range": data_range} for data_range in (0, -1.0, math.inf, "2")),
        *({"dtype": dtype} for dtype in (torch.int64, "float32", None)),
        *({"sample_rate": rate} for rate in (0, -1, "fast")),
        {"path": None},
    ],
)
def test_what_no_model_can_be_is_told(fact: dict[str, Any]) -> None:
    model = GaussianModel()
    assert checked_model(model) is model
    for name, value in fact.items():
        setattr(model, name, value)
    with pytest.raises(BnsbenchError, match=r"^it (has|returned)"):
        checked_model(model)


@pytest.mark.parametrize("decoded", [None, "x", lambda x: x[:-1], lambda x: x.long(), lambda x: x.sum(), lambda x: [x]])
def test_what_are_no_decoded_samples_is_told(decoded: Any) -> None:
    model: Any = GaussianModel()
    model.decode = decoded if callable(decoded) else lambda x: decoded
    with pytest.raises(BnsbenchError, match=r"^it returned .*decoded samples"):
        decode(model, torch.zeros(4, 3), 4)
