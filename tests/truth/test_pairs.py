from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bnsbench.errors import DivergedError
from bnsbench.flows.fields import BatchField
from bnsbench.flows.model import Model, ModelField
from bnsbench.flows.paths import EDM, CondOT
from bnsbench.process.parts import Parts
from bnsbench.storage import tensors as tensor_files
from bnsbench.storage.files import StorageError
from bnsbench.truth import pairs as pairs_module
from bnsbench.truth.ground_truth import Solution, Trajectory
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import CHUNK, TAUGHT_CHUNK, PairSource, pairs_device
from bnsbench.truth.teacher import Adaptive
from tests.flows.toy import GaussianModel
from tests.spawning import spawned


def source(cache: Path | None = None, **more) -> PairSource:
    return PairSource(GaussianModel(), "gaussian", tolerance=1e-8, cache=cache, **more)


def test_pairs_solve_the_flow_and_carry_their_conditions() -> None:
    pairs = source().pairs("test", 10)
    expected = GaussianModel().flow(pairs.x0, torch.arange(10) % 3)
    torch.testing.assert_close(pairs.x1, expected, rtol=0, atol=1e-6)
    part = pairs.part(slice(3, 6))
    assert len(part) == 3
    t = torch.tensor(0.5)
    torch.testing.assert_close(part.field(t, part.x0), pairs.field(t, pairs.x0)[3:6])


def test_guidance_is_part_of_the_truth() -> None:
    assert not torch.allclose(source(guidance=3.0).pairs("test", 4).x1, source().pairs("test", 4).x1, atol=1e-2)


def test_truth_does_not_depend_on_how_many_are_asked_for() -> None:
    few, many = source().pairs("train", 5), source().pairs("train", CHUNK + 5)
    assert torch.equal(few.x1, many.x1[:5])
    assert torch.equal(few.x0, many.x0[:5])


def test_noise_is_scaled_to_the_path_s_beginning() -> None:
    model = GaussianModel(EDM())
    start = PairSource(model, "gaussian").initial("test", torch.arange(50))
    assert 60 < float(start.std()) < 100


def test_the_cache_saves_the_solve_and_damage_is_noticed(tmp_path: Path) -> None:
    told: list[str] = []
    first = source(tmp_path, progress=told.append).pairs("test", 8)
    assert len(told) == 1
    again = source(tmp_path, progress=told.append).pairs("test", 8)
    assert len(told) == 1
    assert torch.equal(first.x1, again.x1)
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    mended = source(tmp_path, progress=told.append).pairs("test", 8)
    assert len(told) == 2
    assert torch.equal(first.x1, mended.x1)


def test_a_truncated_cache_file_is_solved_again(tmp_path: Path) -> None:
    first = source(tmp_path).pairs("test", 8)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(source(tmp_path).pairs("test", 8).x1, first.x1)


def test_another_tolerance_seed_or_guidance_is_another_file(tmp_path: Path) -> None:
    PairSource(GaussianModel(), "gaussian", cache=tmp_path, tolerance=1e-3).pairs("test", 1)
    PairSource(GaussianModel(), "gaussian", cache=tmp_path, tolerance=1e-4).pairs("test", 1)
    PairSource(GaussianModel(), "gaussian", cache=tmp_path, tolerance=1e-3, seed=1).pairs("test", 1)
    PairSource(GaussianModel(), "gaussian", cache=tmp_path, tolerance=1e-3, guidance=1.0).pairs("test", 1)
    assert len(list(tmp_path.glob("*.safetensors"))) == 4


def test_what_the_truth_costs_is_counted() -> None:
    model = GaussianModel()
    pairs = PairSource(model, "gaussian", tolerance=1e-8).pairs("test", 5)
    assert pairs.nfe == len(model.calls)
    assert pairs.truth_evaluations == CHUNK * len(model.calls)
    model.calls.clear()
    way = PairSource(model, "gaussian", tolerance=1e-8).trajectories("test", CHUNK + 1)
    assert way.nfe == len(model.calls) / 2
    assert way.truth_evaluations == CHUNK * len(model.calls)


