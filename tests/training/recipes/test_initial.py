from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path as FilePath

import numpy as np
import pytest
import torch
from torch import Tensor

from bnsbench.errors import CorruptFileError, NotApplicableError, UsageError
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP, Path
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.grids import time_grid
from bnsbench.solvers.runge_kutta import euler, heun, midpoint
from bnsbench.training.optimisers.rollout import run
from bnsbench.training.optimisers.selection import psnr
from bnsbench.training.problem import Classic, Cost, Problem
from bnsbench.training.recipes.initial import (
    START_GRIDS,
    canonical_grids,
    given_start,
    greedy_start,
    greedy_table,
    start_grids,
    transfer_times,
)
from bnsbench.training.recipes.paper import precondition
from bnsbench.truth.pairs import CHUNK, Pairs, PairSource
from tests.flows.toy import GaussianModel, SineField
from tests.training.toys import as_model_field, cross, cross_source, plain_states, random_table, uniform

N = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    return cross_source(guidance=1.0, cache=tmp_path_factory.mktemp("pairs"))


def start(source: PairSource, init: str, *, nfe: int = N, sigma_0: float = 1.0) -> tuple[NonStationarySolver, str]:
    return given_start(Problem(source), nfe, init, sigma_0, Cost())


def file_of(table: NonStationarySolver, folder: FilePath, source: PairSource, **more) -> str:
    """Write a trained solver's file for a source and return its path."""
    model = source.model
    facts = {"path": model.path, "interval": model.interval, "model": source.name, "guidance": source.guidance, **more}
    made = SolverArtefact(solver=table.validated(), fingerprint=model.fingerprint(), name="bns", training={}, **facts)
    made.save(folder / "solver.json")
    return str(folder / "solver.json")


def test_start_grids_span_the_interval_with_increasing_times() -> None:
    for path, end in ((CondOT(), 1.0), (VP(), 0.999)):
        grids = start_grids(path, (0.0, end), 5)
        assert tuple(grids) == START_GRIDS
        for times in grids.values():
            assert (float(times[0]), float(times[-1]), len(times)) == (0.0, end, 6)
            assert (times.diff() > 0).all()
    given = torch.linspace(0, 0.999, 6, dtype=torch.float64)
    torch.testing.assert_close(start_grids(VP(), (0.0, 0.999), 5)["uniform"], given)


