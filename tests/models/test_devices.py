"""Embedded models on a GPU, as far as a machine without one can tell: tensors that know their device and hold no numbers."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bnsbench.contract import PluginHost

MODELS = (
    "ring8",
    "aniso5",
    "textures",
    "digits-ot",
    "digits-vp",
    "fashion-ot",
    "fashion-vp",
    "scenes",
    "speech",
    "speech[task=infill]",
)
"""All kinds but `digits-gmm`, whose conditions decide over shapes; its class has no code of its own for devices."""


@pytest.mark.parametrize("name", MODELS)
def test_conditions_of_numbers_on_the_cpu_serve_a_model_on_a_gpu(name: str) -> None:
    selection = PluginHost.load().model(name)
    model = selection.make()
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to("cuda", model.dtype)
        condition = model.conditions(torch.arange(6))
        field = model.field(None if condition is None else condition.to("cuda"), 2.0 if selection.spec.guidable else 0.0)
        x = torch.zeros(6, *model.shape, dtype=model.dtype, device="cuda")
        velocity = field(torch.tensor(0.5, dtype=torch.float64, device="cuda"), x)
        assert (velocity.device.type, velocity.shape) == ("cuda", x.shape)
