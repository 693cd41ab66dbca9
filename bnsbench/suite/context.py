"""The memory of a process between cells: models, ground truth, metrics."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path as FilePath

import torch
from torch import Tensor

from bnsbench.contract import PluginHost
from bnsbench.contract.returned import finite, kind_of, real_tensor, text, whole
from bnsbench.errors import BnsbenchError, raised_by
from bnsbench.flows.model import Model
from bnsbench.flows.paths import Path
from bnsbench.flows.precision import dtype_named
from bnsbench.metrics.base import Metric
from bnsbench.process import clock
from bnsbench.process.deadline import uninterrupted
from bnsbench.process.parts import Parts
from bnsbench.process.surroundings import guarded
from bnsbench.storage.rows import HELD_NUMBERS
from bnsbench.suite.guard import Form, Numbers, Seal, form, numbers, tensors_of
from bnsbench.suite.plan import Cell, Component
from bnsbench.suite.store import ResultStore
from bnsbench.suite.trained import TrainedSolvers
from bnsbench.training.listener import Listener
from bnsbench.truth.pairs import HeldOut, PairSource, pairs_device
from bnsbench.truth.wiring import told_once


class OverwrittenError(BnsbenchError):
    """A component has written into something that it may only read, such as the ground truth."""

    def __init__(self, changed: Sequence[str]) -> None:
        """Name what has been changed."""
        super().__init__(f"it has overwritten {' and '.join(changed)}: nothing that it is given may be written into")


FACTS = ("path", "shape", "prediction", "interval", "data_range", "dtype", "device", "sample_rate")
"""What a model says of itself, which cells share."""

METHODS = (
    *("predict", "guided", "answers", "field", "conditions", "null_condition"),
    *("decode", "features", "judge", "reference"),
)
"""What a model does for cells."""

Made = tuple[Numbers, Form]
"""The checksums of a model and its facts, as it came from its factory."""

FIELDS_KEPT = 2
"""Fields whose model and pairs a process holds; cells come field by field, so few are needed."""


@dataclass(frozen=True)
class Job:
    """The settings that all cells of a run share; it can be sent to another process.

    cache: folder for ground truth.
    device: such as "cpu" or "cuda:0".
    timeout: seconds after which a cell is given up, None for never.
    train: whether missing solvers may be trained.
    previews: whether a few samples of each cell are kept to look at.
    retrain: whether to train even where the package ships a solver.
    deterministic: whether torch may use deterministic algorithms alone.
    """

    host: PluginHost
    store: ResultStore
    cache: FilePath
    batch: int
    threads: int
    device: str = "cpu"
    timeout: float | None = None
    train: bool = True
    previews: bool = True
    retrain: bool = False
    deterministic: bool = False


@dataclass(frozen=True)
class FieldState:
    """A field held in memory: its sources of pairs and what has been made from them, sealed, since its cells share it.

    source: of pairs to train on. tests: of those to test on, which solves the truth of no more samples than are tested.
    made: the model as it came from its factory.
    """

    source: PairSource
    tests: PairSource
    pairs: dict[int, HeldOut] = field(default_factory=dict)
    decoded: dict[int, Tensor] = field(default_factory=dict)
    made: Made = ((), ())
    seal: Seal = field(default_factory=Seal)

    @property
    def model(self) -> Model:
        return self.source.model

    def test_pairs(self, count: int) -> HeldOut:
        """Return the first ``count`` pairs of the test split."""
        if count not in self.pairs:
            pairs = self.pairs[count] = self.tests.tests(count)
            condition = pairs.field.condition
            self.seal.add("the initial noise", [pairs.x0] if isinstance(pairs.x0, Tensor) else [])
            self.seal.add("the ground truth", [pairs.x1])
            self.seal.add("the conditions", [] if condition is None else [condition])
        return self.pairs[count]

    def decoded_truth(self, count: int, batch: int) -> Tensor:
        """Return what metrics look at for the first ``count`` ground-truth samples."""
        if count not in self.decoded:
            self.decoded[count] = decode(self.model, self.test_pairs(count).x1, batch)
            self.seal.add("the decoded ground truth", [self.decoded[count]])
        return self.decoded[count]

    @property
    def large(self) -> bool:
        """Whether its truth is so large that it is not held beside that of another field."""
        return any(pairs.x1.numel() > HELD_NUMBERS for pairs in self.pairs.values())

    @cached_property
    def ceiling(self) -> float:
        """The PSNR in dB that the ground truth can resolve."""
        return self.tests.ceiling()

    def check(self) -> None:
        """Raise BnsbenchError if what cells share has been overwritten."""
        changed = self.ready.broken()
        if changed:
            raise OverwrittenError(changed)

    @cached_property
    def ready(self) -> Seal:
        """The seal with the model in it; first used after the truth, when a network has filled what it fills once."""
        self.seal.add_holder("the model", self.model, (*FACTS, *METHODS))
        return self.seal


class CellContext:
    """A process's memory between cells: models, pairs and metrics.

    listener: hears of the cell that is running; an executor may set another for each cell.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.listener = Listener()
        self._fields: OrderedDict[str, FieldState] = OrderedDict()
        self._models: dict[str, tuple[str, str | None]] = {}
        self._sound: dict[tuple[str, str | None], Made] = {}
        self._metrics: dict[str, Metric] = {}

    def field_state(self, cell: Cell) -> FieldState:
        """Return the field of a cell, which is made unless it is among the last ones used."""
        key = cell.field_digest
        if key not in self._fields:
            self._fields = OrderedDict((other, state) for other, state in self._fields.items() if not state.large)
            with raised_by("model"), clock.phase("loading"):
                self._fields[key] = self._make_field(cell)
            self._models[key] = (cell.model.selector, cell.dtype)
            while len(self._fields) > FIELDS_KEPT:
                self._fields.popitem(last=False)
        self._fields.move_to_end(key)
        return self._fields[key]

    @uninterrupted
    def forget(self, cell: Cell) -> None:
        """Drop all fields, because a cell has overwritten something; the next cell makes its own."""
        self._sound[cell.model.selector, cell.dtype] = self.field_state(cell).made
        self._fields.clear()

    def start_afresh(self) -> None:
        """Drop everything, because a cell was ended in the middle of whatever it did."""
        for key, state in self._fields.items():
            self._sound[self._models[key]] = state.made
        self._fields.clear()
        self._metrics.clear()

    def modality(self, cell: Cell) -> str:
        """Return what the cell's model generates."""
        return self.field_state(cell).model.modality(self.job.host.model(cell.model.selector).spec.modality)

    def metric(self, component: Component) -> Metric:
        """Return the metric, made once per process."""
        if component.selector not in self._metrics:
            with clock.phase("loading"):
                self._metrics[component.selector] = self.job.host.metric(component.selector).make()
        return self._metrics[component.selector]

    def solvers(self, state: FieldState) -> TrainedSolvers:
        """Return the trained solvers for a field."""
        job = self.job
        return TrainedSolvers(
            store=job.store,
            source=state.source,
            locks=job.cache / "locks",
            host=job.host,
            listener=self.listener,
            train=job.train,
            retrain=job.retrain,
            check=state.check,
        )

    def _stage(self, text: str) -> None:
        """Tell the listener of the running cell; sources are kept between cells, so they do not know it themselves."""
        self.listener.stage(text)

    def _notice(self, text: str) -> None:
        self.listener.notice(text)

    def _make_field(self, cell: Cell) -> FieldState:
        with guarded():
            model = checked_model(self.job.host.model(cell.model.selector).make())
            model = checked_model(model.to(self.job.device, dtype_named(cell.dtype, model.dtype)))
            text(model.fingerprint(), "its fingerprint")
        made = numbers(tensors_of(model)), form(model, FACTS)
        if self._sound.get((cell.model.selector, cell.dtype), made) != made:
            raise BnsbenchError(
                f"an earlier cell of this process has overwritten the model {cell.model.shown}, and its plugin hands out the"
                " same object again: the next run makes it anew"
            )
        source = PairSource(
            model=model,
            name=cell.model.name,
            guidance=cell.guidance,
            seed=cell.seed,
            tolerance=cell.tolerance,
            cache=self.job.cache / "pairs",
            device=self.job.device,
            progress=self._stage,
            parts=Parts(notice=self._notice),
        )
        with guarded():
            suspected = told_once(model, cell.model.shown)
        if suspected is not None:
            self._notice(suspected)
        trained = replace(source, device=pairs_device(model, self.job.device))
        return FieldState(trained, replace(source, chunk=min(source.chunk, cell.samples)), made=made)


