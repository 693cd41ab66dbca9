"""Paths given as functions: between their samples, what they are recognised as, and their way through a file."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP, Path, check_readable, path_from_dict
from bnsbench.flows.sampled_path import NODES, Sampled, as_path, nodes

INSIDE = torch.linspace(0.001, 0.999, 997, dtype=torch.float64)


@dataclass
class Scheduled:
    """What a scheduler of flow_matching returns."""

    alpha_t: Tensor
    sigma_t: Tensor


class LinearVP:
    """The interface of flow_matching's LinearVPScheduler: alpha = t, sigma = sqrt(1 - t^2)."""

    def __call__(self, t: Tensor) -> Scheduled:
        return Scheduled(t, (1 - t**2) ** 0.5)


class Polynomial:
    """That of its PolynomialConvexScheduler: alpha = t^n, sigma = 1 - t^n."""

    def __init__(self, n: float) -> None:
        self.n = n

    def __call__(self, t: Tensor) -> Scheduled:
        return Scheduled(t**self.n, 1 - t**self.n)


class Mine(CondOT):
    """A path of a user's own, of which files know nothing."""

    name = "mine"

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.as_tensor(t, dtype=torch.float64) ** 2

    def sigma(self, t: Tensor | float) -> Tensor:
        return 1 - torch.as_tensor(t, dtype=torch.float64) ** 2


@pytest.mark.parametrize("path", [CondOT(), Cosine(), VP(), EDM(0.1, 10), VE(0.1, 10)], ids=lambda path: path.name)
def test_between_its_times_it_is_the_path_that_was_sampled(path: Path) -> None:
    found = Sampled.of(path.alpha, path.sigma)
    torch.testing.assert_close(found.alpha(INSIDE), path.alpha(INSIDE), rtol=0, atol=1e-7)
    torch.testing.assert_close(found.sigma(INSIDE), path.sigma(INSIDE), rtol=0, atol=1e-7)
    torch.testing.assert_close(found.d_alpha(INSIDE), path.d_alpha(INSIDE), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.d_sigma(INSIDE), path.d_sigma(INSIDE), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.time(path.log_snr(INSIDE)), INSIDE, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("scheduler", "slope"), [(LinearVP(), lambda t: -t / (1 - t**2).sqrt()), (Polynomial(3), None)])
def test_schedulers_that_no_path_has(scheduler: Any, slope: Any) -> None:
    found, expected = as_path(scheduler), scheduler(INSIDE)
    assert isinstance(found, Sampled)
    torch.testing.assert_close(found.alpha(INSIDE), expected.alpha_t, rtol=0, atol=1e-7)
    torch.testing.assert_close(found.sigma(INSIDE), expected.sigma_t, rtol=0, atol=1e-6)
    if slope is not None:
        torch.testing.assert_close(found.d_sigma(INSIDE), slope(INSIDE), rtol=3e-4, atol=1e-5)


def test_what_has_a_name_gets_it() -> None:
    assert as_path(lambda t: Scheduled(t, 1 - t)) == CondOT()
    assert as_path((lambda t: torch.sin(math.pi / 2 * t), lambda t: torch.cos(math.pi / 2 * t))) == Cosine()
    vp = VP()
    assert as_path((vp.alpha, vp.sigma)) == vp
    assert as_path("vp") == vp
    assert as_path(DiscreteVP.linear()) == DiscreteVP.linear()


def test_it_is_written_and_read_as_numbers() -> None:
    path = as_path(LinearVP())
    content = json.dumps(path.to_dict())
    assert len(content) < 20_000
    assert path_from_dict(json.loads(content)) == path
    check_readable(path)


def test_a_class_of_one_s_own_becomes_one_that_files_hold() -> None:
    with pytest.raises(UsageError, match=r"bnsbench\.paths\.as_path makes one that can be"):
        check_readable(Mine())
    path = as_path(Mine())
    check_readable(path)
    torch.testing.assert_close(path.alpha(INSIDE), INSIDE**2, rtol=0, atol=1e-10)
    torch.testing.assert_close(path.d_alpha(INSIDE), 2 * INSIDE, rtol=0, atol=1e-7)


def test_functions_that_cannot_be_differentiated() -> None:
    path = as_path((lambda t: t.detach() ** 2, lambda t: 1 - t.detach() ** 2))
    torch.testing.assert_close(path.d_alpha(INSIDE), 2 * INSIDE, rtol=0, atol=1e-5)


def test_times_lie_close_at_both_ends() -> None:
    times = nodes(NODES)
    assert (float(times[0]), float(times[-1])) == (0, 1)
    assert float(times[1]) < 1e-7


ROW = [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("alpha", "sigma"), "A path is a name such as 'condot'"),
        (7, "not int"),
        ((lambda t: 1 - t, lambda t: t), "does its time run the other way"),
        ((lambda t: t * math.nan, lambda t: t), "finite numbers"),
        ((lambda t: t - 2, lambda t: 1 - t), "at least 0"),
        ((lambda t: 1 / 0, lambda t: t), "one raised ZeroDivisionError"),
    ],
)
def test_what_is_no_path(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        as_path(given)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROW, ROW[::-1], ROW, ROW[:3]], "as many numbers"),
        ([ROW[:3], ROW[2::-1], ROW[:3], ROW[:3]], "at least 5 finite numbers"),
        ([ROW, ["x"] * 5, ROW, ROW], "as many numbers"),
        ([3, ROW, ROW, ROW], "as many numbers"),
        ([ROW, [0.0] * 5, ROW, ROW], "never 0 together"),
    ],
)
def test_samples_that_are_no_path(rows: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Sampled(*rows)
