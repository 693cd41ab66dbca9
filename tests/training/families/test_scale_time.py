from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bnsbench.errors import NotApplicableError
from bnsbench.flows.fields import CountingField, FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.training.families.scale_time import ScaleTime
from bnsbench.truth.ground_truth import Trajectory
from bnsbench.truth.pairs import Pairs, PairSource
from tests.flows.toy import GaussianModel, SineField
from tests.training.families.examples import somewhere
from tests.training.toys import as_model_field

FAMILIES = {
    "order 1": ScaleTime(5, (0.0, 0.999), 1),
    "order 2": ScaleTime(6, (0.0, 1.0), 2),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> ScaleTime:
    return FAMILIES[request.param]


def test_times_increase_from_end_to_end_wherever_one_goes(family: ScaleTime) -> None:
    theta = family.start() + 3 * torch.randn(
        len(family.start()), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    times = family.table(theta).times
    assert times[0] == 0
    assert float(times[-1]) in {1.0, 0.999}
    assert (times.diff() > 0).all()


def test_the_numbers_of_parameters_are_the_paper_s() -> None:
    for n in (2, 4, 10, 20):
        assert len(ScaleTime(n, (0.0, 1.0), 1).start()) == 4 * n - 1
        # 8 m - 1 for m steps of two evaluations: 79 at 20 NFE, the paper's "80 parameters".
        assert len(ScaleTime(n, (0.0, 1.0), 2).start()) == 8 * (n // 2) - 1


def test_all_but_the_slopes_of_the_scale_are_logarithms(family: ScaleTime) -> None:
    """A step of one in these multiplies a gap, a speed or a scale by e."""
    theta = somewhere(family)
    assert family.logarithms == len(theta) - family.table(theta).nfe
    bounded = family.start()
    bounded[: family.logarithms] += 1.0
    moved, still = family.table(bounded), family.table(family.start())
    # Every gap but the last is e times as long relative to it; speeds and scales are e times theirs, and scales cancel.
    gaps, before = moved.times.diff(), still.times.diff()
    torch.testing.assert_close(gaps[:-1] / gaps[-1], math.e * before[:-1] / before[-1])
    torch.testing.assert_close(moved.rows[0, 0], still.rows[0, 0] / math.e)


def test_it_does_not_hold_every_last_row(family: ScaleTime) -> None:
    assert not family.holds_last_row
    with pytest.raises(TypeError, match="ScaleTime does not hold every last row"):
        family.with_last_row(family.start(), torch.zeros(7, dtype=torch.float64))


@pytest.mark.parametrize("order", [1, 2])
def test_steps_are_the_rule_in_changed_coordinates(order: int) -> None:
    """Euler or midpoint on u_bar_r(x) = (s'/s) x + s t' u_t(x / s), written out as in the bespoke paper."""
    n, field = 6, SineField()
    family = ScaleTime(n, (0.0, 1.0), order)
    theta = somewhere(family)
    times = family.table(theta).times
    speed = theta[n - 1 : 2 * n - 1].exp()
    scale = torch.cat([torch.ones(1, dtype=torch.float64), theta[2 * n - 1 : 3 * n - 1].exp()])
    slope = theta[3 * n - 1 :]

    def u_bar(j: int, z: Tensor) -> Tensor:
        return slope[j] / scale[j] * z + scale[j] * speed[j] * field(times[j], z / scale[j])

    x0 = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = x0 * scale[0]
    for j in range(0, n, order):
        if order == 1:
            z = z + u_bar(j, z) / n
        else:
            h = 2 / n
            z = z + h * u_bar(j + 1, z + h / 2 * u_bar(j, z))
    torch.testing.assert_close(family.table(theta)(field, x0), z / scale[n], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("n", "order"), [(5, 2), (1, 2), (6, 3), (6, 0)])
def test_budgets_that_a_rule_cannot_spend_are_refused(n: int, order: int) -> None:
    with pytest.raises(NotApplicableError, match=f"rule of order {order} spends a multiple of {order} evaluations, not {n}"):
        ScaleTime(n, (0.0, 1.0), order)


RATE = 0.8


def rate(t: float) -> float:
    """u_t(x) = rate(t) x, whose trajectories are x_0 growth(t); never steeper than 1, as the bound supposes."""
    return RATE * math.cos(3 * t)


def growth(t: float) -> float:
    return math.exp(RATE * math.sin(3 * t) / 3)


def linear_pairs(weights: Tensor | None = None, end: float = 1.0, dtype: torch.dtype = torch.float64) -> Pairs:
    """Three samples of the linear field with their exact trajectories, dense enough for their interpolation to be exact."""
    x0 = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    times = torch.linspace(0, end, 513, dtype=torch.float64)
    x = torch.stack([x0 * growth(t) for t in times.tolist()])
    u = torch.stack([state * rate(t) for state, t in zip(x, times.tolist(), strict=True)])

    def velocity(t: Tensor, at: Tensor) -> Tensor:
        return (RATE * torch.cos(3 * t)).to(at) * at

    trajectory = Trajectory(times, x.to(dtype), u.to(dtype))
    field = as_model_field(FunctionField(velocity, CondOT(), (0.0, end)))
    return Pairs(x0.to(dtype), x[-1].to(dtype), field, 0.0, weights, trajectory)


def plain_bound(
    theta: Sequence[float], n: int, order: int, end: float, sizes: Sequence[float], weights: Sequence[float]
) -> float:
    """The paper's bound (Eqs. 25 to 27, 48 and 49) for the linear field, with numbers alone.

    sizes: root mean squares of x_0.
    """
    gaps = [math.exp(log) for log in theta[: n - 1]] + [1.0]
    t = [end * sum(gaps[:i]) / sum(gaps) for i in range(n + 1)]
    dt = [math.exp(log) for log in theta[n - 1 : 2 * n - 1]]
    s = [1.0] + [math.exp(log) for log in theta[2 * n - 1 : 3 * n - 1]]
    ds = theta[3 * n - 1 :]
    steepness = [abs(ds[j]) / s[j] + dt[j] for j in range(n)]
    total, later = 0.0, 1.0
    for i in reversed(range(0, n, order)):
        h, x = order / n, growth(t[i])
        if order == 1:
            z = s[i] * x + h * (ds[i] * x + s[i] * dt[i] * rate(t[i]) * x)
            lipschitz = s[i] / s[i + 1] * (1 + h * steepness[i])
        else:
            z = s[i] * x + 0.5 * h * (ds[i] * x + s[i] * dt[i] * rate(t[i]) * x)
            middle = z / s[i + 1]
            z = s[i] * x + h * (ds[i + 1] * middle + s[i + 1] * dt[i + 1] * rate(t[i + 1]) * middle)
            lipschitz = s[i] / s[i + 2] * (1 + h * steepness[i + 1] * (1 + 0.5 * h * steepness[i]))
        local = abs(growth(t[i + order]) - z / s[i + order])
        total += later * local
        later *= lipschitz
    return total * sum(weight * size for weight, size in zip(weights, sizes, strict=True)) / sum(weights)


CASES = pytest.mark.parametrize(("n", "order", "end"), [(1, 1, 1.0), (4, 1, 0.9), (2, 2, 1.0), (6, 2, 1.0), (8, 2, 0.9)])


def size(pairs: Pairs) -> list[float]:
    return pairs.x0.flatten(1).square().mean(1).sqrt().tolist()


@CASES
def test_the_bound_is_the_paper_s(n: int, order: int, end: float) -> None:
    family, pairs = ScaleTime(n, (0.0, end), order), linear_pairs(end=end)
    for theta in (family.start(), somewhere(family), family.start() + 5 * (somewhere(family) - family.start())):
        expected = plain_bound(theta.tolist(), n, order, end, size(pairs), [1.0] * 3)
        assert float(family.bound(theta, pairs)) == pytest.approx(expected, rel=1e-9)


@CASES
def test_the_bound_s_gradient_is_its_derivative(n: int, order: int, end: float) -> None:
    """The truth's states move with the times, and so does the derivative."""
    family, pairs = ScaleTime(n, (0.0, end), order), linear_pairs(end=end)
    theta = somewhere(family).requires_grad_()
    (gradient,) = torch.autograd.grad(family.bound(theta, pairs), theta)
    expected = []
    for h in 1e-6 * torch.eye(len(theta), dtype=torch.float64):
        ends = [plain_bound((theta + sign * h).tolist(), n, order, end, size(pairs), [1.0] * 3) for sign in (1, -1)]
        expected.append((ends[0] - ends[1]) / 2e-6)
    torch.testing.assert_close(gradient, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("order", [1, 2])
def test_the_bound_weighs_samples(order: int) -> None:
    weights = torch.tensor([1.0, 5.0, 2.0])
    family, pairs = ScaleTime(4, (0.0, 1.0), order), linear_pairs(weights)
    theta = somewhere(family)
    expected = plain_bound(theta.tolist(), 4, order, 1.0, size(pairs), weights.tolist())
    assert float(family.bound(theta, pairs)) == pytest.approx(expected, rel=1e-9)
    assert float(family.bound(theta, pairs)) != pytest.approx(float(family.bound(theta, replace(pairs, weights=None))))


@pytest.mark.parametrize("order", [1, 2])
def test_the_bound_bounds_the_error_at_the_end(order: int) -> None:
    family, pairs = ScaleTime(6, (0.0, 1.0), order), linear_pairs()
    for seed in range(5):
        theta = family.start() + 4 * (somewhere(family, seed) - family.start())
        end = family.table(theta)(pairs.field, pairs.x0)
        error = (end - pairs.x1).flatten(1).square().mean(1).sqrt().mean()
        assert 1e-3 < float(error) < float(family.bound(theta, pairs))


@pytest.mark.parametrize("order", [1, 2])
def test_the_bound_costs_an_evaluation_per_sample_and_step_of_the_table(order: int) -> None:
    family, pairs = ScaleTime(6, (0.0, 1.0), order), linear_pairs()
    counter = CountingField(pairs.field)
    family.bound(family.start(), replace(pairs, field=as_model_field(counter)))
    assert counter.evaluations == 6 * len(pairs)


def test_gradients_are_finite_where_a_step_is_exact() -> None:
    """On a field of zeros the plain rule makes no error, at which a root has no slope."""
    pairs = linear_pairs()
    assert pairs.trajectory is not None
    still = Trajectory(pairs.trajectory.times, pairs.x0.expand(513, *pairs.x0.shape), torch.zeros_like(pairs.trajectory.u))
    nothing = as_model_field(FunctionField(lambda t, x: torch.zeros_like(x), CondOT()))
    for order in (1, 2):
        family = ScaleTime(4, (0.0, 1.0), order)
        theta = family.start().requires_grad_()
        bound = family.bound(theta, replace(pairs, x1=pairs.x0, field=nothing, trajectory=still))
        (gradient,) = torch.autograd.grad(bound, theta)
        assert float(bound.detach()) < 1e-12
        assert gradient.isfinite().all()


@pytest.mark.parametrize("order", [1, 2])
def test_the_bound_in_float32_is_that_in_float64_to_its_rounding(order: int) -> None:
    family = ScaleTime(4, (0.0, 1.0), order)
    values = []
    for dtype in (torch.float64, torch.float32):
        theta = somewhere(family).requires_grad_()
        bound = family.bound(theta, linear_pairs(dtype=dtype))
        (gradient,) = torch.autograd.grad(bound, theta)
        assert bound.dtype == gradient.dtype == torch.float64
        values.append((bound.detach(), gradient))
    torch.testing.assert_close(values[1][0], values[0][0], rtol=1e-4, atol=0)
    torch.testing.assert_close(values[1][1], values[0][1], rtol=0, atol=1e-4)


def test_descending_the_bound_lowers_the_error_at_the_end() -> None:
    pairs = PairSource(GaussianModel(scale=0.2, dim=4), "gaussian", guidance=1.0, tolerance=1e-6).trajectories("train", 16)
    family = ScaleTime(4, (0.0, 1.0), 2)
    theta = family.start().requires_grad_()

    def error() -> float:
        end = family.table(theta.detach())(pairs.field, pairs.x0)
        return float((end - pairs.x1).square().mean(1).sqrt().mean())

    before, optimiser = error(), torch.optim.Adam([theta], lr=0.01)
    for _ in range(40):
        optimiser.zero_grad()
        torch.autograd.backward(family.bound(theta, pairs))
        optimiser.step()
    assert error() < 0.4 * before


def test_pairs_without_trajectories_have_no_bound() -> None:
    family = FAMILIES["order 2"]
    with pytest.raises(ValueError, match="needs pairs with their trajectories"):
        family.bound(family.start(), replace(linear_pairs(), trajectory=None))
