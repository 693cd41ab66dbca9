"""Where pairs of noise and ground truth come from, as trainers see it."""

from __future__ import annotations

from typing import Protocol

from bnsbench.flows.model import Model
from bnsbench.truth.noise import Split
from bnsbench.truth.pairs import CHUNK, TAUGHT_CHUNK, Pairs
from bnsbench.truth.teacher import Teacher


class Source(Protocol):
    """Where a trainer's pairs come from: `PairSource`, or `MixedSource` for several guidance scales.

    guidance: the scale w, or all of them.
    """

    @property
    def model(self) -> Model: ...
    @property
    def name(self) -> str: ...
    @property
    def guidance(self) -> float | tuple[float, ...]: ...
    @property
    def seed(self) -> int: ...
    @property
    def truth_tolerance(self) -> float: ...
    @property
    def forwards_per_evaluation(self) -> int: ...
    def pairs(self, split: Split, count: int) -> Pairs: ...
    def trajectories(self, split: Split, count: int = CHUNK) -> Pairs: ...
    def coarser(self, tolerance: float, chunk: int) -> Source: ...
    def taught(self, teacher: Teacher, chunk: int = TAUGHT_CHUNK) -> Source: ...
