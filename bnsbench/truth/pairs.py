"""Pairs of noise and truth for a model under guidance, cached on disk in fixed chunks.

The noise is the same for every solver, and so is the ground truth that solvers are judged by; trainings may learn from a
coarser one, which a teacher solves.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

import torch
from torch import Tensor

from bnsbench.contract.returned import rows_or_none
from bnsbench.errors import raised_by
from bnsbench.flows.model import Model, ModelField
from bnsbench.process import clock
from bnsbench.process.parts import Parts, storage_device
from bnsbench.process.ranks import team
from bnsbench.storage.files import cache_errors
from bnsbench.storage.locks import alone, if_free
from bnsbench.storage.rows import HELD_NUMBERS, Rows
from bnsbench.storage.tensors import read_tensors, write_tensors
from bnsbench.truth.ground_truth import Solution, Trajectory, ceiling, check_solved
from bnsbench.truth.noise import Split, noise
from bnsbench.truth.teacher import WAY_POINTS, Adaptive, Teacher

CHUNK = 128
"""Samples that share the adaptive step size; fixed, so that a truth never depends on how many samples are asked for."""

TAUGHT_CHUNK = 32
"""Samples that a teacher of its own solves together."""

CEILING_SAMPLES = 32
"""Samples of the test split on which the truth's own error is measured; few, since the tighter solve costs more than it."""

HELD_PAIRS, HELD_STATES = 512, 130
"""Of the largest training: its pairs, and the states and velocities of one sample that it holds, of five runs at 8 NFE with
their regression in float64."""

DRAWN = 1024
"""Samples whose noise is drawn together, in float64."""

WAY = f"trajectory-{WAY_POINTS}"
"""What files of trajectories are called; a teacher may have other points than these."""

Compute = Callable[[Split, Tensor], dict[str, Tensor]]
"""Solves the samples of these indices of a split."""

ROUNDING_PER_TOLERANCE = 64
"""The smallest tolerance is the network's unit of rounding divided by this: a step averages the rounding of its stages.

As measured, a tolerance of 1e-4 in bfloat16 costs no more evaluations than in float32.
"""


@dataclass(frozen=True)
class Pairs:
    """Initial states x0 and true end states x1, both [n, *shape], with the field bound to their conditions.

    nfe: mean evaluations per sample that the truth cost. weights: how much each sample counts in training [n], all the
    same if None. trajectory: the way from x0 to x1, where it was asked for. truth_evaluations: evaluations times samples
    that the truth cost, of whole chunks, since nothing less is solved.
    """

    x0: Tensor
    x1: Tensor
    field: ModelField
    nfe: float
    weights: Tensor | None = None
    trajectory: Trajectory | None = None
    truth_evaluations: int = 0

    def part(self, index: Tensor | slice) -> Pairs:
        """Return the pairs ``index``."""
        weights = None if self.weights is None else self.weights[index]
        trajectory = None if self.trajectory is None else self.trajectory.part(index)
        return replace(
            self, x0=self.x0[index], x1=self.x1[index], field=self.field.part(index), weights=weights, trajectory=trajectory
        )

    def sample_weights(self) -> Tensor:
        """Return the samples' weights [n] in float64 on the CPU, summing to one."""
        weights = torch.ones(len(self)) if self.weights is None else self.weights
        weights = weights.to("cpu", torch.float64)
        return weights / weights.sum()

    def __len__(self) -> int:
        return len(self.x0)


@dataclass(frozen=True)
class DrawnNoise:
    """The initial states of the first ``count`` samples of a split, of which no more is held than is asked for."""

    source: PairSource
    split: Split
    count: int

    def __getitem__(self, rows: slice) -> Tensor:
        return self.source.initial(self.split, torch.arange(self.count)[rows])

    def __len__(self) -> int:
        return self.count


@dataclass(frozen=True)
class HeldOut:
    """Pairs to test on, as `Pairs`; the noise of a large set, of more than `HELD_NUMBERS`, is drawn when it is asked for."""

    x0: Tensor | DrawnNoise
    x1: Tensor
    field: ModelField
    nfe: float

    def __len__(self) -> int:
        return len(self.x1)


