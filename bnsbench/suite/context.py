"""What a process keeps between cells: models, ground truth, metrics."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from bnsbench.flows.model import Model
from bnsbench.flows.pairs import Pairs, PairSource
from bnsbench.metrics.base import Metric
from bnsbench.plugins import PluginHost
from bnsbench.suite.plan import Cell, Component
from bnsbench.suite.store import ResultStore
from bnsbench.suite.trained import TrainedSolvers
from bnsbench.training.problem import TrainingStatus

FIELDS_KEPT = 2
"""Fields whose model and pairs a process holds; cells come field by field, so few are needed."""


class Listener(Protocol):
    """Whom a running cell tells what it does."""

    def notice(self, text: str) -> None: ...

    def stage(self, text: str) -> None: ...

    def training(self, status: TrainingStatus) -> None: ...


@dataclass(frozen=True)
class Job:
    """What all cells of a run share; it can be sent to another process.

    device: such as "cpu" or "cuda:0". cache: folder for ground truth. train: whether missing solvers may be trained.
    previews: whether a few samples of each cell are kept to look at. retrain: whether to train even where the package ships
    a solver.
    """

    host: PluginHost
    store: ResultStore
    cache: Path
    batch: int
    threads: int
    device: str = "cpu"
    timeout: float | None = None
    train: bool = True
    previews: bool = True
    retrain: bool = False


@dataclass(frozen=True)
class FieldState:
    """A field held in memory: its source of pairs and what has been made from it."""

    source: PairSource
    pairs: dict[int, Pairs] = field(default_factory=dict)
    decoded: dict[int, Tensor] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        return self.source.model

    def test_pairs(self, count: int) -> Pairs:
        """Return the first ``count`` pairs of the test split."""
        if count not in self.pairs:
            self.pairs[count] = self.source.pairs("test", count)
        return self.pairs[count]

    def decoded_truth(self, count: int, batch: int) -> Tensor:
        """Return what metrics look at for the first ``count`` ground-truth samples."""
        if count not in self.decoded:
            self.decoded[count] = decode(self.model, self.test_pairs(count).x1, batch)
        return self.decoded[count]

    @cached_property
    def ceiling(self) -> float:
        """The PSNR in dB that the ground truth can resolve."""
        return self.source.ceiling()


class CellContext:
    """A process's memory between cells: models, pairs and metrics."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.listener: Listener | None = None
        self._fields: OrderedDict[str, FieldState] = OrderedDict()
        self._metrics: dict[str, Metric] = {}

    def field_state(self, cell: Cell) -> FieldState:
        """Return the field of a cell, made anew only if it is not among the last ones."""
        key = cell.field_digest
        if key not in self._fields:
            self._fields[key] = self._make_field(cell)
            while len(self._fields) > FIELDS_KEPT:
                self._fields.popitem(last=False)
        self._fields.move_to_end(key)
        return self._fields[key]

    def modality(self, cell: Cell) -> str:
        """Return what the cell's model generates."""
        return self.field_state(cell).model.modality(self.job.host.model(cell.model.selector).spec.modality)

    def metric(self, component: Component) -> Metric:
        """Return the metric, made once per process."""
        if component.selector not in self._metrics:
            self._metrics[component.selector] = self.job.host.metric(component.selector).make()
        return self._metrics[component.selector]

    def solvers(self, state: FieldState) -> TrainedSolvers:
        """Return the trained solvers for a field."""
        job = self.job
        locks = job.cache / "locks"
        return TrainedSolvers(job.store, state.source, locks, self.notice, self.training, job.host, job.train, job.retrain)

    def notice(self, text: str) -> None:
        """Pass on a sentence for the user."""
        if self.listener is not None:
            self.listener.notice(text)

    def stage(self, text: str) -> None:
        """Pass on what the cell is at."""
        if self.listener is not None:
            self.listener.stage(text)

    def training(self, status: TrainingStatus) -> None:
        """Pass on how far a training is."""
        if self.listener is not None:
            self.listener.training(status)

    def _make_field(self, cell: Cell) -> FieldState:
        model: Model = self.job.host.model(cell.model.selector).make()
        dtype = getattr(torch, cell.dtype) if cell.dtype else model.dtype
        source = PairSource(
            model=model.to(self.job.device, dtype),
            name=cell.model.name,
            guidance=cell.guidance,
            seed=cell.seed,
            tolerance=cell.tolerance,
            cache=self.job.cache / "pairs",
            device=self.job.device,
            progress=self.stage,
        )
        return FieldState(source)


def decode(model: Model, x: Tensor, batch: int) -> Tensor:
    """Return what metrics look at for end states x [n, ...], decoded in batches."""
    with torch.no_grad():
        return torch.cat([model.decode(part) for part in torch.split(x, batch)])
