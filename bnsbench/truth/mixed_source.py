"""Pairs of one model under several guidance scales and weights at once, for solvers that have to serve them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.model import Model
from bnsbench.truth.ground_truth import Trajectory
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import CHUNK, TAUGHT_CHUNK, Pairs, PairSource
from bnsbench.truth.teacher import Teacher


@dataclass(frozen=True)
class MixedSource:
    """The pairs of several sources of one model, joined sample by sample.

    sources: of the same model, noise and seed under different guidance scales; each gives an equal share of the pairs.
    weights: how much each source counts, all the same if empty.
    condition_weights: how much a condition counts, as a function from conditions [n, ...] to weights [n]; None for all
        the same.

    Raises:
        UsageError: Unless there is a source, and a weight above 0 for each or none at all.
    """

    sources: tuple[PairSource, ...]
    weights: tuple[float, ...] = ()
    condition_weights: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise UsageError("A mixture needs at least one guidance scale.")
        if self.weights and len(self.weights) != len(self.sources):
            raise UsageError(f"{len(self.weights)} weights are given for {len(self.sources)} guidance scales.")
        if any(weight <= 0 for weight in self.weights):
            raise UsageError(f"The weights of guidance scales must be above 0, not {list(self.weights)}.")

    @classmethod
    def of(cls, source: PairSource, guidance: Sequence[float], weights: Sequence[float] = ()) -> MixedSource:
        """Return the mixture of a source's model under several guidance scales.

        Args:
            source: The pairs' model, noise and seed; its own scale is not used.
            guidance: The scales w.
            weights: How much each scale counts, above 0; all the same if empty.

        Raises:
            UsageError: There is no scale, or the weights do not fit.
        """
        return cls(tuple(replace(source, guidance=w) for w in guidance), tuple(weights))

    @property
    def model(self) -> Model:
        return self.sources[0].model

    @property
    def name(self) -> str:
        return self.sources[0].name

    @property
    def guidance(self) -> tuple[float, ...]:
        return tuple(source.guidance for source in self.sources)

    @property
    def seed(self) -> int:
        return self.sources[0].seed

    @property
    def truth_tolerance(self) -> float:
        return self.sources[0].truth_tolerance

    @property
    def forwards_per_evaluation(self) -> int:
        """Network forwards that one evaluation costs per sample: one batch holds guided and unguided samples."""
        return max(source.forwards_per_evaluation for source in self.sources)

    def pairs(self, split: Split, count: int) -> Pairs:
        """Return ``count`` pairs of a split, the sources taking turns."""
        shares = self._shares(count)
        return self._joined([source.pairs(split, share) for source, share in zip(self.sources, shares, strict=True)])

    def trajectories(self, split: Split, count: int = CHUNK) -> Pairs:
        """Return ``count`` pairs of a split with their ground-truth trajectories, the sources taking turns."""
        shares = self._shares(count)
        return self._joined([source.trajectories(split, share) for source, share in zip(self.sources, shares, strict=True)])

    def coarser(self, tolerance: float, chunk: int) -> MixedSource:
        """Return the mixture with the truth solved no finer than the tolerance, ``chunk`` samples in all together."""
        share = max(1, -(-chunk // len(self.sources)))
        return replace(self, sources=tuple(source.coarser(tolerance, share) for source in self.sources))

    def taught(self, teacher: Teacher, chunk: int = TAUGHT_CHUNK) -> MixedSource:
        """Return the mixture with the truth solved by a teacher, ``chunk`` samples in all together."""
        share = max(1, -(-chunk // len(self.sources)))
        return replace(self, sources=tuple(source.taught(teacher, share) for source in self.sources))

    def _shares(self, count: int) -> list[int]:
        kinds = len(self.sources)
        if count < kinds:
            raise UsageError(f"{count} pairs cannot be shared by {kinds} guidance scales; each needs one.")
        # Source k has the places k, k + kinds, k + 2 kinds, ... below count.
        return [(count - k + kinds - 1) // kinds for k in range(kinds)]

    def _joined(self, parts: Sequence[Pairs]) -> Pairs:
        # Parts one after the other, and the order that deals their samples out in turns.
        kinds, count = len(parts), sum(len(part) for part in parts)
        turns = torch.cat([torch.arange(k, count, kinds) for k in range(kinds)])
        order = torch.argsort(turns)
        conditions = [
            source.model.conditions(torch.arange(len(part))) for source, part in zip(self.sources, parts, strict=True)
        ]
        known = [condition for condition in conditions if condition is not None]
        x0, x1 = (torch.cat([getattr(part, name) for part in parts])[order] for name in ("x0", "x1"))
        condition = torch.cat(known)[order].to(x0.device) if known else None
        kind = torch.arange(count) % kinds
        scales = torch.tensor(self.guidance, dtype=torch.float64)[kind].to(x0)
        # A single scale stays a number, so that w = 0 costs no second forward.
        field = self.model.field(condition, scales if len(set(self.guidance)) > 1 else self.guidance[0])
        field = field.within(self.sources[0].parts)
        nfe = sum(part.nfe * len(part) for part in parts) / count
        trajectory = _joined_trajectories([part.trajectory for part in parts], order)
        evaluations = sum(part.truth_evaluations for part in parts)
        return Pairs(x0, x1, field, nfe, self._weights(kind, condition), trajectory, evaluations)

    def _weights(self, kind: Tensor, condition: Tensor | None) -> Tensor | None:
        if not self.weights and self.condition_weights is None:
            return None
        weights = torch.tensor(self.weights or (1.0,) * len(self.sources), dtype=torch.float64)[kind]
        if self.condition_weights is not None and condition is not None:
            weights = weights * self.condition_weights(condition).to(weights)
        return weights


def _joined_trajectories(parts: Sequence[Trajectory | None], order: Tensor) -> Trajectory | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    x, u = (torch.cat([getattr(part, name) for part in known], dim=1)[:, order] for name in ("x", "u"))
    return Trajectory(known[0].times, x, u)
