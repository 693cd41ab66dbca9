"""The truth of a training: long tables and adaptive solves, each as fine as its student needs."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from bnsbench.flows.fields import BatchField, CountingField, FunctionField
from bnsbench.flows.paths import EDM, VP, CondOT, Path
from bnsbench.models.mixtures import MixtureModel
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.unipc import unipc
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.teaching import LEAST_MARGIN, LONG, MARGIN, PROBED, LongTable, Teaching
from bnsbench.truth.ground_truth import Solution, Trajectory
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import TAUGHT_CHUNK, PairSource
from bnsbench.truth.teacher import Adaptive
from tests.flows.toy import GaussianModel
from tests.training.toys import bend, cross, cross_source, euler_table, plain_states, random_table


def teaching(source: PairSource | MixedSource, level: int = 0, errors: dict[int, float] | None = None) -> Teaching:
    return Teaching(Problem(source), Cost(), level, errors or {})


def noise(count: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)


def cross_on(path: Path, end: float = 1.0) -> PairSource:
    return PairSource(MixtureModel(cross().mixture, path, (2,), end), "cross", tolerance=1e-9)


def test_a_long_table_ends_where_it_ends() -> None:
    field, table, x0 = FunctionField(bend, CondOT()), random_table(6), noise()
    found = LongTable(table, "mine").ends(field, x0)
    torch.testing.assert_close(found.states[-1], plain_states(table, bend, x0)[-1], rtol=1e-13, atol=1e-13)
    assert torch.equal(found.states[0], x0)
    assert found.times.tolist() == [0.0, 1.0]
    assert found.nfe == 6
    assert found.stopped.isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_its_way_is_its_run_and_costs_no_more(dtype: torch.dtype) -> None:
    counter, table, x0 = CountingField(FunctionField(bend, CondOT())), random_table(6), noise(dtype=dtype)
    solution, way = LongTable(table, "mine").way(counter, x0)
    assert counter.evaluations == solution.nfe * len(x0) == 6 * len(x0)
    assert torch.equal(way.times, table.times)
    assert way.x.dtype == way.u.dtype == dtype
    expected = [x0, *plain_states(table, bend, x0.double())]
    for i, state in enumerate(expected):
        torch.testing.assert_close(way.x[i].double(), state.double(), rtol=1e-5, atol=1e-5)
        if i < 6:
            torch.testing.assert_close(way.u[i].double(), bend(table.times[i], state.double()), rtol=1e-5, atol=1e-5)


def test_the_last_velocity_of_a_way_makes_its_last_step_a_parabola() -> None:
    """x = x_0 + t^2, whose velocity is 2 t, of which a table with these steps follows every state exactly."""
    times = torch.tensor([0.1, 0.4, 0.7, 1.0], dtype=torch.float64)
    # The step to t_{i+1} weighs u_i = 2 t_i by (t_{i+1}^2 - t_i^2) / (2 t_i).
    steps = (times[1:] ** 2 - times[:-1] ** 2) / (2 * times[:-1])
    table = NonStationarySolver(times, torch.ones(3), steps.expand(3, 3).tril())
    field = FunctionField(lambda t, x: 2 * t * torch.ones_like(x), CondOT(), (0.1, 1.0))
    _, way = LongTable(table, "parabola").way(field, noise())
    torch.testing.assert_close(way.u[-1], torch.full((5, 2), 2.0, dtype=torch.float64))
    torch.testing.assert_close(way.at(0.85), noise() + 0.85**2 - 0.1**2)


def test_samples_whose_end_is_no_number_have_no_truth() -> None:
    field = FunctionField(lambda t, x: x / x, CondOT())  # 0 / 0 for one of them
    x0 = noise()
    x0[3] = 0.0
    for found in (LongTable(euler_table(4), "e").ends(field, x0), LongTable(euler_table(4), "e").way(field, x0)[0]):
        assert found.stopped.isnan().tolist() == [True, True, True, False, True]
        assert found.stopped[3] == 1.0


def test_long_tables_have_names_of_their_own() -> None:
    tables = [LongTable(euler_table(4), "e"), LongTable(euler_table(5), "e"), LongTable(random_table(4), "e")]
    names = {each.name for each in (*tables, LongTable(euler_table(4), "f"))}
    assert len(names) == 4
    assert tables[0].name.startswith("e at 4 NFE, ")


def test_the_teachers_are_long_tables_and_then_adaptive_solves_down_to_the_problem_s_tolerance() -> None:
    for tolerance, finer in ((1e-3, []), (1e-6, [1e-5]), (1e-8, [1e-5, 1e-6, 1e-7])):
        teachers = teaching(cross_source(tolerance=tolerance)).teachers
        tables, adaptive = teachers[: len(LONG)], teachers[len(LONG) :]
        assert adaptive == [Adaptive(each, straight=True) for each in (*finer, tolerance)]
        for nfe, table in zip(LONG, tables, strict=True):
            assert isinstance(table, LongTable)
            expected = trace(partial(unipc, nfe=nfe, order=3, grid="logsnr"), CondOT(), (0.0, 1.0))
            assert torch.equal(table.table.rows, expected.rows)
            assert table.rule == "unipc of order 3 on log-SNR"
        assert len({teacher.name for teacher in teachers}) == len(teachers)


SOURCES = [cross_on(CondOT()), cross_on(VP(), 0.999), cross_on(EDM())]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.model.path.name)
def test_every_table_is_finer_than_the_one_before_and_says_how_fine(source: PairSource) -> None:
    """Against the truth solved to 1e-9."""
    truth, errors, told = source.pairs("train", PROBED).x1, [], []
    for level in range(len(LONG)):
        made = teaching(source, level=level)
        found = made.problem.source.taught(made.teacher, PROBED).pairs("train", PROBED).x1
        errors.append(float((10 * torch.log10(4 / (found - truth).square().mean(1))).mean()))
        told.append(made.error())
    assert errors == sorted(errors)
    assert 40 < errors[0] < errors[-1] - 10
    # They are measured against a solve to 1e-5, which resolves no more than about 90 dB.
    for error, said in zip(errors, told, strict=True):
        assert said == pytest.approx(error, abs=1.0) or min(error, said) > 85


def test_an_adaptive_teacher_is_measured_against_the_next_one_and_the_finest_by_none() -> None:
    source = cross_source(tolerance=1e-7)
    made = teaching(source, level=len(LONG))
    rough, fine = (
        source.taught(Adaptive(tolerance, straight=True), PROBED).pairs("train", PROBED).x1 for tolerance in (1e-5, 1e-6)
    )
    assert made.error() == pytest.approx(float((10 * torch.log10(4 / (rough - fine).square().mean(1))).mean()), abs=1e-6)
    assert teaching(source, level=len(LONG) + 2).error() == math.inf


def test_a_teacher_takes_over_where_the_one_before_is_not_so_much_better_than_its_student() -> None:
    errors = {0: 40.0, 1: 50.0, 2: 60.0, 3: 60.0, 4: 70.0, 5: 80.0}
    last = len(teaching(cross_source(tolerance=1e-6)).teachers) - 1

    def level_for(psnr: float, level: int = 0) -> tuple[int, bool]:
        made = teaching(cross_source(tolerance=1e-6), level=level, errors=dict(errors))
        changed = made.sharpen(psnr)
        return made.level, changed

    assert level_for(40.0 - MARGIN) == (0, False)
    assert level_for(40.1 - MARGIN) == (1, True)
    assert level_for(60.0 - MARGIN) == (2, True)
    assert level_for(60.1 - MARGIN) == (4, True)
    assert level_for(200.0) == (last, True)
    assert level_for(-10.0, level=3) == (3, False)
    assert level_for(200.0, level=last) == (last, False)


def test_a_student_outgrows_its_teacher_later_than_it_would_choose_another() -> None:
    made = teaching(cross_source(tolerance=1e-6), errors={0: 40.0})
    assert not made.outgrown(40.0 - LEAST_MARGIN)
    assert made.outgrown(40.1 - LEAST_MARGIN)
    assert LEAST_MARGIN < MARGIN
    made.level = len(made.teachers) - 1
    assert not made.outgrown(math.inf)


class Astray:
    """A teacher that goes nowhere."""

    name = "astray"

    def ends(self, field: BatchField, x0: Tensor) -> Solution:
        del field
        stopped = torch.full((len(x0),), math.nan, dtype=torch.float64)
        return Solution(torch.tensor([0.0, 1.0], dtype=torch.float64), torch.stack([x0, x0 * torch.inf]), 1, stopped)

    def way(self, field: BatchField, x0: Tensor) -> tuple[Solution, Trajectory]:
        raise AssertionError("nobody looks at its way")


def test_a_teacher_whose_ends_are_no_numbers_teaches_nobody() -> None:
    made = teaching(cross_source(tolerance=1e-6))
    made.teachers[0] = Astray()
    assert made.error() == -math.inf
    assert made.sharpen(-1e9)
    assert made.level == 1


def test_pairs_are_the_teacher_s_with_their_ways_if_they_are_asked_for() -> None:
    made = teaching(cross_source())
    pairs, way = made.pairs("train", 10), made.pairs("train", 12, along=True)
    assert (len(pairs), len(way), pairs.trajectory) == (10, 12, None)
    assert way.trajectory is not None
    assert torch.equal(way.trajectory.x[-1], way.x1)
    assert way.trajectory.x.shape[:2] == (LONG[0] + 1, 12)
    table = made.teachers[0]
    assert isinstance(table, LongTable)
    torch.testing.assert_close(pairs.x1, table.table(pairs.field, pairs.x0), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(way.x1[:10], pairs.x1, rtol=1e-10, atol=1e-10)
    assert torch.equal(pairs.x0, cross_source().pairs("train", 10).x0)


def test_what_is_known_is_not_solved_again() -> None:
    solved: list[str] = []
    made = teaching(cross_source(progress=solved.append))
    whole = made.pairs("train", 2 * TAUGHT_CHUNK)
    assert len(solved) == 2
    assert torch.equal(made.pairs("train", 7).x1, whole.x1[:7])
    assert torch.equal(made.pairs("train", 7).x0, whole.x0[:7])
    assert len(solved) == 2
    way = made.pairs("train", 5, along=True)
    assert len(solved) == 3
    again = made.pairs("train", 4)
    assert again.trajectory is None
    assert torch.equal(again.x1, way.x1[:4])
    made.pairs("validation", 4)
    assert len(solved) == 4
    made.level = 1
    assert not torch.equal(made.pairs("train", 5).x1, way.x1)
    assert len(solved) == 5


def test_every_truth_is_counted_once() -> None:
    made = teaching(cross_source())
    for count in (5, 40, 20):
        made.pairs("train", count)
    made.pairs("validation", 3)
    first = made.teacher.name
    assert made.cost.truths == {
        f"train, {first}": 2 * TAUGHT_CHUNK * LONG[0],
        f"validation, {first}": TAUGHT_CHUNK * LONG[0],
    }
    made.error()
    made.error()
    finer = made.teachers[len(LONG)]
    probed = made.problem.source.taught(finer, PROBED).pairs("train", PROBED)
    assert made.cost.truths[f"error of {first}"] == PROBED * LONG[0]
    assert made.cost.truths[f"error of {finer.name}"] == probed.truth_evaluations
    assert made.cost.teacher == 3 * TAUGHT_CHUNK * LONG[0] + PROBED * LONG[0] + probed.truth_evaluations


def test_many_guidance_scales_are_all_probed() -> None:
    source = PairSource(GaussianModel(), "gaussian", tolerance=1e-5)
    scales = tuple(0.1 * scale for scale in range(PROBED + 3))
    made = teaching(MixedSource.of(source, scales))
    assert (made.least, teaching(source).least) == (PROBED + 3, 1)
    assert 30 < made.error() < 150
