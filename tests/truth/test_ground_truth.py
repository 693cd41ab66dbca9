from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad, solve_ivp
from torch import Tensor

from bnsbench.errors import DivergedError
from bnsbench.flows.fields import FunctionField, jumps_of
from bnsbench.flows.paths import VP, CondOT
from bnsbench.flows.scale_time import ScaleTimeField
from bnsbench.truth.ground_truth import Trajectory, ceiling, check_solved, solve, solve_each
from tests.flows.toy import GaussianModel, SineField


def start(n: int = 4, dim: int = 3) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("path", [CondOT(), VP()], ids=lambda path: path.name)
def test_solve_reaches_the_closed_form_flow(path) -> None:
    model, labels, x0 = GaussianModel(path), torch.tensor([0, 1, 2, 0]), start()
    end, nfe = solve(model.field(labels), x0, 1e-8)
    torch.testing.assert_close(end, model.flow(x0, labels), rtol=0, atol=1e-6)
    assert 20 < nfe < 1000
    assert nfe == len(model.calls)


def test_solve_agrees_with_scipy_on_a_non_linear_field() -> None:
    field, x0 = SineField(), start(1)
    end, _ = solve(field, x0, 1e-9)

    def velocity(t, y):
        return field(torch.tensor(t, dtype=torch.float64), torch.from_numpy(y)[None])[0].numpy()

    expected = solve_ivp(velocity, (0, 1), x0[0].numpy(), method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    torch.testing.assert_close(end[0], torch.from_numpy(expected), rtol=0, atol=1e-7)


def test_the_field_is_never_evaluated_outside_its_interval() -> None:
    times: list[float] = []

    def velocity(t, x):
        times.append(float(t))
        return torch.sin(x + t)

    solve(FunctionField(velocity, VP(), (0.0, 0.999)), start(), 1e-4)
    assert min(times) >= 0.0
    assert max(times) <= 0.999


def test_trajectory_interpolates_to_fourth_order() -> None:
    model, labels, x0 = GaussianModel(), torch.tensor([0, 1, 2, 0]), start()
    errors = []
    for points in (9, 17):
        trajectory = solve_each(model.field(labels), x0, 1e-11, points).trajectory(model.field(labels))
        wanted = [0.03, 0.31, 0.52, 0.9777]
        errors.append(max(float((trajectory.at(t) - model.flow(x0, labels, end=t)).abs().max()) for t in wanted))
    assert errors[1] < 1e-4
    assert errors[0] / errors[1] > 8
    torch.testing.assert_close(trajectory.at(0.0), x0)
    torch.testing.assert_close(trajectory.at(1.0), trajectory.x[-1])


JUMP = 0.37
CONDOT = CondOT()


def jumping(path=CONDOT, jumps=(JUMP,)) -> FunctionField:
    """u = x cos(8 t), and from the jump on 3 minus that; at the jump itself it is still the first."""

    def velocity(t, x):
        wave = torch.cos(8 * t.to(x.dtype)) * x
        return torch.where(t > JUMP, 3 - wave, wave)

    return FunctionField(velocity, path, jumps=jumps)


def after_the_jump(x0: Tensor, t: float) -> Tensor:
    """The closed form: x grows by exp of the integral of the cosine, and behind the jump falls by it around a moving end."""
    before = x0 * math.exp((math.sin(8 * min(t, JUMP))) / 8)
    if t <= JUMP:
        return before
    moved = quad(lambda s: 3 * math.exp(math.sin(8 * s) / 8), JUMP, t, epsabs=1e-12)[0]
    return math.exp(-math.sin(8 * t) / 8) * (before * math.exp(math.sin(8 * JUMP) / 8) + moved)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_no_step_goes_across_a_declared_jump(dtype) -> None:
    x0 = start().to(dtype)
    expected = after_the_jump(x0.double(), 1.0)
    (found, cost), (unaware, more) = (solve(jumping(jumps=jumps), x0, 1e-6) for jumps in ((JUMP,), ()))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5)
    assert cost < 0.8 * more
    assert float((unaware.double() - expected).abs().max()) < 1e-3


