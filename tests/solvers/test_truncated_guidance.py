"""Truncated guidance: where it is the method itself, what it spends, and its loop written out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from bnsbench.errors import UsageError
from bnsbench.flows.measured import Meter
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.truncated_guidance import RULES, Keep, cfg_truncated
from tests.flows.toy import GaussianModel

CLASSES = torch.tensor([0, 1, 2, 0])
X0 = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("guidance", "guided"), [(0.0, 0.3), (2.0, 1.0)])
def test_without_anything_to_leave_out_it_is_the_rule(rule: str, guidance: float, guided: float) -> None:
    field = GaussianModel().field(CLASSES, guidance)
    found = cfg_truncated(field, X0, 5, rule=rule, guided=guided, grid="quadratic")
    torch.testing.assert_close(found, RULES[rule](field, X0, 5, grid="quadratic"))


@pytest.mark.parametrize("guided", [0.01, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("nfe", [1, 2, 3, 5, 8])
def test_it_spends_what_it_is_given(nfe: int, guided: float) -> None:
    meter = Meter(GaussianModel().field(CLASSES, 2.0), X0)
    cfg_truncated(meter.field, X0, nfe, guided=guided)
    assert meter.spent(nfe) == nfe


@pytest.mark.parametrize("keep", ["difference", "nothing"])
def test_eulers_loop_written_out(keep: Keep) -> None:
    """At 8 evaluations and half of the steps guided: 5 of 11 with two forwards each, 16 in all."""
    with_condition, guided = (GaussianModel().field(CLASSES, w) for w in (0.0, 3.0))
    times = time_grid("uniform", guided.path, guided.interval, 11)
    x, kept = X0, torch.zeros_like(X0)
    for i, (begin, end) in enumerate(pairwise(times)):
        velocity = with_condition(begin, x)
        if i < 5:
            kept = guided(begin, x) - velocity
            velocity = velocity + kept
        elif keep == "difference":
            velocity = velocity + kept
        x = x + (end - begin) * velocity
    found = cfg_truncated(guided, X0, 8, rule="euler", guided=0.5, keep=keep)
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rule": "midpoint"}, "There is no rule 'midpoint' to truncate; choose from euler, "),
        ({"keep": "all"}, "What is kept of guidance is difference or nothing, not 'all'"),
        ({"guided": 0.0}, "lies above 0 and is at most 1, so not 0"),
        ({"guided": 1.5}, "lies above 0 and is at most 1, so not 1.5"),
    ],
)
def test_what_it_cannot_do_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cfg_truncated(GaussianModel().field(CLASSES, 2.0), X0, 4, **options)
