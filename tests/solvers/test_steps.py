"""Single steps integrate exactly the polynomials that they are made of, by SciPy's integrals of the exact solution.

With lambda = log(alpha / sigma), rho = sigma / alpha, D the data prediction and epsilon the noise prediction,

    x_t = (sigma_t / sigma_s) x_s + alpha_t integral of exp(lambda - lambda_t) D d lambda
        = (alpha_t / alpha_s) x_s + alpha_t integral of epsilon d rho.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from bnsbench.flows.paths import VP, CondOT, Cosine, Path
from bnsbench.solvers.deis import coefficients
from bnsbench.solvers.dpm_solver_pp import parabola_step
from bnsbench.solvers.er_sde import taylor_step
from bnsbench.solvers.exponential import two_value_step
from bnsbench.solvers.levels import Evaluation, Level, levels_at
from bnsbench.solvers.sa_solver import adams_step
from bnsbench.solvers.unipc import unified_step

PATHS = [CondOT(), Cosine(), VP()]
TIMES = torch.tensor([0.15, 0.3, 0.42, 0.6, 0.7], dtype=torch.float64)
STATE = torch.tensor([0.7, -1.3], dtype=torch.float64)
NUMBERS = [0.4, -0.9, 0.5, 0.3, -0.2]

Step = Callable[[Tensor, list[Evaluation], Level], Tensor]
Function = Callable[[float], float]


def polynomial(degree: int) -> Function:
    return lambda v: float(np.polynomial.Polynomial(NUMBERS[: degree + 1])(v))


def values(levels: list[Level], function: Function, along: Callable[[Level], float]) -> list[Evaluation]:
    """A prediction that is this function of ``along``, at levels that are given, both of its coordinates alike."""
    return [Evaluation(level, torch.full((2,), function(along(level)), dtype=torch.float64)) for level in levels]


def exact_from_data(s: Level, t: Level, data: Function) -> Tensor:
    """The exact end state for a data prediction that is this function of lambda."""
    integral, _ = quad(lambda v: math.exp(v - t.log_snr) * data(v), s.log_snr, t.log_snr, epsabs=1e-13, epsrel=1e-13)
    return t.sigma / s.sigma * STATE + t.alpha * integral


def sa_predictor(x: Tensor, past: list[Evaluation], t: Level) -> Tensor:
    return adams_step(x, past[0].level, t, past, simple_order_2=False)


DATA_STEPS: dict[str, tuple[Step, int]] = {
    "two values": (two_value_step, 2),
    "3M with Taylor's weight": (partial(parabola_step, weight=2.0), 3),
    "UniP-2 bh1": (partial(unified_step, variant="bh1"), 3),
    "UniP-3 bh1": (partial(unified_step, variant="bh1"), 4),
    "UniP-2 bh2": (partial(unified_step, variant="bh2"), 3),
    "UniP-3 bh2": (partial(unified_step, variant="bh2"), 4),
    "SA-Predictor 2": (sa_predictor, 2),
    "SA-Predictor 4": (sa_predictor, 4),
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
@pytest.mark.parametrize("name", DATA_STEPS)
def test_predictors_are_exact_for_a_polynomial_in_lambda(name: str, path: Path) -> None:
    """Through as many values as its degree plus one, and not for the next degree."""
    step, count = DATA_STEPS[name]
    *levels, t = levels_at(path, TIMES)
    known = levels[::-1][:count]
    for degree, exact in ((count - 1, True), (count, False)):
        found = step(STATE, values(known, polynomial(degree), lambda level: level.log_snr), t)
        gap = float((found - exact_from_data(known[0], t, polynomial(degree))).abs().max())
        assert (gap < 1e-10) == exact


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("count", [3, 4])
def test_unipc_s_corrector_takes_the_value_at_the_end(variant: str, path: Path, count: int) -> None:
    *levels, t = levels_at(path, TIMES)
    known = values([*levels[::-1][: count - 1], t], polynomial(count - 1), lambda level: level.log_snr)
    expected = exact_from_data(levels[-1], t, polynomial(count - 1))
    torch.testing.assert_close(unified_step(STATE, known, t, variant), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_sa_solver_s_corrector_takes_the_value_at_the_end(path: Path, count: int) -> None:
    *levels, t = levels_at(path, TIMES)
    known = values([t, *levels[::-1][: count - 1]], polynomial(count - 1), lambda level: level.log_snr)
    expected = exact_from_data(levels[-1], t, polynomial(count - 1))
    found = adams_step(STATE, levels[-1], t, known, simple_order_2=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_er_sde_is_exact_for_a_line_in_rho(path: Path) -> None:
    """With two values and with three, whose first derivative stays a backward difference."""
    *levels, t = levels_at(path, TIMES)
    expected = exact_from_data(levels[-1], t, lambda log_snr: polynomial(1)(math.exp(-log_snr)))
    for count in (2, 3):
        known = values(levels[::-1][:count], polynomial(1), lambda level: level.rho)
        torch.testing.assert_close(taylor_step(STATE, known, t), expected, rtol=0, atol=1e-12)


VARIABLE: dict[str, Callable[[Path, float], float]] = {
    "time": lambda path, rho: float(path.time(-math.log(rho))),
    "rho": lambda path, rho: rho,
    "logsnr": lambda path, rho: -math.log(rho),
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
@pytest.mark.parametrize("variable", VARIABLE)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_c_ij_integrate_a_polynomial_in_their_variable(path: Path, variable: str, count: int) -> None:
    """sum_j C_ij epsilon_j is alpha_t times the integral of epsilon over rho."""
    *levels, t = levels_at(path, TIMES)
    nodes = levels[-count:]
    noise, along = polynomial(count - 1), partial(VARIABLE[variable], path)
    integral, _ = quad(lambda rho: noise(along(rho)), nodes[-1].rho, t.rho, epsabs=1e-13, epsrel=1e-13)
    c_ij = coefficients(nodes, t, variable, path)
    assert len(c_ij) == count
    found = sum(c * noise(along(node.rho)) for c, node in zip(c_ij, nodes, strict=True))
    assert found == pytest.approx(t.alpha * integral, abs=1e-11)


@pytest.mark.parametrize("variable", ["time", "rho"])
def test_c_ij_reach_to_sigma_0(variable: str) -> None:
    """Where lambda is infinite, rho is not: on CondOT from t = 1/2, the integrals of l_0 and l_1 over rho from 1 to 0.

    In rho, with nodes 3 and 1, l_1 = (3 - rho) / 2 and l_0 = (rho - 1) / 2. In time, with nodes 1/4 and 1/2 and
    time = 1 / (1 + rho), l_1 = 4 time - 1, and 1 / (1 + rho) has the integral log 2 from 0 to 1.
    """
    *nodes, t = levels_at(CondOT(), torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64))
    first = {"rho": 1 / 4, "time": 4 * math.log(2) - 2}[variable]
    second = {"rho": -5 / 4, "time": 1 - 4 * math.log(2)}[variable]
    assert not t.finite
    assert coefficients(nodes, t, variable, CondOT()) == pytest.approx([first, second], abs=1e-12)