def test_a_jump_is_where_it_is_on_another_path() -> None:
    x0 = start()
    field = ScaleTimeField(jumping(CondOT()), VP())
    assert float(CondOT().log_snr(JUMP)) == pytest.approx(float(VP().log_snr(field.jumps[0])))
    x_bar, cost = solve(field, float(field.scale(field.interval[0])) * x0, 1e-6)
    end = x_bar / float(field.scale(field.interval[1]))
    torch.testing.assert_close(end, after_the_jump(x0, float(VP().alpha(1.0))), rtol=0, atol=2e-2)
    assert cost < solve(ScaleTimeField(jumping(CondOT(), ()), VP()), x0, 1e-6)[1]


def test_a_trajectory_is_interpolated_from_both_sides_of_a_jump() -> None:
    field, x0 = jumping(), start()
    trajectory = solve_each(field, x0, 1e-9, 17).trajectory(field)
    assert len(trajectory.times) == 17 + 2
    for t in (0.1, JUMP - 0.02, JUMP, JUMP + 0.02, 0.9):
        torch.testing.assert_close(trajectory.at(t), after_the_jump(x0, t), rtol=0, atol=2e-4)
    blind = solve_each(jumping(jumps=()), x0, 1e-9, 17).trajectory(jumping(jumps=()))
    assert float((blind.at(JUMP - 0.02) - after_the_jump(x0, JUMP - 0.02)).abs().max()) > 2e-3


def test_jumps_beside_an_end_are_none() -> None:
    field = FunctionField(lambda t, x: x, CondOT(), (0.0, 0.5), jumps=(0.0, 0.7, 0.2, 0.2, 0.1, 0.5))
    assert jumps_of(field) == (0.1, 0.2)
    assert jumps_of(GaussianModel().field(None)) == ()


def wavy() -> tuple[Trajectory, Tensor]:
    """A made-up trajectory of 4 samples on unequal times, and times for each of them, none at a knot."""
    generator = torch.Generator().manual_seed(5)
    times = torch.tensor([0.0, 0.2, 0.5, 0.6, 1.0], dtype=torch.float64)
    x, u = torch.randn(2, 5, 4, 2, 3, generator=generator, dtype=torch.float64)
    return Trajectory(times, x, u), torch.tensor([0.77, 0.05, 0.55, 0.31], dtype=torch.float64)


def test_interpolation_along_the_samples_own_times_is_that_at_each() -> None:
    trajectory, t = wavy()
    along = trajectory.along(t)
    assert along.shape == (4, 2, 3)
    for sample, moment in enumerate(t.tolist()):
        torch.testing.assert_close(along[sample], trajectory.at(moment)[sample], rtol=0, atol=0)


def test_interpolation_is_the_cubic_with_the_states_and_velocities_at_the_knots() -> None:
    cubic = torch.tensor([[0.3, -1.0, 2.0, 0.7], [1.0, 0.5, -0.4, -2.0]], dtype=torch.float64)
    times = torch.tensor([0.0, 0.1, 0.45, 1.0], dtype=torch.float64)
    powers = times[:, None] ** torch.arange(4)
    slopes = torch.arange(1, 4) * times[:, None] ** torch.arange(3)
    trajectory = Trajectory(times, powers @ cubic.T, slopes @ cubic[:, 1:].T)
    t = torch.tensor([0.83, 0.2], dtype=torch.float64)
    torch.testing.assert_close(trajectory.along(t), (t[:, None] ** torch.arange(4) * cubic).sum(1), rtol=1e-13, atol=0)


def test_interpolation_is_differentiable_in_time() -> None:
    trajectory, t = wavy()
    derivative = torch.autograd.functional.jacobian(trajectory.along, t)
    for sample in range(4):
        step = torch.zeros(4, dtype=torch.float64).index_fill(0, torch.tensor([sample]), 1e-6)
        difference = (trajectory.along(t + step) - trajectory.along(t - step)) / 2e-6
        torch.testing.assert_close(derivative[..., sample], difference, rtol=1e-7, atol=1e-8)
        assert not difference[torch.arange(4) != sample].any()
    assert torch.autograd.gradcheck(trajectory.along, t.requires_grad_())


