"""Pipelines whose networks fill a GPU: fewer activations kept, and derivatives without any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

import bnsbench
from bnsbench_diffusers.models.base import PipelineModel
from bnsbench_diffusers.models.registry import wrap

pytestmark = pytest.mark.filterwarnings("ignore:`past_key_values`:FutureWarning")  # AudioLDM2's own, of its GPT-2

BLOCKS = ("dit", "sd", "sdxl", "pixart-alpha", "sd3", "flux", "wan-2")
"""Kinds whose networks can compute the activations of their blocks once more."""


@contextmanager
def counted(kept: list[int]) -> Iterator[None]:
    """Note the size of everything that autograd keeps for a way back."""

    def pack(value: Tensor) -> Tensor:
        kept.append(value.numel())
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        yield


def pulled_back(model: PipelineModel) -> tuple[Tensor, int]:
    """Return the gradient of one evaluation in its states, and the numbers that were kept for it."""
    field = model.field(model.conditions(torch.arange(2)))
    x = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    kept: list[int] = []
    with counted(kept):
        velocity = field(torch.tensor(0.5, dtype=torch.float64), x)
        held = sum(kept)
    (gradient,) = torch.autograd.grad(velocity, x, torch.ones_like(velocity))
    return gradient, held


@pytest.mark.parametrize("kind", BLOCKS)
def test_activations_are_computed_once_more_on_the_way_back(load: Callable[..., PipelineModel], kind: str) -> None:
    model = load(kind)
    before = model.fingerprint()
    expected, held = pulled_back(model)
    assert model.recompute(True)
    found, fewer = pulled_back(model)
    assert model.recompute(False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert fewer < held
    again, as_before = pulled_back(model)
    torch.testing.assert_close(again, expected)
    assert as_before == held
    assert model.fingerprint() == before


def test_dual_numbers_pass_through_attention(load: Callable[..., PipelineModel]) -> None:
    """By torch's plain kernel: the fused ones know none."""
    model = load("dit")
    made, other = (
        bnsbench.train(wrap(model.pipeline), 2, solver="bns[pairs=8,iterations=1]", derivative=kind, tolerance=1e-2)
        for kind in ("forward", "backward")
    )
    assert made.training["derivative"] == "forward"
    assert made.training["psnr"] == pytest.approx(other.training["psnr"], abs=3.0)


def test_a_table_is_trained_with_activations_computed_once_more(load: Callable[..., PipelineModel]) -> None:
    model = load("dit")
    solver = "bns[checkpointed=true,pairs=8,iterations=1]"
    made = bnsbench.train(wrap(model.pipeline), 2, solver=solver, tolerance=1e-2)
    plain = bnsbench.train(wrap(model.pipeline), 2, solver="bns[pairs=8,iterations=1]", tolerance=1e-2)
    torch.testing.assert_close(made.solver.rows, plain.solver.rows, rtol=1e-3, atol=1e-3)
    assert made.training["forwards"]["training"] > plain.training["forwards"]["training"]
    assert made.training["forwards"]["teacher"] == plain.training["forwards"]["teacher"]
