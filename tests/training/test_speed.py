from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from bnsbench.training.speed import SECONDS, measure
from tests.training.toys import PlaneModel, bend, cross_source, plane_source


class Slow(PlaneModel):
    """A field that takes its time for every sample, and notes how many it has seen."""

    def __init__(self, seconds: float) -> None:
        super().__init__(bend)
        self.seconds, self.seen = seconds, [0]

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        self.seen.append(len(x))
        time.sleep(self.seconds * len(x))
        return super().predict(t, x, condition)


def test_seconds_of_a_forward_are_those_of_a_sample() -> None:
    """Of one forward and one backward pass, which counts twice and here takes no time."""
    model = Slow(0.002)
    speed = measure(replace(plane_source(bend), model=model))
    assert 0.002 / 3 < speed.seconds < 0.004 / 3
    assert speed.batch == 32
    assert speed.memory is not None
    assert speed.memory > 2**20


def test_a_slow_network_is_asked_as_little_as_need_be() -> None:
    model = Slow(0.4)
    speed = measure(replace(plane_source(bend), model=model))
    assert (speed.batch, sum(model.seen)) == (1, 3)
    assert 0.4 / 3 < speed.seconds < 0.5 / 3


def test_a_moment_is_enough() -> None:
    began = time.perf_counter()
    measure(cross_source())
    assert time.perf_counter() - began < 5 * SECONDS


def test_guided_evaluations_are_two_forwards() -> None:
    source = cross_source(guidance=1.0)
    assert source.forwards_per_evaluation == 2
    assert measure(source).seconds > 0


def test_a_batch_that_does_not_fit_is_made_smaller() -> None:
    class Large(PlaneModel):
        def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
            if len(x) > 5:
                raise torch.OutOfMemoryError
            return super().predict(t, x, condition)

    assert measure(replace(plane_source(bend), model=Large(bend))).batch == 4


def test_a_field_that_knows_no_state_is_measured() -> None:
    assert measure(plane_source(lambda t, x: torch.ones_like(x).detach())).seconds > 0
