"""The truth of a training: long tables and adaptive solves, each as fine as its student needs."""

from __future__ import annotations

import itertools
import math
from functools import partial

import pytest
import torch
from torch import Tensor

from bnsbench.flows.fields import BatchField, CountingField, FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.adams_bashforth import adams_bashforth
from bnsbench.solvers.unipc import unipc
from bnsbench.training.problem import Cost, Problem
from bnsbench.training.teaching import LEAST_MARGIN, LONG, MARGIN, PROBED, RULES, LongTable, Teaching, long_table
from bnsbench.truth.ground_truth import Solution, Trajectory
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import TAUGHT_CHUNK, PairSource
from bnsbench.truth.teacher import Adaptive, Teacher
from tests.flows.every_path import OTHERS, PATHS
from tests.flows.toy import GaussianModel
from tests.training.toys import bend, cross, cross_source, euler_table, plain_states, random_table


def teaching(source: PairSource | MixedSource, level: int = 0) -> Teaching:
    return Teaching(Problem(source), Cost(), level)


def decibels(found: Tensor, truth: Tensor) -> float:
    """The mean PSNR of end states whose range is 2."""
    return float((10 * torch.log10(4 / (found - truth).square().mean(1))).mean())


def probed(source: PairSource, teacher: Teacher) -> Tensor:
    """The end states by a teacher of the samples on which it is measured."""
    return source.taught(teacher, PROBED).pairs("train", PROBED).x1


def noise(count: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0), dtype=dtype)


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
    for tolerance, finer in ((1e-3, []), (1e-6, [1e-5]), (1e-10, [1e-5, 1e-6, 1e-7, 1e-8, 1e-9])):
        levels = teaching(cross_source(tolerance=tolerance)).levels
        tables, adaptive = levels[: len(LONG)], levels[len(LONG) :]
        assert adaptive == [(Adaptive(each, canonical=True),) for each in (*finer, tolerance)]
        for nfe, choice in zip(LONG, tables, strict=True):
            for grid, table in zip(("logsnr:-5:5", "logsnr:-5:7"), choice, strict=False):
                assert isinstance(table, LongTable)
                expected = trace(partial(unipc, nfe=nfe, order=3, grid=grid), CondOT(), (0.0, 1.0))
                assert torch.equal(table.table.rows, expected.rows)
                assert table.rule == f"unipc of order 3 on {grid}"
            assert isinstance(choice[2], LongTable)
            expected = trace(partial(adams_bashforth, nfe=nfe, order=4, grid="kumaraswamy:1.5:2"), CondOT(), (0.0, 1.0))
            assert torch.equal(choice[2].table.rows, expected.rows)
            assert (choice[2].rule, len(choice)) == ("ab4 on kumaraswamy:1.5:2", 3)
        every = list(itertools.chain(*levels))
        assert len({teacher.name for teacher in every}) == len(every)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", OTHERS)
def test_between_the_same_noise_levels_a_table_tells_the_same_truth_on_every_path(name: str, rule: str) -> None:
    """Of one mixture, whose field on every path is known, but for a scale and rounding."""
    path, straight = PATHS[name][0], CondOT()
    interval, canonical = (each.time(torch.tensor([-3.9, 4.5]).double()) for each in (path, straight))
    teachers = [long_table(rule, 24, each, tuple(ends.tolist())) for each, ends in ((straight, canonical), (path, interval))]
    levels = [each.log_snr(made.table.times) for each, made in zip((straight, path), teachers, strict=True)]
    torch.testing.assert_close(levels[1], levels[0], rtol=1e-9, atol=1e-9)
    assert torch.equal(teachers[1].table.times[[0, -1]], interval)
    # x / sigma at the beginning and x / alpha at the end are the same on both.
    labels = torch.arange(5) % 2
    ends = []
    for each, (begin, end), made in zip((straight, path), (canonical, interval), teachers, strict=True):
        found = made.ends(cross(each).field(labels), float(each.sigma(begin)) * noise())
        ends.append(found.states[-1] / float(each.alpha(end)))
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=1e-8)
    assert teachers[1].name != teachers[0].name


@pytest.mark.parametrize("rule", RULES)
def test_a_table_on_a_model_s_own_interval_is_the_rule_on_the_canonical_one(rule: str) -> None:
    """Traced on the canonical path by noise levels, and run on the straight field, from and to which states are scaled."""
    for name, (path, end) in PATHS.items():
        begins, ends = (float(CondOT().time(path.log_snr(t))) for t in (0.0, end))
        plain = trace(lambda field, x0: RULES[rule](field, x0, 24), CondOT(), (begins, ends))
        made = long_table(rule, 24, path, (0.0, end))
        assert made.table.times[[0, -1]].tolist() == [0.0, end], name
        labels, x0 = torch.arange(5) % 2, float(path.sigma(0.0)) * noise()
        found = made.table(cross(path).field(labels), x0) / float(path.alpha(end))
        scaled = x0 * float(CondOT().sigma(begins) / path.sigma(0.0))
        expected = plain(cross().field(labels), scaled) / float(CondOT().alpha(ends))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


