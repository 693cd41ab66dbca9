"""Which derivative "auto" means: the first that fits, exists and is right."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.training.optimisers.derivative_choice import recomputing, settle_derivative
from bnsbench.training.problem import Cost
from bnsbench.truth.pairs import PairSource
from tests.training.toys import Cramped, PlaneModel, bend


def settled(model: PlaneModel, name: str = "auto", checkpointed: bool = False) -> tuple[str, int]:
    """Return the derivative and the evaluations that it took to know it."""
    cost = Cost()
    pairs = PairSource(model, "plane", tolerance=1e-3).pairs("train", 4)
    return settle_derivative(name, pairs, model.dtype, cost, checkpointed), cost.training


@pytest.mark.parametrize(
    ("model", "expected", "spent"),
    [
        (Cramped(), "backward", 5),
        (Cramped(gradients=1, tangents=0), "backward", 5),
        (Cramped(gradients=0), "forward", 7),
        (Cramped(gradients=0, tangents=0), "difference", 7),
    ],
)
def test_the_first_is_taken_of_which_one_sample_fits(model: Cramped, expected: str, spent: int) -> None:
    """A value, a difference, an evaluation and back, and dual numbers, which count two."""
    assert settled(model) == (expected, spent)


def test_with_activations_computed_once_more_backpropagation_fits_more_often() -> None:
    assert settled(Cramped(gradients=0, recomputed=1), checkpointed=True) == ("backward", 6)
    assert settled(Cramped(gradients=0, recomputed=1)) == ("forward", 7)


def test_what_the_user_has_chosen_is_not_tried() -> None:
    for name in ("backward", "forward", "difference"):
        assert settled(Cramped(gradients=0, tangents=0), name) == (name, 0)


class OneWay(torch.autograd.Function):
    """A sine whose kernel knows no derivative."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.sin()

    setup_context: ClassVar[Any] = staticmethod(lambda ctx, inputs, output: None)


class Backward(OneWay):
    """One that knows the way back alone."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0].cos()


@torch.no_grad()
def without_gradients(t: Tensor, x: Tensor) -> Tensor:
    return bend(t, x)


@torch.inference_mode()
def by_inference(t: Tensor, x: Tensor) -> Tensor:
    return bend(t, x)


def rounded(t: Tensor, x: Tensor) -> Tensor:
    """Steps so fine that differences go over many, of which a derivative sees nothing."""
    return bend(t, torch.round(x * 2**26) / 2**26)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda t, x: OneWay.apply(x) * t, "difference"),
        (lambda t, x: Backward.apply(x) * t, "backward"),
        (without_gradients, "forward"),
        (by_inference, "difference"),
        (rounded, "difference"),
        (lambda t, x: torch.zeros_like(x), "backward"),
        (lambda t, x: t.expand_as(x), "backward"),
    ],
    ids=["no derivative", "way back", "no grad", "inference", "rounded", "zero", "time alone"],
)
def test_a_derivative_has_to_exist_and_to_be_right(function: Any, expected: str) -> None:
    """A network that computes without gradients would say that nothing moves, and training would believe it."""
    assert settled(PlaneModel(function))[0] == expected


@pytest.mark.parametrize("prediction", ["epsilon", "x"])
def test_a_velocity_that_depends_on_its_state_besides_the_network_hides_nothing(prediction) -> None:
    model = PlaneModel(without_gradients)
    model.prediction, model.interval = prediction, (0.1, 0.9)
    assert settled(model)[0] == "forward"


def test_faults_of_the_network_itself_are_not_taken_for_a_missing_derivative() -> None:
    pairs = PairSource(PlaneModel(bend), "plane", tolerance=1e-3).pairs("train", 4)

    def broken(t: Tensor, x: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    pairs.field.model.function = broken  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        settle_derivative("auto", pairs, torch.float64, Cost())


def test_a_model_that_cannot_compute_activations_once_more_says_so() -> None:
    with (
        pytest.raises(UsageError, match="PlaneModel cannot compute its activations once more"),
        recomputing(PlaneModel(bend)),
    ):
        pass
    model = Cramped(recomputed=3)
    with recomputing(model):
        assert model.recomputes
    assert not model.recomputes