def pairs_device(model: Model, device: str) -> str:
    """Return where the pairs of a training lie: with the network, or on the CPU if they would take its memory away."""
    return storage_device(device, HELD_PAIRS * HELD_STATES * math.prod(model.shape))


@dataclass(frozen=True)
class PairSource:
    """Where the pairs of one model under one guidance scale come from.

    name: the model's name, which names the noise stream. seed: the suite's.
    tolerance: of the adaptive solver; for a network below float32 it is not taken below what its rounding lets one see.
    cache: a folder for solved chunks, or None to keep nothing.
    progress: called with a sentence before each chunk that must be solved. chunk: samples that are solved together.
    teacher: solves in place of the adaptive rule, for trainings.
    device: where pairs lie, which need not be where the network lies.
    parts: how many samples the network takes at once.
    """

    model: Model
    name: str
    guidance: float = 0.0
    seed: int = 0
    tolerance: float = 1e-6
    cache: FilePath | None = None
    device: str = "cpu"
    progress: Callable[[str], None] | None = None
    chunk: int = CHUNK
    teacher: Teacher | None = None
    parts: Parts = field(default_factory=Parts, compare=False)

    def initial(self, split: Split, indices: Tensor) -> Tensor:
        """Return the initial states of these samples: noise scaled to the path's beginning."""
        # x_{t_0} = sigma_{t_0} eps; a sampler does not know the data, so alpha_{t_0} x_1 is left out.
        scale = float(self.model.path.sigma(self.model.interval[0]))
        drawn = Rows(len(indices), self.device)
        for some in torch.split(indices, DRAWN):
            drawn.add((scale * noise(self.seed, self.name, split, some, self.model.shape)).to(self.state_dtype))
        return drawn.whole()

    @property
    def state_dtype(self) -> torch.dtype:
        """The precision of states: the model's own, but at least float32."""
        return torch.promote_types(self.model.dtype, torch.float32)

    @property
    def truth_tolerance(self) -> float:
        """The tolerance that is used: an adaptive solver takes rounding for error and would step without end below it."""
        return max(self.tolerance, torch.finfo(self.model.dtype).eps / ROUNDING_PER_TOLERANCE)

    @property
    def forwards_per_evaluation(self) -> int:
        """Network forwards that one evaluation of the field costs per sample."""
        return self.model.forwards_per_evaluation(self.guidance)

    def field(self, indices: Tensor) -> ModelField:
        """Return the guided field for the conditions of these samples."""
        with raised_by("model"):
            condition = rows_or_none(self.model.conditions(indices), len(indices), "conditions")
        found = self.model.field(None if condition is None else condition.to(self.device), self.guidance)
        return found.within(self.parts)

    def pairs(self, split: Split, count: int) -> Pairs:
        """Return the first ``count`` pairs of a split; DivergedError names those of them that cannot be solved."""
        truth, nfe, evaluations = self._truth(split, count)
        indices = torch.arange(count)
        return Pairs(self.initial(split, indices), truth, self.field(indices), nfe, truth_evaluations=evaluations)

    def tests(self, count: int) -> HeldOut:
        """Return the first ``count`` pairs of the test split, a large set without its noise; DivergedError as `pairs`."""
        truth, nfe, _ = self._truth("test", count)
        indices = torch.arange(count)
        start = self.initial("test", indices) if truth.numel() <= HELD_NUMBERS else DrawnNoise(self, "test", count)
        return HeldOut(start, truth, self.field(indices), nfe)

    def _truth(self, split: Split, count: int) -> tuple[Tensor, float, int]:
        """Return the first true end states [count, ...] of a split, and their cost as `_cost` tells it."""
        if self.teacher is None:  # a teacher's few chunks may come from ways that are known
            self._solve_with_others("end", split, count, self._solve_end)
        truth, accounts = Rows(count, self.device), list[dict[str, Tensor]]()
        for number in self._chunks_of(count):
            chunk = self._chunk(split, number)
            truth.add(chunk["x1"])
            accounts.append({name: chunk[name] for name in ("nfe", "stopped") if name in chunk})
        self._check_solved(accounts, split, count)
        return truth.whole(), *self._cost(accounts)

    def trajectories(self, split: Split, count: int = CHUNK) -> Pairs:
        """Return the first ``count`` pairs of a split with their ground-truth trajectories; as `pairs`."""
        self._solve_with_others(WAY, split, count, self._solve_trajectory)
        chunks = [self._cached(WAY, split, number, self._solve_trajectory) for number in self._chunks_of(count)]
        self._check_solved(chunks, split, count)
        x, u = (torch.cat([chunk[name] for chunk in chunks], dim=1)[:, :count].to(self.device) for name in ("x", "u"))
        nfe, evaluations = self._cost(chunks)
        indices = torch.arange(count)
        trajectory = Trajectory(chunks[0]["times"], x, u)
        return Pairs(self.initial(split, indices), x[-1], self.field(indices), nfe, None, trajectory, evaluations)

    def coarser(self, tolerance: float, chunk: int) -> PairSource:
        """Return a source of the same noise whose truth is solved in chunks of that size, and no finer than the tolerance.

        For searches that need a few samples only: of fewer samples, fewer are hard, so the shared steps are longer, too.
        """
        return replace(self, tolerance=max(tolerance, self.tolerance), chunk=chunk)

    @property
    def _solver(self) -> Teacher:
        return self.teacher or Adaptive(self.truth_tolerance)

    def taught(self, teacher: Teacher, chunk: int = TAUGHT_CHUNK) -> PairSource:
        """Return a source of the same noise whose truth a teacher solves, in chunks of that size."""
        return replace(self, teacher=teacher, chunk=chunk)

    def _chunks_of(self, count: int) -> range:
        return range(-(-count // self.chunk))

    def _cost(self, chunks: Sequence[Mapping[str, Tensor]]) -> tuple[float, int]:
        """Return the mean evaluations of a sample of the chunks, and those of all their samples."""
        each = [float(chunk["nfe"]) for chunk in chunks]
        return sum(each) / len(each), round(sum(each) * self.chunk)

    def ceiling(self) -> float:
        """Return the PSNR in dB that the truth of the test split can resolve, measured on its first samples."""
        kind = f"ceiling-{CEILING_SAMPLES} of range {self.model.data_range:g}"
        return float(self._cached(kind, "test", 0, self._measure_ceiling)["ceiling"])

    def _chunk(self, split: Split, number: int) -> dict[str, Tensor]:
        # A way that is known has the end, too; it was solved on the way's own steps, which only a teacher may choose.
        way = None if self.teacher is None else self._known(WAY, split, number)
        return self._cached("end", split, number, self._solve_end) if way is None else {**way, "x1": way["x"][-1]}

    def _check_solved(self, chunks: Sequence[Mapping[str, Tensor]], split: Split, count: int) -> None:
        """Raise DivergedError if one of the first ``count`` samples has no truth: leaving it out would flatter."""
        stopped = torch.full((count,), math.nan, dtype=torch.float64)
        for number, chunk in enumerate(chunks):
            if "stopped" in chunk:
                begin = number * len(chunk["stopped"])
                stopped[begin : begin + len(chunk["stopped"])] = chunk["stopped"][: count - begin]
        check_solved(stopped, self.truth_tolerance, split)

    def _solve_end(self, split: Split, indices: Tensor) -> dict[str, Tensor]:
        found = self._solver.ends(self.field(indices), self.initial(split, indices))
        return {"x1": found.states[-1], **_account(found)}

    def _solve_trajectory(self, split: Split, indices: Tensor) -> dict[str, Tensor]:
        found, way = self._solver.way(self.field(indices), self.initial(split, indices))
        return {"times": way.times, "x": way.x, "u": way.u, **_account(found)}

    def _measure_ceiling(self, split: Split, indices: Tensor) -> dict[str, Tensor]:
        truth = self._chunk(split, 0)["x1"][:CEILING_SAMPLES].to(self.device)
        # Samples without a truth have no error; whoever asks for them is told by `pairs`.
        solved = torch.nonzero(truth.flatten(1).isfinite().all(1))[:, 0]
        indices = indices[solved.cpu()]
        start = self.initial(split, indices)
        value = ceiling(self.field(indices), start, truth[solved], self.truth_tolerance, self.model.data_range)
        return {"ceiling": torch.tensor(value, dtype=torch.float64)}

    def _solve_with_others(self, kind: str, split: Split, count: int, compute: Compute) -> None:
        """Put chunks that are missing into the cache, together with other processes that do so now: each takes the next.

        Processes of one team solve every chunk together anyway.
        """
        if self.cache is None or team().size > 1:
            return
        held = []
        for number in self._missing(kind, split, self._chunks_of(count)):
            with if_free(self._lock(self.cache, kind, split, number), self.cache) as free:
                if free:
                    self._cached(kind, split, number, compute)
                else:
                    held.append(number)
        for number in self._missing(kind, split, held):
            lock = self._lock(self.cache, kind, split, number)
            with alone(lock, self.cache):  # until it is there, or whoever solved it has died
                self._cached(kind, split, number, compute)
                lock.unlink(missing_ok=True)

    def _missing(self, kind: str, split: Split, numbers: Iterable[int]) -> Iterator[int]:
        """Yield those of the chunks of which there is no file at the time when each is reached."""
        return (each for each in numbers if self.cache and not self._file(self.cache, kind, split, each).is_file())

    def _lock(self, folder: FilePath, kind: str, split: Split, number: int) -> FilePath:
        return folder / "locks" / f"{self._key(kind, split, number)}.lock"

    def _cached(self, kind: str, split: Split, number: int, compute: Compute) -> dict[str, Tensor]:
        with clock.phase("truth"):
            return self._known(kind, split, number) or self._computed(kind, split, number, compute)

    def _computed(self, kind: str, split: Split, number: int, compute: Compute) -> dict[str, Tensor]:
        if self.progress is not None:
            self.progress(
                f"ground truth {self.name} w={self.guidance:g} {split} {number * self.chunk}+{self.chunk} ({kind})"
            )
        indices = torch.arange(number * self.chunk, (number + 1) * self.chunk)
        tensors = {key: value.cpu().contiguous() for key, value in compute(split, indices).items()}
        if self.cache is not None and team().first:
            with cache_errors(self.cache):
                write_tensors(self._file(self.cache, kind, split, number), tensors)
        return tensors

    def _known(self, kind: str, split: Split, number: int) -> dict[str, Tensor] | None:
        """Return a chunk that has been solved before, None if it has not, is damaged, or nothing is kept."""
        if self.cache is None:
            return None
        file = self._file(self.cache, kind, split, number)
        # What one process has seen of the cache, all go by.
        found = team().of_first(lambda: read_tensors(file))
        return found if found is not None and self._fits(kind, found) else None

    def _fits(self, kind: str, found: Mapping[str, Tensor]) -> bool:
        """Whether a file holds what its kind of chunk does, in the right shapes."""
        states = (self.chunk, *self.model.shape)
        if kind == "end":
            return _shapes(found, x1=states, nfe=()) and _stopped_fits(found, self.chunk)
        if kind == WAY:
            times = found["times"].numel() if "times" in found else 0
            way = (times, *states)
            return times > 1 and _shapes(found, times=(times,), x=way, u=way, nfe=()) and _stopped_fits(found, self.chunk)
        return _shapes(found, ceiling=())

    def _file(self, folder: FilePath, kind: str, split: Split, number: int) -> FilePath:
        return folder / f"{self._key(kind, split, number)}.safetensors"

    def _key(self, kind: str, split: Split, number: int) -> str:
        # Everything that decides the numbers of the truth, so that a change of any of it is another file.
        model = self.model
        names = (kind, model.fingerprint(), self.name, model.path.to_dict(), model.interval, self.guidance, self.seed)
        solved = self.truth_tolerance if self.teacher is None else self.teacher.name
        rest = (split, number, self.chunk, solved, str(model.dtype))
        return hashlib.sha256(repr((names, rest)).encode()).hexdigest()[:40]


def _shapes(found: Mapping[str, Tensor], **shapes: tuple[int, ...]) -> bool:
    return all(name in found and tuple(found[name].shape) == shape for name, shape in shapes.items())


def _stopped_fits(found: Mapping[str, Tensor], chunk: int) -> bool:
    return "stopped" not in found or _shapes(found, stopped=(chunk,))


def _account(found: Solution) -> dict[str, Tensor]:
    """Return what a solve cost per sample, and where samples stopped, if any did."""
    nfe = torch.tensor(math.ceil(found.nfe))
    return {"nfe": nfe} if bool(found.stopped.isnan().all()) else {"nfe": nfe, "stopped": found.stopped}