def test_a_coarser_source_is_never_a_finer_one() -> None:
    assert [source().coarser(tolerance, 4).tolerance for tolerance in (1e-3, 1e-12)] == [1e-3, 1e-8]
    assert source().coarser(1e-3, 4).chunk == 4


def test_trajectories_run_from_the_noise_to_the_truth_and_the_ceiling_is_high(tmp_path: Path) -> None:
    pairs = source(tmp_path).trajectories("train")
    trajectory = pairs.trajectory
    assert trajectory is not None
    assert len(pairs) == CHUNK
    assert torch.equal(trajectory.x[0], pairs.x0)
    assert torch.equal(trajectory.x[-1], pairs.x1)
    torch.testing.assert_close(pairs.x1, source().pairs("train", CHUNK).x1, rtol=0, atol=1e-6)
    assert source(tmp_path).ceiling() > 120


def test_trajectories_follow_the_flow_with_the_field_s_velocities() -> None:
    model = GaussianModel()
    pairs = source().trajectories("validation", CHUNK + 3)
    trajectory = pairs.trajectory
    assert trajectory is not None
    assert len(pairs) == len(pairs.x1) == trajectory.x.shape[1] == CHUNK + 3
    for i in (0, 13, 40, 64):
        t = trajectory.times[i]
        expected = model.flow(pairs.x0, torch.arange(CHUNK + 3) % 3, end=float(t))
        torch.testing.assert_close(trajectory.x[i], expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(trajectory.u[i], pairs.field(t, trajectory.x[i]))


def test_trajectories_do_not_depend_on_how_many_are_asked_for_and_are_kept(tmp_path: Path) -> None:
    told: list[str] = []
    many = source(tmp_path, progress=told.append).trajectories("train", CHUNK + 2)
    assert len(told) == 2
    few = source(tmp_path, progress=told.append).trajectories("train", 3)
    assert len(told) == 2
    assert few.trajectory is not None
    assert many.trajectory is not None
    assert torch.equal(few.trajectory.x, many.trajectory.x[:, :3])
    assert torch.equal(few.trajectory.u, many.trajectory.u[:, :3])
    assert torch.equal(few.x0, many.x0[:3])


@pytest.mark.parametrize("index", [slice(2, 5), torch.tensor([4, 0])], ids=["slice", "tensor"])
def test_a_part_keeps_weights_and_trajectories(index: slice | torch.Tensor) -> None:
    weights = torch.arange(1.0, 7.0)
    whole = replace(source().trajectories("train", 6), weights=weights)
    part = whole.part(index)
    assert torch.equal(part.x0, whole.x0[index])
    assert torch.equal(part.x1, whole.x1[index])
    assert part.nfe == whole.nfe
    assert part.weights is not None
    assert torch.equal(part.weights, weights[index])
    assert part.trajectory is not None
    assert whole.trajectory is not None
    assert torch.equal(part.trajectory.x, whole.trajectory.x[:, index])
    assert torch.equal(part.trajectory.u, whole.trajectory.u[:, index])
    bare = source().pairs("train", 6).part(index)
    assert bare.weights is None
    assert bare.trajectory is None


def test_sample_weights_sum_to_one() -> None:
    pairs = source().pairs("train", 4)
    assert torch.equal(pairs.sample_weights(), torch.full((4,), 0.25, dtype=torch.float64))
    weighted = replace(pairs, weights=torch.tensor([1.0, 2.0, 1.0, 4.0])).sample_weights()
    assert torch.equal(weighted, torch.tensor([0.125, 0.25, 0.125, 0.5], dtype=torch.float64))
    assert torch.equal(
        replace(pairs, weights=torch.tensor([1, 2, 1, 4])).part(slice(1, 3)).sample_weights(),
        torch.tensor([2 / 3, 1 / 3], dtype=torch.float64),
    )


class Shrinking(Model):
    """u = -x, computed in the model's own precision: x_1 = x_0 / e."""

    path = CondOT()
    shape = (4,)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def predict(self, t, x, condition):
        assert x.dtype == self.dtype
        return -x

    def fingerprint(self) -> str:
        return "shrinking"


@pytest.mark.parametrize(
    ("dtype", "states", "tolerance"),
    [
        (torch.bfloat16, torch.float32, 2.0**-7 / 64),
        (torch.float16, torch.float32, 2.0**-10 / 64),
        (torch.float32, torch.float32, 1e-6),
        (torch.float64, torch.float64, 1e-6),
    ],
    ids=str,
)
def test_a_network_below_float32_is_followed_in_float32_as_far_as_its_rounding_allows(
    dtype: torch.dtype, states: torch.dtype, tolerance: float
) -> None:
    source = PairSource(Shrinking(dtype), "shrinking", tolerance=1e-6)
    assert source.truth_tolerance == tolerance
    pairs = source.trajectories("test", 3)
    assert pairs.trajectory is not None
    assert {pairs.x0.dtype, pairs.x1.dtype, pairs.trajectory.x.dtype, pairs.trajectory.u.dtype} == {states}
    error = (pairs.x1 - pairs.x0 / math.e).abs().max()
    assert float(error) < max(1e-5, torch.finfo(dtype).eps)
    assert PairSource(Shrinking(dtype), "shrinking", tolerance=1e-2).truth_tolerance == 1e-2


def test_a_tolerance_below_the_rounding_is_not_another_file(tmp_path: Path) -> None:
    for tolerance in (1e-6, 1e-8):
        PairSource(Shrinking(torch.bfloat16), "shrinking", tolerance=tolerance, cache=tmp_path).pairs("test", 1)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_a_source_says_what_an_evaluation_costs() -> None:
    assert source().forwards_per_evaluation == 1
    assert source(guidance=2.0).forwards_per_evaluation == 2


def test_a_chunk_that_cannot_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", fill)
    with pytest.raises(StorageError, match="No space"):
        source(tmp_path).pairs("test", 1)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


class Faulty(GaussianModel):
    """The Gaussian model with the index of a sample as its condition, without a velocity for some after the middle."""

    bad = (5, 40, 131)

    def conditions(self, indices: Tensor) -> Tensor:
        return indices

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        assert condition is not None
        faulty = torch.isin(condition, torch.tensor(self.bad)) & (t > 0.5)
        return super().predict(t, x, condition % 3).masked_fill(faulty[:, None], torch.inf)


def test_samples_that_cannot_be_solved_are_named_to_whoever_asks_for_them(tmp_path: Path) -> None:
    faulty = PairSource(Faulty(), "gaussian", tolerance=1e-8, cache=tmp_path)
    torch.testing.assert_close(faulty.pairs("test", 5).x1, source().pairs("test", 5).x1, rtol=0, atol=1e-6)
    for ask in (faulty.pairs, faulty.trajectories):
        with pytest.raises(DivergedError, match=r"of 1 of 6 samples of the test split .* that of sample 5\. At t = 0\."):
            ask("test", 6)
    with pytest.raises(DivergedError, match=r"of 3 of 150 samples of the train split .* samples 5, 40, 131\. At t = 0\."):
        faulty.pairs("train", 150)


def test_what_could_be_solved_is_kept_together_with_what_could_not(tmp_path: Path) -> None:
    told: list[str] = []
    faulty = PairSource(Faulty(), "gaussian", tolerance=1e-4, cache=tmp_path, progress=told.append)
    sentences = []
    for _ in range(2):
        with pytest.raises(DivergedError) as caught:
            faulty.pairs("test", 128)
        sentences.append(str(caught.value))
    assert sentences[0] == sentences[1]
    assert len(told) == 1
    assert faulty.pairs("test", 4).x1.isfinite().all()
    assert len(told) == 1


def test_the_ceiling_is_that_of_the_samples_that_have_a_truth() -> None:
    assert 70 < PairSource(Faulty(), "gaussian", tolerance=1e-5).ceiling() < 150


class Known:
    """A teacher that knows the flow of the Gaussian model, and stops at three times on its way."""

    def __init__(self, name: str = "closed form") -> None:
        self.name = name
        self.solved: list[tuple[str, int]] = []

    def ends(self, field: BatchField, x0: Tensor) -> Solution:
        self.solved.append(("ends", len(x0)))
        return self._solution(field, x0, [0.0, 1.0], 3.0)

    def way(self, field: BatchField, x0: Tensor) -> tuple[Solution, Trajectory]:
        self.solved.append(("way", len(x0)))
        found = self._solution(field, x0, [0.0, 0.5, 1.0], 7.0)
        return found, found.trajectory(field)

    def _solution(self, field: BatchField, x0: Tensor, times: list[float], nfe: float) -> Solution:
        assert isinstance(field, ModelField)
        assert isinstance(field.model, GaussianModel)
        assert field.condition is not None
        states = torch.stack([field.model.flow(x0, field.condition, end=t) for t in times])
        stopped = torch.full((len(x0),), math.nan, dtype=torch.float64)
        return Solution(torch.tensor(times, dtype=torch.float64), states, nfe, stopped)


def test_a_teacher_solves_in_chunks_of_its_own() -> None:
    teacher = Known()
    taught = source().taught(teacher)
    pairs = taught.pairs("train", TAUGHT_CHUNK + 1)
    assert teacher.solved == [("ends", TAUGHT_CHUNK)] * 2
    assert torch.equal(pairs.x0, source().pairs("train", TAUGHT_CHUNK + 1).x0)
    torch.testing.assert_close(pairs.x1, GaussianModel().flow(pairs.x0, torch.arange(len(pairs)) % 3))
    assert (pairs.nfe, pairs.truth_evaluations) == (3, 2 * 3 * TAUGHT_CHUNK)
    way = source().taught(teacher, 8).trajectories("train", 3)
    assert teacher.solved[2:] == [("way", 8)]
    assert way.trajectory is not None
    assert way.trajectory.times.tolist() == [0.0, 0.5, 1.0]
    assert torch.equal(way.x1, pairs.x1[:3])
    assert (way.nfe, way.truth_evaluations) == (7, 7 * 8)


def test_a_way_that_is_kept_gives_its_ends(tmp_path: Path) -> None:
    told: list[str] = []
    taught = source(tmp_path, progress=told.append).taught(Known())
    way = taught.trajectories("train", 40)
    assert len(told) == 2
    pairs = taught.pairs("train", 33)
    assert len(told) == 2
    assert pairs.trajectory is None
    assert torch.equal(pairs.x1, way.x1[:33])
    assert pairs.truth_evaluations == way.truth_evaluations
    # What is beyond is solved, and no way is known from its ends.
    taught.pairs("train", 65)
    assert len(told) == 3
    taught.trajectories("train", 65)
    assert len(told) == 4


def test_the_ends_of_a_source_without_a_teacher_are_solved_as_ends(tmp_path: Path) -> None:
    """So that the truth of a test does not depend on whether somebody has looked at its way."""
    told: list[str] = []
    plain = source(tmp_path, progress=told.append)
    plain.trajectories("test", 3)
    plain.pairs("test", 3)
    assert len(told) == 2


def test_every_teacher_has_files_of_its_own(tmp_path: Path) -> None:
    kept = source(tmp_path)
    for number, teacher in enumerate((None, Known(), Known("another"), Adaptive(1e-4), Adaptive(1e-8, canonical=True))):
        asked = kept if teacher is None else kept.taught(teacher, CHUNK)
        asked.pairs("train", 1)
        assert len(list(tmp_path.glob("*.safetensors"))) == number + 1
    kept.taught(Known(), 8).pairs("train", 1)
    assert len(list(tmp_path.glob("*.safetensors"))) == 6


def test_samples_that_a_teacher_cannot_solve_are_named() -> None:
    faulty = PairSource(Faulty(), "gaussian", tolerance=1e-4).taught(Adaptive(1e-4, canonical=True))
    for ask in (faulty.pairs, faulty.trajectories):
        with pytest.raises(DivergedError, match=r"of 2 of 50 samples of the train split .* samples 5, 40\. At t = 0\."):
            ask("train", 50)


class Narrow(GaussianModel):
    """A model of which three samples fit into memory."""

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().predict(t, x, condition)


@pytest.mark.parametrize("guidance", [0.0, 2.0])
def test_the_truth_of_a_chunk_shares_its_steps_whatever_fits_into_memory(guidance: float) -> None:
    """The network's calls are divided, not the chunk: the same evaluations, so the same steps, and the same truth."""
    told = list[str]()
    given = PairSource(Narrow(), "gaussian", tolerance=1e-6, guidance=guidance, chunk=20, parts=Parts(notice=told.append))
    roomy = PairSource(GaussianModel(), "gaussian", tolerance=1e-6, guidance=guidance, chunk=20)
    for kind in ("pairs", "trajectories"):
        found, expected = (getattr(source, kind)("train", 20) for source in (given, roomy))
        assert found.nfe == expected.nfe
        torch.testing.assert_close(found.x1, expected.x1, rtol=1e-12, atol=1e-12)
    assert len(told) == 1


def test_what_is_known_of_memory_is_shared_by_all_sources_of_a_network() -> None:
    parts = Parts(notice=None)
    given = PairSource(Narrow(), "gaussian", tolerance=1e-4, parts=parts)
    mixed = MixedSource.of(given, (0.0, 2.0))
    mixed.pairs("train", 8)
    assert mixed.pairs("train", 8).field.parts is given.taught(Adaptive(1e-3)).field(torch.arange(3)).parts is parts
    assert parts.most("values", 100) == 1  # three states are six of a guided network


@pytest.mark.parametrize(("spare", "expected"), [(0, "cuda"), (-16, "cpu")])
def test_pairs_lie_with_the_network_only_where_they_leave_it_memory(monkeypatch, spare: int, expected: str) -> None:
    needed = 16 * pairs_module.HELD_PAIRS * pairs_module.HELD_STATES * 3
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (needed + spare, 10**12))
    assert pairs_device(GaussianModel(), "cuda") == expected
    assert pairs_device(GaussianModel(), "cpu") == "cpu"