SOURCES = [cross_source(*PATHS[name], tolerance=1e-9) for name in ("condot", "vp", "edm")]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.model.path.name)
def test_of_every_level_the_best_table_teaches_finer_than_the_one_before_and_says_how_fine(source: PairSource) -> None:
    """Against the truth solved to 1e-9."""
    truth, errors, told = source.pairs("train", PROBED).x1, [], []
    for level in range(len(LONG)):
        made = teaching(source, level=level)
        each = [decibels(probed(source, teacher), truth) for teacher in made.levels[level]]
        errors.append(decibels(probed(source, made.teacher), truth))
        told.append(made.error())
        assert errors[-1] == pytest.approx(max(each), abs=0.5) or min(errors[-1], max(each)) > 85
    assert errors == sorted(errors)
    assert 40 < errors[0] < errors[-1] - 10
    # They are measured against a solve to 1e-5, which resolves no more than about 90 dB.
    for error, said in zip(errors, told, strict=True):
        assert said == pytest.approx(error, abs=1.0) or min(error, said) > 85


def test_an_adaptive_teacher_is_measured_against_the_next_one_and_the_finest_by_none() -> None:
    source = cross_source(tolerance=1e-7)
    made = teaching(source, level=len(LONG))
    rough, fine = (probed(source, Adaptive(tolerance, canonical=True)) for tolerance in (1e-5, 1e-6))
    assert made.error() == pytest.approx(decibels(rough, fine), abs=1e-6)
    assert made.teacher == Adaptive(1e-5, canonical=True)
    finest = teaching(source, level=len(LONG) + 2)
    assert (finest.teacher, finest.error()) == (Adaptive(1e-7, canonical=True), math.inf)
    assert finest.cost.truths == {}


def test_a_long_table_is_measured_against_the_first_adaptive_teacher() -> None:
    source = cross_source(tolerance=1e-7)
    for level in (0, 2, len(LONG) - 1):
        made = teaching(source, level=level)
        fine = probed(source, Adaptive(1e-5, canonical=True))
        worth = [decibels(probed(source, teacher), fine) for teacher in made.levels[level]]
        assert made.error() == pytest.approx(max(worth), abs=1e-6)
        assert made.teacher is made.levels[level][worth.index(max(worth))]


class Off:
    """A teacher whose ends are beside the truth by a number, or no numbers at all; it counts how often it is asked."""

    def __init__(self, name: str, by: float, truth: Tensor) -> None:
        self.name, self.by, self.truth, self.asked = name, by, truth, 0

    def ends(self, field: BatchField, x0: Tensor) -> Solution:
        del field
        self.asked += 1
        stopped = torch.full((len(x0),), math.nan if math.isfinite(self.by) else 0.5, dtype=torch.float64)
        return Solution(torch.tensor([0.0, 1.0], dtype=torch.float64), torch.stack([x0, self.truth + self.by]), 3, stopped)

    def way(self, field: BatchField, x0: Tensor) -> tuple[Solution, Trajectory]:
        raise AssertionError("nobody looks at its way")


@pytest.mark.parametrize(
    ("by", "best"),
    [
        ((0.1, 0.02, 0.2), 1),
        ((0.02, 0.1), 0),
        ((0.1, 0.02), 1),
        ((math.inf, 0.1, math.inf), 1),
        ((math.nan, 0.1, 0.02), 2),
        ((math.inf, math.nan, math.inf), None),
    ],
)
def test_the_teacher_of_a_level_is_the_best_of_those_that_do_not_run_away(by: tuple[float, ...], best: int | None) -> None:
    """An end state beside the truth by 1/10 of a range of 2 is at 26 dB; if none is left, the next level takes over."""
    source = cross_source(tolerance=1e-6)
    made = teaching(source)
    truth = probed(source, Adaptive(1e-5, canonical=True))
    offs = tuple(Off(f"off {number}", each, truth) for number, each in enumerate(by))
    made.levels[0] = offs
    if best is None:
        assert made.error() == -math.inf
        assert made.sharpen(-1e9)
        assert made.level == 1
        assert made.error() > 40
    else:
        assert made.teacher is offs[best]
        assert made.error() == pytest.approx(20 * math.log10(2 / by[best]))
        assert not made.sharpen(made.error() - MARGIN)
    # Each is asked once, however often its level is looked at, and paid for once if it has an end.
    made.level = 0
    assert made.error() == made.error()
    assert [off.asked for off in offs] == [1] * len(by)
    spent = {name: count for name, count in made.cost.truths.items() if name.startswith("error of off")}
    assert spent == {f"error of {off.name}": 3 * PROBED for off in offs if math.isfinite(off.by)}


