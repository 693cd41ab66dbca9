from __future__ import annotations

from typing import get_args

import pytest
import torch

from bnsbench.errors import NotApplicableError
from bnsbench.flows.model import Model
from bnsbench.flows.paths import VP, CondOT
from bnsbench.flows.predictions import Prediction
from tests.flows.toy import GaussianModel


@pytest.mark.parametrize("prediction", get_args(Prediction))
@pytest.mark.parametrize("guidance", [0.0, 2.0, 6.5, -0.5])
def test_guidance_combines_velocities_whatever_is_predicted(prediction: Prediction, guidance: float) -> None:
    model, exact = GaussianModel(VP(), prediction), GaussianModel(VP())
    labels = torch.tensor([0, 1, 2, 1])
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor(0.6, dtype=torch.float64)
    conditional, unconditional = exact.predict(t, x, labels), exact.predict(t, x, torch.full_like(labels, -1))
    expected = (1 + guidance) * conditional - guidance * unconditional
    torch.testing.assert_close(model.field(labels, guidance)(t, x), expected, rtol=1e-9, atol=1e-9)


def test_a_guided_evaluation_is_one_call_of_twice_the_size_with_times_per_sample() -> None:
    model = GaussianModel()
    field = model.field(torch.tensor([0, 1]), 2.0)
    field(torch.tensor([0.2, 0.7], dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64))
    assert model.calls == [4]
    assert field.forwards_per_evaluation == 2
    assert model.field(torch.tensor([0]), 0.0).forwards_per_evaluation == 1


def test_a_part_keeps_its_samples_conditions() -> None:
    model = GaussianModel()
    labels = torch.tensor([0, 1, 2, 2])
    field = model.field(labels, 1.5)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor(0.4)
    chosen = torch.tensor([3, 1])
    torch.testing.assert_close(field.part(chosen)(t, x[chosen]), field(t, x)[chosen])
    assert field.path == CondOT()
    assert field.interval == (0.0, 1.0)


class Unconditional(Model):
    path = CondOT()
    shape = (2,)

    def predict(self, t, x, condition):
        return x

    def fingerprint(self) -> str:
        return "identity"


def test_guidance_without_conditions_is_refused() -> None:
    model = Unconditional()
    assert model.conditions(torch.arange(3)) is None
    assert model.reference() is None
    x = torch.ones(2, 2)
    assert torch.equal(model.field(None)(torch.tensor(0.0), x), x)
    assert torch.equal(model.decode(x), x)
    assert model.field(None).part(slice(1)).condition is None
    with pytest.raises(NotApplicableError, match="unconditional"):
        model.field(None, 2.0)(torch.tensor(0.0), x)
    with pytest.raises(NotApplicableError, match="no unconditional prediction"):
        model.null_condition(torch.zeros(2))
    assert model.to("cpu", torch.float64).dtype == torch.float64
