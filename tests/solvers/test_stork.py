"""STORK-2's stages: the Runge-Kutta-Gegenbauer rule that they are, and what they come to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import eval_gegenbauer

from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.properties import properties
from bnsbench.solvers.stork import rkg2, stage_sums
from tests.solvers import peers
from tests.solvers.names import table_of


@pytest.mark.parametrize("derivatives", [1, 2])
@pytest.mark.parametrize("s", [2, 7, 50])
@pytest.mark.parametrize("exact_times", [False, True])
def test_tables_against_every_virtual_stage(mixture, start, deviation, derivatives, s, exact_times):
    """Every virtual stage of the authors' code, which works on equal steps, against our sums over the stages."""
    field, x0 = mixture(CondOT()), start(CondOT())
    table = table_of("stork2", {"derivatives": derivatives, "s": s, "exact_times": exact_times}, field, 8)
    expected = peers.stork_2(field, x0, table.times, derivatives, s, exact_times)
    assert deviation(table(field, x0), expected) < 1e-10


def stability(s, z):
    """The rule's end state for dx/dt = z x from x = 1 over a step of 1, with stages that see their states."""
    before, newest = None, np.ones_like(z)
    for stage in rkg2(s, exact_times=True):
        other = 0 if before is None else stage.nu * before
        new = stage.mu * newest + other + (1 - stage.mu - stage.nu) + stage.mu_tilde * z * newest + stage.gamma_tilde * z
        before, newest = newest, new
    return newest


@pytest.mark.parametrize("s", [2, 3, 5, 12, 50])
def test_stages_are_the_gegenbauer_recurrence(s):
    """The polynomial is of second order, a shifted Gegenbauer polynomial, and within 1 down to z = -(s + 4)(s - 1) / 3."""
    w, (first, second) = 6 / ((s + 4) * (s - 1)), derivatives_at_one(s)
    z = np.linspace(-(s + 4) * (s - 1) / 3, 0.5, 501)
    b = second / first**2
    expected = 1 + b * (eval_gegenbauer(s, 1.5, 1 + w * z) - eval_gegenbauer(s, 1.5, 1.0))
    found = stability(s, z)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert np.abs(found[z <= 0]).max() < 1 + 1e-12
    assert abs(stability(s, np.array([1.2 * z[0]]))[0]) > (1 if s > 2 else 0)
    h = 1e-3
    values = stability(s, np.array([-h, 0.0, h]))
    assert abs((values[2] - values[0]) / (2 * h) - 1) < 1e-5
    assert abs((values[0] - 2 * values[1] + values[2]) / h**2 - 1) < 1e-4


def derivatives_at_one(s):
    """C_s' and C_s'' at 1: 3 C_{s-1} and 15 C_{s-2} of indices 5/2 and 7/2."""
    return 3 * eval_gegenbauer(s - 1, 2.5, 1.0), 15 * eval_gegenbauer(s - 2, 3.5, 1.0)


def test_what_the_stages_come_to():
    """With RKG2's own times they are a rule of second order, whatever their number; with RKL2's, nearly."""
    for s in (2, 3, 10, 50):
        assert abs(stage_sums(s, True)[0] - 1 / 2) < 1e-13
    assert stage_sums(50, False)[0] == pytest.approx(0.5 - 1 / 96, abs=1e-4)
    assert stage_sums(1000, True)[1] == pytest.approx(1 / 4, abs=1e-4)
    for s in (2, 9, 50):
        times = [stage.c for stage in rkg2(s, True)]
        assert times == sorted(times)
        assert times[-1] <= 1


def test_one_step_more_is_no_more_stable_than_adams_bashforth(mixture):
    """The stages do not see their states: the table's stability limit is that of `ab2`, for 50 stages as for 3."""
    field = mixture(CondOT())
    limits = [
        properties(table_of(name, settings, field, 8), field.path).stability_limit
        for name, settings in (("ab2", {}), ("stork2", {"exact_times": True, "s": 3}), ("stork2", {"exact_times": True}))
    ]
    assert limits[0] == pytest.approx(limits[1]) == pytest.approx(limits[2])