def test_canonical_grids_are_the_same_noise_levels_on_every_path() -> None:
    for path in (CondOT(), VP(), Cosine(), EDM(), VE(), DiscreteVP.linear()):
        end = 0.999 if path == VP() else 1.0
        grids = canonical_grids(path, (0.0, end), 5)
        assert tuple(grids) == START_GRIDS
        first, last = CondOT().time(path.log_snr(torch.tensor([0.0, end], dtype=torch.float64))).tolist()
        known = start_grids(CondOT(), (first, last), 5)
        for name, times in grids.items():
            assert (float(times[0]), float(times[-1]), len(times)) == (0.0, end, 6)
            assert (times.diff() > 0).all()
            levels, expected = path.log_snr(times[1:-1]), CondOT().log_snr(known[name][1:-1])
            torch.testing.assert_close(levels, expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(canonical_grids(CondOT(), (0.0, 1.0), 5)["uniform"], uniform(5))


def test_the_greedy_start_is_the_best_over_its_grids(source: PairSource) -> None:
    grids = start_grids(source.model.path, source.model.interval, N)
    cost = Cost()
    table, name = greedy_start(Problem(source), grids, cost)
    pairs = source.trajectories("train", CHUNK)
    tables = {grid: greedy_table(times, pairs) for grid, times in grids.items()}
    values = {grid: psnr(found, pairs, 2.0) for grid, found in tables.items()}
    best = max(values, key=lambda grid: values[grid])
    assert min(values.values()) < values[best] - 1
    assert name == f"greedy on {best}"
    assert torch.equal(table.rows, tables[best].rows)
    assert cost.teacher == round(pairs.nfe * CHUNK)
    assert cost.training == 2 * N * CHUNK * len(grids)  # regression and comparison
    named, same = start(source, "greedy")
    assert torch.equal(named.rows, table.rows)
    assert same == name


def test_a_classic_start_is_its_trace(source: PairSource) -> None:
    table, name = start(source, "euler")
    expected = trace(lambda field, x0: euler(field, x0, N), CondOT())
    assert name == "euler"
    torch.testing.assert_close(table.rows, expected.rows)
    torch.testing.assert_close(table.times, uniform(N), rtol=0, atol=1e-15)
    assert (float(table.times[0]), float(table.times[-1])) == (0.0, 1.0)


def test_a_classic_that_repeats_times_gets_them_opened_by_a_little(source: PairSource) -> None:
    table, _ = start(source, "heun")
    expected = trace(lambda field, x0: heun(field, x0, N), CondOT())
    assert not (expected.times.diff() > 0).all()
    assert (table.times.diff() > 0).all()
    torch.testing.assert_close(table.times, expected.times, rtol=0, atol=1e-3)
    torch.testing.assert_close(table.rows, expected.rows)
    pairs = source.pairs("train", 64)
    assert psnr(table, pairs, 2.0) == pytest.approx(psnr(expected, pairs, 2.0), abs=0.1)


def test_sigma_0_preconditions_a_classic_start(source: PairSource) -> None:
    table, name = start(source, "euler", sigma_0=3.0)
    expected = trace(precondition(euler, 3.0, N), CondOT())
    assert name == "euler sigma_0=3"
    torch.testing.assert_close(table.rows, expected.rows)
    torch.testing.assert_close(table.times, expected.times)
    assert not torch.allclose(table.rows, start(source, "euler")[0].rows)


def test_a_classic_comes_through_the_problem(source: PairSource) -> None:
    asked: list[str] = []

    def classic(name: str) -> Classic:
        asked.append(name)
        return Classic(euler)

    table, name = given_start(Problem(source, classic=classic), N, "acme/fancy[x=1]", 1.0, Cost())
    assert asked == [name] == ["acme/fancy[x=1]"]
    torch.testing.assert_close(table.rows, start(source, "euler")[0].rows)


def test_a_file_for_the_same_nfe_is_the_start_whatever_its_guidance(source: PairSource, tmp_path: FilePath) -> None:
    given = random_table(N)
    for guidance, words in ((1.0, "1"), (7.5, "7.5"), ((0.0, 2.0), "0,2")):
        file = file_of(given, tmp_path, source, guidance=guidance)
        table, name = start(source, file)
        assert torch.equal(table.rows, given.rows)
        torch.testing.assert_close(table.times, given.times)
        assert name.startswith("bns at 4 NFE for cross w=")
        assert all(part in name for part in words.split(","))


def test_a_file_for_another_nfe_lends_its_times_to_greedy_rows(source: PairSource, tmp_path: FilePath) -> None:
    given = random_table(3)
    table, name = start(source, file_of(given, tmp_path, source))
    torch.testing.assert_close(table.times, transfer_times(given.times, N))
    expected = greedy_table(table.times, source.trajectories("train", CHUNK))
    torch.testing.assert_close(table.rows, expected.rows)
    assert name == "greedy on bns at 3 NFE for cross w=1"


@pytest.mark.parametrize(("path", "end"), [(Cosine(), 1.0), (VP(), 0.999), (EDM(), 1.0)])
def test_times_of_a_file_of_another_nfe_are_the_same_noise_levels_on_every_path(
    source: PairSource, path: Path, end: float, tmp_path: FilePath
) -> None:
    reach = torch.tensor([0.02, 0.98], dtype=torch.float64)
    rows, times = random_table(3).rows, 0.02 + 0.96 * uniform(3) ** 1.5
    log_snrs = []
    for each in (CondOT(), path):
        model = cross(each, end)
        model.interval = tuple(each.time(CondOT().log_snr(reach)).tolist())
        there = each.time(CondOT().log_snr(times)).clamp(*model.interval)
        own = replace(source, model=model, name=type(each).__name__, cache=None)
        table, _ = start(own, file_of(NonStationarySolver.from_rows(there, rows), tmp_path, own))
        log_snrs.append(each.log_snr(table.times))
    torch.testing.assert_close(*log_snrs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("path", "end"), [(Cosine(), 1.0), (VP(), 0.999)])
def test_a_file_for_another_path_lends_its_log_snrs(source: PairSource, path, end: float, tmp_path: FilePath) -> None:
    given = random_table(N)
    file = file_of(given, tmp_path, source)
    other = replace(source, model=cross(path, end), name="other", cache=None)
    table, name = start(other, file)
    assert (float(table.times[0]), float(table.times[-1])) == (0.0, end)
    assert (table.times.diff() > 0).all()
    inner = CondOT().log_snr(given.times[1:-1])
    torch.testing.assert_close(path.log_snr(table.times[1:-1]), inner, rtol=1e-6, atol=1e-6)
    expected = greedy_table(table.times, other.trajectories("train", CHUNK))
    torch.testing.assert_close(table.rows, expected.rows)
    assert name == "greedy on bns at 4 NFE for cross w=1"


def test_a_file_for_another_path_and_nfe_lends_both(source: PairSource, tmp_path: FilePath) -> None:
    """Its times are carried over first, and then interpolated."""
    given = random_table(6)
    other = replace(source, model=cross(Cosine()), name="other", cache=None)
    table, _ = start(other, file_of(given, tmp_path, source))
    carried = Cosine().time(CondOT().log_snr(given.times))
    carried[0], carried[-1] = 0.0, 1.0
    torch.testing.assert_close(table.times, transfer_times(carried, N, Cosine()), rtol=1e-6, atol=1e-6)


def test_carried_times_that_fall_together_are_opened(source: PairSource, tmp_path: FilePath) -> None:
    """A path that ends early holds fewer log-SNRs than the file's."""
    times = torch.tensor([0.0, 0.5, 0.9999, 0.99999, 1.0], dtype=torch.float64)
    file = file_of(NonStationarySolver.from_rows(times, random_table(N).rows), tmp_path, source)
    other = replace(source, model=cross(CondOT(), 0.99), name="other", cache=None)
    table, _ = start(other, file)
    assert (table.times.diff() > 0).all()
    assert table.times[-1] == 0.99
    assert float(table.times[1]) == pytest.approx(0.5, abs=1e-3)


def test_what_cannot_be_started_from_is_refused(source: PairSource, tmp_path: FilePath) -> None:
    with pytest.raises(NotApplicableError, match=r"midpoint.*5|5.*midpoint|even|evaluations"):
        start(source, "midpoint", nfe=5)
    with pytest.raises(UsageError, match="no built-in solver 'magic'"):
        start(source, "magic")
    with pytest.raises(UsageError, match="cannot be read"):
        start(source, str(tmp_path / "absent.json"))
    (tmp_path / "damaged.json").write_text("{")
    with pytest.raises(CorruptFileError, match="is damaged"):
        start(source, str(tmp_path / "damaged.json"))

    def one_too_many(field, x0: Tensor, nfe: int) -> Tensor:
        return euler(field, x0, nfe + 1)

    with pytest.raises(NotApplicableError, match="spends 5 evaluations instead of 4"):
        given_start(Problem(source, classic=lambda name: Classic(one_too_many)), N, "greedy-one", 1.0, Cost())


def test_uniform_times_come_through_a_file_unchanged(source: PairSource, tmp_path: FilePath) -> None:
    rows = random_table(N).rows
    table, _ = start(source, file_of(NonStationarySolver.from_rows(uniform(N), rows), tmp_path, source))
    torch.testing.assert_close(table.times, uniform(N))


def test_transferred_times_keep_ends_and_shape() -> None:
    coarse = torch.linspace(0, 1, 5, dtype=torch.float64) ** 2
    fine = transfer_times(coarse, 12)
    assert (fine.diff() > 0).all()
    assert fine[0] == 0
    assert fine[-1] == 1
    torch.testing.assert_close(fine, torch.linspace(0, 1, 13, dtype=torch.float64) ** 2, rtol=0, atol=0.03)
    torch.testing.assert_close(transfer_times(coarse, 8)[::2], coarse)


@pytest.mark.parametrize(("path", "end"), [(VP(), 0.999), (EDM(), 1.0), (Cosine(), 1.0)])
def test_times_are_transferred_as_those_of_the_straight_path(path: Path, end: float) -> None:
    coarse = end * uniform(4) ** 1.5
    fine = transfer_times(coarse, 8, path)
    assert fine[[0, -1]].tolist() == [0.0, end]
    assert (fine.diff() > 0).all()
    torch.testing.assert_close(fine[::2], coarse, rtol=1e-8, atol=1e-10)

    def straight(times: Tensor) -> Tensor:
        """alpha / (alpha + sigma), which is the time on the canonical path."""
        return path.alpha(times) / (path.alpha(times) + path.sigma(times))

    torch.testing.assert_close(straight(fine), transfer_times(straight(coarse), 8), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n", [4, 8])
def test_the_greedy_table_beats_the_rules_on_its_grid(n: int) -> None:
    source = PairSource(GaussianModel(scale=0.3, dim=4), "gaussian", guidance=1.0, tolerance=1e-8)
    pairs, model = source.trajectories("train"), source.model
    times = time_grid("uniform", model.path, model.interval, n)
    found = psnr(greedy_table(times, pairs), pairs, 2.0)
    for rule in (euler, midpoint):
        table = trace(functools.partial(rule, nfe=n), model.path)
        assert found > psnr(table, pairs, 2.0) + 3


def best_row(basis: Tensor, target: Tensor, weights: Tensor, passes: int, share: float) -> np.ndarray:
    """The row of least mean log error by passes of lstsq, each weighted by the errors that the one before has left.

    share: of the median error, which is added to every error.
    """
    columns, importance = basis.transpose(0, 1).numpy(), weights.numpy()
    for _ in range(passes):
        root = np.sqrt(importance)[:, None]
        left = np.stack([(root * columns[:, j]).ravel() for j in range(len(basis))], axis=1)
        row = np.linalg.lstsq(left, (root * target.numpy()).ravel(), rcond=None)[0]
        errors = ((np.einsum("j,sjd->sd", row, columns) - target.numpy()) ** 2).mean(1)
        importance = weights.numpy() / (errors + share * np.median(errors))
    return row


def test_every_row_but_the_last_is_the_best_one_step_on_the_true_trajectory() -> None:
    pairs = cross_source(tolerance=1e-8).trajectories("train", 41)
    pairs = replace(pairs, weights=torch.rand(41, generator=torch.Generator().manual_seed(0)) + 0.1)
    assert pairs.trajectory is not None
    table = greedy_table(uniform(3), pairs)
    states = [pairs.x0, *plain_states(table, pairs.field, pairs.x0)]
    velocities = [pairs.field(table.times[i], states[i]) for i in range(2)]
    for i, target in enumerate([pairs.trajectory.at(1 / 3), pairs.trajectory.at(2 / 3)]):
        basis = torch.stack([pairs.x0, *velocities[: i + 1]])
        row = torch.from_numpy(best_row(basis, target, pairs.sample_weights(), passes=2, share=0.3))
        torch.testing.assert_close(table.rows[i, : i + 2], row)


def test_the_first_rows_follow_the_trajectory() -> None:
    pairs = PairSource(GaussianModel(), "gaussian", tolerance=1e-8).trajectories("train")
    assert pairs.trajectory is not None
    times = uniform(8)
    rollout = run(greedy_table(times, pairs), pairs.field, pairs.x0)
    for i in range(1, 8):
        assert (rollout.states[i] - pairs.trajectory.at(float(times[i]))).abs().max() < 0.05


def test_the_field_is_evaluated_once_per_row() -> None:
    calls = []

    class Counted(SineField):
        def __call__(self, t, x):
            calls.append(float(t))
            return super().__call__(t, x)

    pairs = PairSource(GaussianModel(), "gaussian", tolerance=1e-6).trajectories("train")
    greedy_table(uniform(4), replace(pairs, field=as_model_field(Counted())))
    assert calls == [0.0, 0.25, 0.5, 0.75]


def test_pairs_without_trajectories_are_refused() -> None:
    pairs: Pairs = cross_source().pairs("train", 4)
    with pytest.raises(ValueError, match="needs pairs with their trajectories"):
        greedy_table(uniform(2), pairs)