def test_the_derivative_at_a_knot_is_the_velocity_there() -> None:
    trajectory, _ = wavy()
    t = torch.tensor([0.0, 0.2, 0.6, 1.0], dtype=torch.float64)
    derivative = torch.autograd.functional.jacobian(trajectory.along, t)
    for sample, knot in enumerate((0, 1, 3, 4)):
        torch.testing.assert_close(derivative[sample, ..., sample], trajectory.u[knot, sample], rtol=1e-12, atol=1e-12)


def test_interpolation_in_float32_keeps_the_states_precision_and_the_times_gradient() -> None:
    trajectory, t = wavy()
    narrow = Trajectory(trajectory.times, trajectory.x.float(), trajectory.u.float())
    for times in (t, t.float()):
        found = narrow.along(times)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), trajectory.along(t), rtol=0, atol=1e-5)
    exact, rounded = (torch.autograd.functional.jacobian(each.along, t) for each in (trajectory, narrow))
    torch.testing.assert_close(rounded.double(), exact, rtol=0, atol=1e-4)


def test_a_part_of_a_trajectory_is_that_of_its_samples() -> None:
    trajectory, t = wavy()
    for index in (slice(1, 3), torch.tensor([3, 0])):
        part = trajectory.part(index)
        torch.testing.assert_close(part.along(t[index]), trajectory.along(t)[index], rtol=0, atol=0)
        assert torch.equal(part.times, trajectory.times)


def test_ceiling_is_the_truth_s_own_psnr() -> None:
    model, labels, x0 = GaussianModel(), torch.tensor([0, 1, 2, 0]), start()
    values = []
    for tolerance in (1e-3, 1e-5):
        truth, _ = solve(model.field(labels), x0, tolerance)
        measured = ceiling(model.field(labels), x0, truth, tolerance, 2.0)
        error = (truth - model.flow(x0, labels)).square().mean(1)
        assert measured == pytest.approx(float((10 * torch.log10(4 / error)).mean()), abs=3.0)
        values.append(measured)
    assert values[1] > values[0] + 20


def test_a_field_that_is_not_finite_is_reported() -> None:
    field = FunctionField(lambda t, x: x / (0.5 - t.to(x)).clamp_min(0.0), CondOT())
    with pytest.raises(DivergedError, match="ground truth"):
        solve(field, start(), 1e-4)


class Broken(GaussianModel):
    """The Gaussian model, whose velocity is no number from ``when`` on for samples of class 2."""

    when = 0.5

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        bad = (condition == 2) & (t >= self.when)
        return super().predict(t, x, condition).masked_fill(bad[:, None], torch.nan)


class Steep(GaussianModel):
    """The Gaussian model, whose velocity has a pole for samples of class 2 that no step size passes."""

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        pole = torch.where(condition == 2, (0.7 - t).abs().clamp_min(1e-300).pow(-1.5), 0.0)
        return super().predict(t, x, condition) + pole[:, None]


LABELS = torch.tensor([0, 1, 2, 0, 1, 0, 2, 1, 1])
BAD = [2, 6]


@pytest.mark.parametrize("model", [Broken(), Steep()], ids=["not-finite", "too-steep"])
def test_bad_samples_leave_the_others_their_truth(model: GaussianModel) -> None:
    x0 = start(len(LABELS))
    found = solve_each(model.field(LABELS), x0, 1e-8)
    assert torch.nonzero(~found.stopped.isnan())[:, 0].tolist() == BAD
    assert found.states[:, BAD].isnan().all()
    good = LABELS != 2
    torch.testing.assert_close(found.states[-1, good], model.flow(x0, LABELS)[good], rtol=0, atol=1e-6)
    assert torch.equal(found.states[0, good], x0[good])
    # All that it took, the attempts that stopped included, shared among the samples.
    assert found.nfe == pytest.approx(sum(model.calls) / len(LABELS))