def test_a_large_test_set_draws_its_noise_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = source(tmp_path)
    pairs, small = own.pairs("test", 150), own.tests(150)
    assert isinstance(small.x0, Tensor)
    monkeypatch.setattr(pairs_module, "HELD_NUMBERS", pairs.x1.numel() - 1)
    monkeypatch.setattr(pairs_module, "DRAWN", 7)
    large = own.tests(150)
    assert not isinstance(large.x0, Tensor)
    assert len(large.x0) == len(large) == 150
    for start in range(0, 150, 64):
        part = slice(start, start + 64)
        assert torch.equal(large.x0[part], pairs.x0[part])
    assert torch.equal(small.x0, pairs.x0)
    assert torch.equal(large.x1, pairs.x1)
    assert large.nfe == small.nfe == pairs.nfe


def solve_in_another_process(cache: Path, count: int) -> None:
    source(cache).pairs("test", count)


def test_processes_that_share_a_cache_take_turns_over_the_chunks(tmp_path: Path, monkeypatch) -> None:
    """While a chunk is solved, another process begins: it solves all of the others, and this one finds them."""
    told: list[str] = []
    here = source(tmp_path, progress=told.append)
    expected = source().pairs("test", 3 * CHUNK)
    solve = PairSource._solve_end
    others: list[SpawnProcess] = []

    def slow(self, split, indices):
        if indices[0] == 0:
            others.append(spawned(solve_in_another_process, tmp_path, 3 * CHUNK))
            while others[0].is_alive() and len(list(tmp_path.glob("*.safetensors"))) < 2:
                time.sleep(0.05)
        return solve(self, split, indices)

    monkeypatch.setattr(PairSource, "_solve_end", slow)
    pairs = here.pairs("test", 3 * CHUNK)
    others[0].join(timeout=60)
    assert others[0].exitcode == 0
    assert [line.split()[5] for line in told] == [f"0+{CHUNK}"]
    assert torch.equal(pairs.x1, expected.x1)
    assert list((tmp_path / "locks").iterdir()) == []


def test_a_chunk_whose_solver_has_died_is_solved_by_who_waits(tmp_path: Path) -> None:
    here = source(tmp_path)
    lock = here._lock(tmp_path, "end", "test", 0)
    script = (
        "import sys, time; from pathlib import Path; from bnsbench.storage.locks import alone\n"
        "with alone(Path(sys.argv[1]), Path(sys.argv[2])):\n    print('held', flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, lock, tmp_path], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    threading.Timer(0.5, holder.kill).start()
    pairs = here.pairs("test", 8)
    assert holder.wait(timeout=10) != 0
    holder.stdout.close()
    assert torch.equal(pairs.x1, source().pairs("test", 8).x1)