def test_a_teacher_takes_over_where_the_one_before_is_not_so_much_better_than_its_student() -> None:
    errors = {0: 40.0, 1: 50.0, 2: 60.0, 3: 60.0, 4: 70.0, 5: 80.0}
    last = len(teaching(cross_source(tolerance=1e-6)).levels) - 1

    def level_for(psnr: float, level: int = 0) -> tuple[int, bool]:
        made = teaching(cross_source(tolerance=1e-6), level=level)
        tell_errors(made, errors)
        changed = made.sharpen(psnr)
        return made.level, changed

    assert level_for(40.0 - MARGIN) == (0, False)
    assert level_for(40.1 - MARGIN) == (1, True)
    assert level_for(60.0 - MARGIN) == (2, True)
    assert level_for(60.1 - MARGIN) == (4, True)
    assert level_for(200.0) == (last, True)
    assert level_for(-10.0, level=3) == (3, False)
    assert level_for(200.0, level=last) == (last, False)


def tell_errors(made: Teaching, errors: dict[int, float]) -> None:
    """Tell how exact teachers are, by level."""
    made.measured.update({level: (made.levels[level][0], error) for level, error in errors.items()})


def test_a_student_outgrows_its_teacher_later_than_it_would_choose_another() -> None:
    made = teaching(cross_source(tolerance=1e-6))
    tell_errors(made, {0: 40.0})
    assert not made.outgrown(40.0 - LEAST_MARGIN)
    assert made.outgrown(40.1 - LEAST_MARGIN)
    assert LEAST_MARGIN < MARGIN
    made.level = len(made.levels) - 1
    assert not made.outgrown(math.inf)


def test_pairs_are_the_teacher_s_with_their_ways_if_they_are_asked_for() -> None:
    made = teaching(cross_source())
    pairs, way = made.pairs("train", 10), made.pairs("train", 12, along=True)
    assert (len(pairs), len(way), pairs.trajectory) == (10, 12, None)
    assert way.trajectory is not None
    assert torch.equal(way.trajectory.x[-1], way.x1)
    assert way.trajectory.x.shape[:2] == (LONG[0] + 1, 12)
    table = made.teacher
    assert isinstance(table, LongTable)
    torch.testing.assert_close(pairs.x1, table.table(pairs.field, pairs.x0), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(way.x1[:10], pairs.x1, rtol=1e-10, atol=1e-10)
    assert torch.equal(pairs.x0, cross_source().pairs("train", 10).x0)


def test_what_is_known_is_not_solved_again() -> None:
    solved: list[str] = []
    made = teaching(cross_source(progress=solved.append))
    # Once the teacher is known, for which every one of its level is measured, and a finer one.
    assert made.teacher in made.levels[0]
    assert len(solved) == len(RULES) + 1
    solved.clear()
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
    assert made.teacher in made.levels[1]
    solved.clear()
    assert not torch.equal(made.pairs("train", 5).x1, way.x1)
    assert len(solved) == 1
    made.level = 0
    assert made.error() < made.measured[1][1]
    assert len(solved) == 1


def test_every_truth_is_counted_once() -> None:
    made = teaching(cross_source())
    for count in (5, 40, 20):
        made.pairs("train", count)
    made.pairs("validation", 3)
    finer = probe_cost(made)
    taught = {
        f"train, {made.teacher.name}": 2 * TAUGHT_CHUNK * LONG[0],
        f"validation, {made.teacher.name}": TAUGHT_CHUNK * LONG[0],
    }
    measured = {f"error of {teacher.name}": PROBED * LONG[0] for teacher in made.levels[0]}
    assert made.cost.truths == {**taught, **measured, **finer}
    made.error()
    made.level = 1
    made.error()
    # Against the same finer one, which counts no more.
    more = {f"error of {teacher.name}": PROBED * LONG[1] for teacher in made.levels[1]}
    assert made.cost.truths == {**taught, **measured, **finer, **more}
    assert made.cost.teacher == sum((3 * TAUGHT_CHUNK * LONG[0], 3 * PROBED * (LONG[0] + LONG[1]), *finer.values()))


def probe_cost(made: Teaching) -> dict[str, int]:
    """What the solve costs against which long tables are measured."""
    (finer,) = made.levels[len(LONG)]
    return {f"error of {finer.name}": made.problem.source.taught(finer, PROBED).pairs("train", PROBED).truth_evaluations}


def test_many_guidance_scales_are_all_probed() -> None:
    source = PairSource(GaussianModel(), "gaussian", tolerance=1e-5)
    scales = tuple(0.1 * scale for scale in range(PROBED + 3))
    made = teaching(MixedSource.of(source, scales))
    assert (made.least, teaching(source).least) == (PROBED + 3, 1)
    assert 30 < made.error() < 150