def test_the_time_at_which_a_sample_stops_is_that_of_its_fault() -> None:
    broken = solve_each(Broken().field(LABELS), start(len(LABELS)), 1e-6)
    assert ((broken.stopped[BAD] >= 0.5) & (broken.stopped[BAD] < 0.9)).all()
    steep = solve_each(Steep().field(LABELS), start(len(LABELS)), 1e-6)
    torch.testing.assert_close(steep.stopped[BAD], torch.full((2,), 0.7, dtype=torch.float64), rtol=0, atol=1e-6)


def test_bad_samples_are_told_by_number() -> None:
    field, x0 = Steep().field(LABELS), start(len(LABELS))
    sentence = (
        r"ground truth of 2 of 9 samples of the batch .* that of samples 2, 6\. At t = 0.7 the velocity of sample [26]"
    )
    with pytest.raises(DivergedError, match=sentence):
        solve(field, x0, 1e-6)
    with pytest.raises(DivergedError, match=sentence):
        check_solved(solve_each(field, x0, 1e-6, points=5).stopped, 1e-6)
    with pytest.raises(DivergedError, match=r"of 1 of 1 samples .* that of sample 0\. At"):
        solve(field.part(slice(2, 3)), x0[2:3], 1e-6)


def test_many_bad_samples_are_listed_up_to_a_limit() -> None:
    labels = torch.full((50,), 2)
    with pytest.raises(DivergedError, match=r"of 50 of 50 samples .* 28, 29 and 20 more\. At"):
        solve(Broken().field(labels), start(50), 1e-3)


def test_trajectories_of_the_good_samples_stay_as_well() -> None:
    model, x0 = Broken(), start(len(LABELS))
    found = solve_each(model.field(LABELS), x0, 1e-8, points=5)
    trajectory = found.trajectory(model.field(LABELS))
    good = LABELS != 2
    for i, t in enumerate(trajectory.times.tolist()):
        torch.testing.assert_close(trajectory.x[i, good], model.flow(x0, LABELS, end=t)[good], rtol=0, atol=1e-6)
    assert trajectory.u[:, good].isfinite().all()
    assert trajectory.x[:, BAD].isnan().all()


def test_a_fault_of_the_field_itself_is_not_taken_for_a_step_that_underflows() -> None:
    def velocity(t: Tensor, x: Tensor) -> Tensor:
        raise AssertionError("the network wants 8 channels")

    with pytest.raises(AssertionError, match="8 channels"):
        solve(FunctionField(velocity, CondOT()), start(), 1e-4)


def test_a_start_that_is_no_number_is_a_sample_that_cannot_be_solved() -> None:
    x0 = start(3)
    x0[1] = torch.nan
    found = solve_each(GaussianModel().field(torch.zeros(3, dtype=torch.int64)), x0, 1e-6)
    assert found.stopped.isnan().tolist() == [True, False, True]
    with pytest.raises(DivergedError, match=r"that of sample 1\. At t = 0 the"):
        solve(GaussianModel().field(torch.zeros(3, dtype=torch.int64)), x0, 1e-6)


def test_the_sample_that_stops_first_is_told_with_its_time() -> None:
    stopped = torch.tensor([torch.nan, 0.7, 0.3], dtype=torch.float64)
    with pytest.raises(DivergedError, match=r"that of samples 1, 2\. At t = 0\.3 the velocity of sample 2 is"):
        check_solved(stopped, 1e-6)


def test_a_start_that_is_no_number_stops_at_the_begin_of_the_interval() -> None:
    """A velocity that is the same everywhere is finite even there; the first step is none."""
    field = FunctionField(lambda t, x: torch.ones_like(x), CondOT(), (0.25, 1.0))
    assert solve_each(field, torch.full((1, 2), torch.nan, dtype=torch.float64), 1e-6).stopped.tolist() == [0.25]


def test_states_on_the_way_cost_no_evaluations() -> None:
    """The solver steps as it would without them and interpolates."""
    model, labels = GaussianModel(), torch.tensor([0, 1, 2, 0])
    end, way = (solve_each(model.field(labels), start(), 1e-6, points) for points in (2, 65))
    assert way.nfe == end.nfe
    assert torch.equal(way.states[-1], end.states[-1])
