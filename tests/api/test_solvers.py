"""`bnsbench.solver`: tables by name."""

from __future__ import annotations

import pytest
import torch

import bnsbench
from bnsbench.errors import NotApplicableError, UsageError


def test_euler_on_its_uniform_grid() -> None:
    table = bnsbench.solver("euler", 4)
    torch.testing.assert_close(table.times, torch.linspace(0, 1, 5, dtype=torch.float64))
    torch.testing.assert_close(table.a, torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(table.b, torch.full((4, 4), 0.25, dtype=torch.float64).tril())


def test_path_interval_and_model() -> None:
    of_model = bnsbench.solver("ddim", 4, "digits-gmm[path=vp]")
    model = bnsbench.wrap(lambda t, x: x, shape=(1,), path="vp", interval=(0.0, float(of_model.times[-1])))
    assert bnsbench.solver("ddim", 4, model).fingerprint() == of_model.fingerprint()
    by_path = bnsbench.solver("ddim", 4, path="vp", interval=(0.0, float(of_model.times[-1])))
    assert by_path.fingerprint() == of_model.fingerprint()


def test_one_that_the_package_ships() -> None:
    assert bnsbench.solver("bns", 4, "scenes", guidance=2.0).nfe == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("euler",), "needs a budget"),
        (("midpoint", 3), "spends 2, 4, 6"),
        (("bns", 4, "ring8"), "has to be trained for its model"),
    ],
)
def test_misuse(arguments: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        bnsbench.solver(*arguments)  # type: ignore[arg-type]


def test_a_path_that_is_none() -> None:
    with pytest.raises(UsageError, match="There is no path 'straight'"):
        bnsbench.solver("euler", 4, path="straight")


def test_a_classic_that_the_path_does_not_allow() -> None:
    with pytest.raises(NotApplicableError):
        bnsbench.solver("edm-heun", 4, path="edm", interval=(0.0, 2.0))
