from __future__ import annotations

import itertools

import pytest
import torch

from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP, Path, Preconditioned
from bnsbench.flows.scale_time import ScaleTimeField, scale_time, time_at
from bnsbench.truth.ground_truth import solve
from tests.flows.toy import GaussianModel, SineField

CHANGES = [
    (CondOT(), Cosine()),
    (CondOT(), VP()),
    (Cosine(), CondOT()),
    (VP(), CondOT()),
    (CondOT(), Preconditioned(CondOT(), 5.0)),
    (VP(), Preconditioned(VP(), 3.0)),
]


@pytest.mark.parametrize(("path", "new"), CHANGES, ids=lambda path: path.name)
def test_time_and_scale_have_the_stated_derivatives(path: Path, new: Path) -> None:
    begin, end = ScaleTimeField(SineField(path), new).interval
    r = begin + (end - begin) * torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    h = 1e-6
    _, scale, d_time, d_log_scale = scale_time(path, new, r)
    after, before = scale_time(path, new, r + h), scale_time(path, new, r - h)
    torch.testing.assert_close(d_time, (after[0] - before[0]) / (2 * h), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(d_log_scale, (after[1] / before[1]).log() / (2 * h), rtol=1e-5, atol=1e-6)
    t = scale_time(path, new, r)[0]
    torch.testing.assert_close(scale * path.sigma(t), new.sigma(r), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(scale * path.alpha(t), new.alpha(r), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("path", "new"), CHANGES, ids=lambda path: path.name)
def test_trajectories_are_the_same_up_to_scale(path: Path, new: Path) -> None:
    model = GaussianModel(path)
    labels = torch.tensor([0, 1, 2, 0])
    field = model.field(labels)
    changed = ScaleTimeField(field, new)
    x0 = torch.randn(4, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    begin, end = changed.interval
    solved, _ = solve(changed, x0 * changed.scale(begin), 1e-9)
    # The new path may cover fewer noise levels than the old one.
    first, last = (float(scale_time(path, new, r)[0]) for r in (begin, end))
    torch.testing.assert_close(solved / changed.scale(end), model.flow(x0, labels, first, last), rtol=0, atol=1e-6)


def test_preconditioned_condot_has_the_published_closed_form() -> None:
    sigma_0, r = 5.0, torch.linspace(0, 1, 21, dtype=torch.float64)
    t, scale, d_time, _ = scale_time(CondOT(), Preconditioned(CondOT(), sigma_0), r)
    expected = sigma_0 + (1 - sigma_0) * r
    torch.testing.assert_close(scale, expected)
    torch.testing.assert_close(t, r / expected)
    torch.testing.assert_close(d_time, sigma_0 / expected**2)


def test_euler_after_preconditioning_is_euler_on_the_shifted_grid() -> None:
    field, sigma_0, n = SineField(), 3.0, 7
    changed = ScaleTimeField(field, Preconditioned(CondOT(), sigma_0))
    x0 = torch.randn(2, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    grid = torch.linspace(0, 1, n + 1, dtype=torch.float64)

    def euler(velocity, times, x):
        for t, following in itertools.pairwise(times):
            x = x + (following - t) * velocity(t, x)
        return x

    shifted = grid / (grid + sigma_0 * (1 - grid))
    torch.testing.assert_close(euler(changed, grid, x0 * sigma_0), euler(field, shifted, x0), rtol=1e-12, atol=1e-12)


def test_a_part_is_changed_in_the_same_way() -> None:
    field = GaussianModel().field(torch.tensor([0, 1, 2]))
    changed = ScaleTimeField(field, Cosine())
    x, t = torch.ones(3, 3, dtype=torch.float64), torch.tensor(0.3)
    torch.testing.assert_close(changed.part(slice(2, 3))(t, x[2:]), changed(t, x)[2:])


PATHS = [CondOT(), Cosine(), VP(), DiscreteVP.linear(), EDM(), VE(), Preconditioned(CondOT(), 5.0)]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_time_has_the_inverse_derivative_of_its_log_snr(path: Path) -> None:
    t = torch.linspace(0.07, 0.93, 12, dtype=torch.float64)
    log_snr = path.log_snr(t).requires_grad_()
    found = time_at(path, log_snr)
    torch.testing.assert_close(found.detach(), t, rtol=1e-9, atol=1e-12)
    (slope,) = torch.autograd.grad(found.sum(), log_snr)
    h = 1e-6
    steps = (path.log_snr(t + h) - path.log_snr(t - h)) / (2 * h)
    torch.testing.assert_close(slope * steps, torch.ones_like(t), rtol=1e-5, atol=0)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_a_time_is_the_path_s_and_has_no_gradient_unless_it_is_asked_for(path: Path) -> None:
    log_snr = torch.linspace(-3, 3, 7, dtype=torch.float64)
    found = time_at(path, log_snr)
    assert not found.requires_grad
    assert torch.equal(found, path.time(log_snr))
    assert torch.equal(time_at(path, log_snr.clone().requires_grad_()).detach(), found)


@pytest.mark.parametrize("path", [DiscreteVP.linear(), VP()], ids=lambda path: path.name)
def test_a_change_of_time_and_scale_can_be_differentiated(path: Path) -> None:
    """Also where times are found by a search, which autograd does not follow."""
    r = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    for part in range(2):  # the time itself, and the scale at it
        derivative = torch.autograd.functional.jacobian(lambda at, part=part: scale_time(path, CondOT(), at)[part], r)
        h = 1e-6
        difference = (scale_time(path, CondOT(), r + h)[part] - scale_time(path, CondOT(), r - h)[part]) / (2 * h)
        torch.testing.assert_close(derivative.diagonal(), difference, rtol=1e-5, atol=1e-8)
        assert not (derivative - derivative.diagonal().diag()).any()


def test_either_answer_is_seen_on_the_new_path() -> None:
    """As fields of their own, each on the new path: at w = -1 the field is the answer without a condition."""
    model, labels = GaussianModel(), torch.tensor([0, 1, 2])
    x, r = torch.ones(3, 3, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    found = ScaleTimeField(model.field(labels, 2.0), VP()).answers(r, x, 2.0)
    for answer, guidance in zip(found, (0.0, -1.0), strict=True):
        expected = ScaleTimeField(model.field(labels, guidance), VP())(r, x)
        torch.testing.assert_close(answer, expected, rtol=1e-12, atol=1e-12)
