"""Pairs of noise and ground truth for a model under guidance: the same for every solver, cached on disk in fixed chunks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bnsbench.flows.ground_truth import Trajectory, ceiling, solve, solve_trajectory
from bnsbench.flows.model import Model, ModelField
from bnsbench.flows.noise import Split, noise

CHUNK = 128
"""Samples that share the adaptive step size; fixed, so that a truth never depends on how many samples are asked for."""

TRAJECTORY_POINTS = 65


@dataclass(frozen=True)
class Pairs:
    """Initial states x0 and true end states x1, both [n, *shape], with the field bound to their conditions.

    nfe: mean evaluations per sample that the truth cost.
    """

    x0: Tensor
    x1: Tensor
    field: ModelField
    nfe: float

    def part(self, index: Tensor | slice) -> Pairs:
        """Return the pairs ``index``."""
        return Pairs(self.x0[index], self.x1[index], self.field.part(index), self.nfe)

    def __len__(self) -> int:
        return len(self.x0)


@dataclass(frozen=True)
class PairSource:
    """Where pairs come from.

    name: the model's name, which names the noise stream. seed: the suite's.
    tolerance: of the adaptive solver. cache: a folder for solved chunks, or None to keep nothing.
    progress: called with a sentence before each chunk that must be solved.
    """

    model: Model
    name: str
    guidance: float = 0.0
    seed: int = 0
    tolerance: float = 1e-6
    cache: FilePath | None = None
    device: str = "cpu"
    progress: Callable[[str], None] | None = None

    def initial(self, split: Split, indices: Tensor) -> Tensor:
        """Return the initial states of these samples: noise scaled to the path's beginning."""
        scale = float(self.model.path.sigma(self.model.interval[0]))
        draws = noise(self.seed, self.name, split, indices, self.model.shape)
        return (scale * draws).to(device=self.device, dtype=self.model.dtype)

    def field(self, indices: Tensor) -> ModelField:
        """Return the guided field for the conditions of these samples."""
        condition = self.model.conditions(indices)
        return self.model.field(None if condition is None else condition.to(self.device), self.guidance)

    def pairs(self, split: Split, count: int) -> Pairs:
        """Return the first ``count`` pairs of a split."""
        chunks = [self._chunk(split, number) for number in range(-(-count // CHUNK))]
        indices = torch.arange(count)
        truth = torch.cat([chunk["x1"] for chunk in chunks])[:count].to(self.device)
        nfe = sum(float(chunk["nfe"]) for chunk in chunks) / len(chunks)
        return Pairs(self.initial(split, indices), truth, self.field(indices), nfe)

    def trajectory(self, split: Split) -> tuple[Pairs, Trajectory]:
        """Return the first chunk of a split with its ground-truth trajectories."""
        tensors = self._cached(f"trajectory-{TRAJECTORY_POINTS}", split, 0, self._solve_trajectory)
        x, u = tensors["x"].to(self.device), tensors["u"].to(self.device)
        indices = torch.arange(CHUNK)
        pairs = Pairs(self.initial(split, indices), x[-1], self.field(indices), float(tensors["nfe"]))
        return pairs, Trajectory(tensors["times"], x, u)

    def ceiling(self) -> float:
        """Return the PSNR in dB that the truth of the test split can resolve, measured on its first chunk."""
        return float(self._cached("ceiling", "test", 0, self._measure_ceiling)["ceiling"])

    def _chunk(self, split: Split, number: int) -> dict[str, Tensor]:
        return self._cached("end", split, number, self._solve_end)

    def _solve_end(self, split: Split, indices: Tensor) -> dict[str, Tensor]:
        truth, nfe = solve(self.field(indices), self.initial(split, indices), self.tolerance)
        return {"x1": truth, "nfe": torch.tensor(nfe)}

    def _solve_trajectory(self, split: Split, indices: Tensor) -> dict[str, Tensor]:
        found, nfe = solve_trajectory(self.field(indices), self.initial(split, indices), TRAJECTORY_POINTS, self.tolerance)
        return {"times": found.times, "x": found.x, "u": found.u, "nfe": torch.tensor(nfe)}

    def _measure_ceiling(self, split: Split, indices: Tensor) -> dict[str, Tensor]:
        truth = self._chunk(split, 0)["x1"].to(self.device)
        start = self.initial(split, indices)
        value = ceiling(self.field(indices), start, truth, self.tolerance, self.model.data_range)
        return {"ceiling": torch.tensor(value, dtype=torch.float64)}

    def _cached(
        self, kind: str, split: Split, number: int, compute: Callable[[Split, Tensor], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        file = None if self.cache is None else self.cache / f"{self._key(kind, split, number)}.safetensors"
        found = None if file is None else _read(file)
        if found is not None:
            return found
        if self.progress is not None:
            self.progress(f"ground truth {self.name} w={self.guidance:g} {split} {number * CHUNK}+{CHUNK} ({kind})")
        indices = torch.arange(number * CHUNK, (number + 1) * CHUNK)
        tensors = {key: value.cpu().contiguous() for key, value in compute(split, indices).items()}
        if file is not None:
            _write(file, tensors)
        return tensors

    def _key(self, kind: str, split: Split, number: int) -> str:
        model = self.model
        names = (kind, model.fingerprint(), self.name, model.path.to_dict(), model.interval, self.guidance, self.seed)
        rest = (split, number, CHUNK, self.tolerance, str(model.dtype))
        return hashlib.sha256(repr((names, rest)).encode()).hexdigest()[:40]


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _write(file: FilePath, tensors: dict[str, Tensor]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    save_file(tensors, temporary, metadata={"sha256": _digest(tensors)})
    temporary.replace(file)


def _read(file: FilePath) -> dict[str, Tensor] | None:
    """Return the tensors of a cache file, or None if it is absent or damaged; a damaged one is solved again."""
    try:
        with safe_open(file, framework="pt") as content:
            tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a dict)
            expected = (content.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return tensors if expected == _digest(tensors) else None
