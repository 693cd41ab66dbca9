"""Who solves a truth, and what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bnsbench.flows.fields import BatchField, CountingField
from bnsbench.flows.paths import EDM, VP, CondOT, Cosine, Path
from bnsbench.truth.ground_truth import solve_each
from bnsbench.truth.teacher import WAY_POINTS, Adaptive
from tests.flows.every_path import PATHS
from tests.flows.toy import GaussianModel
from tests.truth.test_ground_truth import LABELS, Broken, start


def gaussian(path: Path, begin: float = 0.0, end: float = 1.0) -> GaussianModel:
    model = GaussianModel(path)
    model.interval = begin, end
    return model


def noise_on(model: GaussianModel) -> Tensor:
    return float(model.path.sigma(model.interval[0])) * start(len(LABELS))


@pytest.mark.parametrize("name", PATHS)
def test_a_straight_solve_reaches_the_closed_form_flow_at_all_its_times(name: str) -> None:
    path, end = PATHS[name]
    model = gaussian(path, 0.0, end)
    field, x0 = model.field(LABELS), noise_on(model)
    found = solve_each(field, x0, 1e-8, points=5, canonical=True)
    assert found.times[[0, -1]].tolist() == [0.0, end]
    assert (found.times.diff() > 0).all()
    assert found.stopped.isnan().all()
    torch.testing.assert_close(found.states[0], x0, rtol=1e-12, atol=0)
    for t, state in zip(found.times.tolist(), found.states, strict=True):
        size = float(path.sigma(t) + path.alpha(t))
        torch.testing.assert_close(state / size, model.flow(x0, LABELS, 0.0, t) / size, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PATHS)
def test_canonical_solves_agree_with_plain_ones(name: str) -> None:
    path, end = PATHS[name]
    model = gaussian(path, 0.0, end)
    field, x0 = model.field(LABELS), noise_on(model)
    told, plain = (solve_each(field, x0, 1e-7, canonical=canonical) for canonical in (True, False))
    torch.testing.assert_close(told.states[-1], model.flow(x0, LABELS, 0.0, end), rtol=0, atol=1e-6)
    # The plain solve steps over the kinks of a schedule's derivative, which the canonical one does not see.
    torch.testing.assert_close(told.states[-1], plain.states[-1], rtol=0, atol=2e-5 if name == "discrete" else 1e-6)


def test_times_of_a_canonical_solve_are_equidistant_on_the_canonical_path() -> None:
    """On the cosine path tan(pi t / 2) is alpha / sigma, which is r / (1 - r) on the straight one."""
    model = gaussian(Cosine())
    found = solve_each(model.field(LABELS), noise_on(model), 1e-5, points=5, canonical=True)
    r = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    torch.testing.assert_close(found.times[1:-1], torch.atan(r / (1 - r)) * 2 / torch.pi)


def test_canonical_solves_of_one_field_cost_alike_on_every_path() -> None:
    """Between the same noise levels they are one solve; a plain one costs more on a path whose states grow."""
    costs, plain = {}, {}
    for name, (path, _) in PATHS.items():
        begin, end = path.time(torch.tensor([-3.9, 4.5], dtype=torch.float64)).tolist()
        model = gaussian(path, begin, end)
        x0 = noise_on(model)
        costs[name] = solve_each(model.field(LABELS), x0, 1e-6, canonical=True).nfe
        plain[name] = solve_each(model.field(LABELS), x0, 1e-6).nfe
    assert costs["condot"] == plain["condot"]
    assert max(costs.values()) <= min(costs.values()) + 12, costs
    assert plain["edm"] > 1.5 * costs["edm"]


def test_a_straight_solve_tells_where_it_stopped_on_the_field_s_own_path() -> None:
    for path in (Cosine(), EDM()):
        model = Broken(path)
        model.when = float(path.time(0.3))
        found = solve_each(model.field(LABELS), noise_on(model), 1e-6, canonical=True)
        bad = LABELS == 2
        assert torch.equal(~found.stopped.isnan(), bad)
        assert (found.stopped[bad] >= model.when).all()
        assert (found.stopped[bad] < float(path.time(2.0))).all()
        torch.testing.assert_close(found.states[-1, ~bad], model.flow(noise_on(model), LABELS)[~bad], rtol=0, atol=1e-4)


@pytest.mark.parametrize("straight", [False, True])
def test_the_adaptive_teacher_is_the_adaptive_solve(straight: bool) -> None:
    model = gaussian(VP(), 0.0, 0.999)
    field, x0 = model.field(LABELS), noise_on(model)
    expected = solve_each(field, x0, 1e-5, WAY_POINTS, straight)
    ends = Adaptive(1e-5, straight).ends(field, x0)
    assert len(ends.times) == 2
    assert ends.nfe == expected.nfe
    torch.testing.assert_close(ends.states[-1], expected.states[-1], rtol=0, atol=1e-12)
    solution, way = Adaptive(1e-5, straight).way(field, x0)
    assert torch.equal(way.times, expected.times)
    assert torch.equal(way.x, expected.states)
    for i in (0, 20, WAY_POINTS - 1):
        torch.testing.assert_close(way.u[i], field(way.times[i], way.x[i]))
    assert solution.nfe == expected.nfe + WAY_POINTS


def test_all_evaluations_of_a_way_are_counted() -> None:
    model = gaussian(CondOT())
    counter = CountingField(model.field(LABELS))
    field: BatchField = counter
    for teacher in (Adaptive(1e-4), Adaptive(1e-4, canonical=True)):
        before = counter.evaluations
        solution, _ = teacher.way(field, noise_on(model))
        assert counter.evaluations - before == solution.nfe * len(LABELS)


def test_adaptive_teachers_have_names_of_their_own() -> None:
    plain = Adaptive(1e-5)
    names = {each.name for each in (plain, replace(plain, tolerance=1e-6), replace(plain, canonical=True))}
    assert names == {"adaptive to 1e-05", "adaptive to 1e-06", "adaptive to 1e-05 on the canonical path"}