def checked_model(found: object) -> Model:
    """Return what a model's factory has returned; BnsbenchError if it is no model, or says what no model can be.

    Args:
        found: What the factory has returned.
    """
    if not isinstance(found, Model):
        raise BnsbenchError(f"it returned {kind_of(found)} instead of a bnsbench.Model")
    shape, interval = tuple(found.shape), tuple(found.interval)
    if not isinstance(found.path, Path):
        raise BnsbenchError(f"it has {kind_of(found.path)} as its path, where one of bnsbench.paths belongs")
    if any(whole(each, "a number of its shape", least=1) < 1 for each in shape) or not shape:
        raise BnsbenchError("it has a shape without numbers")
    ends = [finite(each, "an end of its interval") for each in interval]
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise BnsbenchError(f"it has the interval {interval}, where a begin and a later end belong")
    if finite(found.data_range, "its data range") <= 0:
        raise BnsbenchError(f"it has the data range {found.data_range}, which is not above 0")
    if not (isinstance(found.dtype, torch.dtype) and found.dtype.is_floating_point):
        raise BnsbenchError(f"it has {found.dtype} as its dtype, which holds no real numbers")
    if found.sample_rate is not None:
        whole(found.sample_rate, "its sample rate", least=1)
    return found


def decode(model: Model, x: Tensor, batch: int) -> Tensor:
    """Return end states as metrics see them, decoded in batches, smaller ones where memory ends.

    Args:
        model: Its `decode` makes images or sound of states.
        x: End states [n, ...].
        batch: The number of samples that are decoded at once.
    """

    def decoded(part: slice) -> Tensor:
        found = real_tensor(model.decode(x[part]), "decoded samples")
        if found.ndim < 1 or len(found) != len(x[part]):
            raise BnsbenchError(f"it returned decoded samples of shape {list(found.shape)} for {len(x[part])} states")
        return found

    with torch.no_grad(), raised_by("model"), clock.phase("decoding"):
        return torch.cat(Parts(batch).each("values", len(x), decoded))
