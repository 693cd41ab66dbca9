"""Exact models, wired rightly and wrongly: what is told, and what is named as the cause."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bnsbench.flows.model import Model
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP, Path
from bnsbench.flows.predictions import Prediction, velocity_coefficients
from bnsbench.models.mixtures import Mixture, MixtureModel
from bnsbench.truth.wiring import suspicion, told_once

PATHS = [CondOT(), Cosine(), VP(), EDM(), VE(), DiscreteVP.linear()]
KINDS: list[Prediction] = ["velocity", "epsilon", "x", "v"]


class Wired(Model):
    """An exact mixture of Gaussians behind a network that predicts whatever it is asked to.

    told: what the model says that its network predicts. answer: what it makes of a network's answers.
    """

    dtype = torch.float64
    data_range = 2.0

    def __init__(
        self,
        exact: MixtureModel,
        predicted: Prediction,
        told: Prediction | None = None,
        answer: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor] = lambda network, t: network(t),
    ) -> None:
        self.exact, self.predicted, self.answer = exact, predicted, answer
        self.path, self.shape = exact.path, exact.shape
        self.interval = (1e-3, 0.999)  # inside which every prediction has a velocity
        self.prediction = told or predicted

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        def network(at: Tensor) -> Tensor:
            beta, gamma = velocity_coefficients(self.path, self.predicted, at)
            return (self.exact.predict(at, x, condition) - beta * x) / gamma

        return self.answer(network, t)

    def fingerprint(self) -> str:
        return "0"


def mixture(dim: int, count: int = 6, width: float = 0.1) -> Mixture:
    """Return Gaussians of one width at places in [-1, 1]."""
    places = torch.rand(count, dim, generator=torch.Generator().manual_seed(dim), dtype=torch.float64) * 2 - 1
    return Mixture(
        torch.full((count,), 1 / count, dtype=torch.float64), places, width * torch.eye(dim).double().expand(count, -1, -1)
    )


def exact(path: Path, dim: int = 16) -> MixtureModel:
    return MixtureModel(mixture(dim), path, (dim,))


def reversed_time(network: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    return network(1 - t)


WRONG = {
    "its answers had the other sign": lambda network, t: -network(t),
    "its time ran the other way, from data to noise": reversed_time,
    "its time ran from data to noise, with the velocity that belongs to that": lambda network, t: -reversed_time(network, t),
}


@pytest.mark.parametrize("predicted", KINDS)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_nothing_is_told_of_what_is_right(path: Path, predicted: Prediction) -> None:
    for dim in (1, 2, 16, 200):
        assert suspicion(Wired(exact(path, dim), predicted)) is None


@pytest.mark.parametrize("width", [0.03, 0.3, 1.0])
@pytest.mark.parametrize("dim", [1, 2, 5, 30])
def test_one_gaussian_is_the_hardest_to_take_noise_off(dim: int, width: float) -> None:
    for path in PATHS:
        gaussian = mixture(dim, count=1, width=width)
        gaussian.means.zero_()
        assert suspicion(MixtureModel(gaussian, path, (dim,), end=0.999)) is None


@pytest.mark.parametrize("told", KINDS)
@pytest.mark.parametrize("predicted", KINDS)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_another_prediction_is_told_with_what_it_is(path: Path, predicted: Prediction, told: Prediction) -> None:
    if told == predicted or (told == "v" and predicted == "epsilon" and isinstance(path, EDM | VE)):
        return  # where alpha = 1, v = eps - sigma x_1 is nearly eps wherever there is little noise, and nobody predicts v
    found = suspicion(Wired(exact(path), predicted, told))
    assert found is not None
    assert f"it predicted '{predicted}'" in found


@pytest.mark.parametrize("cause", WRONG)
@pytest.mark.parametrize("predicted", ["velocity", "epsilon", "v"])
@pytest.mark.parametrize("path", [CondOT(), Cosine(), VP(), DiscreteVP.linear()], ids=lambda path: path.name)
def test_a_wrong_sign_and_a_reversed_time_are_told(path: Path, predicted: Prediction, cause: str) -> None:
    found = suspicion(Wired(exact(path), predicted, answer=WRONG[cause]))
    assert found is not None
    assert f" if {cause}" in found


def test_what_nothing_explains() -> None:
    class Untrained(Wired):
        def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
            del t, condition
            return 5 * x

    found = suspicion(Untrained(exact(CondOT()), "velocity"))
    assert found is not None
    assert found.endswith(
        "No other sign, direction of time or type of prediction explains it: is it trained, and on this path?"
    )


def test_samples_far_wider_than_the_data_range() -> None:
    data = mixture(16)
    wide = MixtureModel(Mixture(data.weights, 8 * data.means, data.factors), CondOT(), (16,))
    assert suspicion(wide) == (
        "It does not look like a velocity on the path condot: its samples are 4.8 times as wide as half its data range."
        " Its data range may be another one, or it knows too little of noise at the beginning."
    )
    wide.data_range = 16.0
    assert suspicion(wide) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_not_finite_are_told(value: float) -> None:
    found = suspicion(Wired(exact(CondOT()), "velocity", answer=lambda network, t: network(t) * value))
    assert found is not None
    assert "at pure noise" in found


def test_a_suspicion_is_told_once_and_costs_nothing_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnsbench.truth.wiring._asked", set())
    model = Wired(exact(CondOT()), "velocity", answer=reversed_time)
    told = told_once(model, "mine")
    assert told is not None
    assert told.startswith("The model mine: it does not look like a velocity")
    assert told_once(model, "mine") is None


def test_a_model_that_cannot_be_asked_is_not_suspected() -> None:
    def refuse(network: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
        raise RuntimeError

    assert told_once(Wired(exact(CondOT()), "velocity", answer=refuse), "mine") is None
