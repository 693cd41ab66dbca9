"""Protection of shared numbers: a solver or metric that writes into them fails, and no other is affected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from bnsbench.metrics.base import Metric, MetricValue, SampleSet
from bnsbench.metrics.contents import files_fingerprint
from bnsbench.process import clock
from bnsbench.process.surroundings import guarded
from bnsbench.storage.spare import Spare
from bnsbench.suite.context import CellContext, FieldState, OverwrittenError, decode
from bnsbench.suite.guard import Seal
from bnsbench.suite.plan import Cell, Component


@contextmanager
def untouched(cell: Cell, context: CellContext, state: FieldState, own: Seal | None = None) -> Iterator[None]:
    """Check that the block leaves the model, the noise and the truth as they are, and what ``own`` has sealed.

    What cells share is made again for the next one if it has been changed.

    Args:
        cell: The cell that is running.
        context: Keeps what cells share.
        state: The cell's field.
        own: A seal on further tensors.

    Raises:
        OverwrittenError: If anything has been changed.
    """
    with clock.phase("checks"):
        seal = state.ready
    try:
        yield
    finally:
        with clock.phase("checks"):
            shared = seal.broken()
            changed = [*shared, *(own.broken() if own is not None else ())]
        if shared:
            context.forget(cell)
        if changed:
            raise OverwrittenError(changed)


class JudgedSamples:
    """A cell's samples for its metrics; each gets them as the solver left them, even if another has overwritten them.

    Args:
        cell: The cell.
        context: Keeps what cells share.
        x: End states [n, ...]; metrics get copies of them.
    """

    def __init__(self, cell: Cell, context: CellContext, x: Tensor) -> None:
        self.cell = cell
        self.context = context
        self._spare = Spare(x, context.job.cache / "spare")
        self._copy = _Copy(cell, context, self._spare.copy())

    @property
    def samples(self) -> SampleSet:
        """The samples as they are now."""
        return self._copy.samples

    def metric(self, component: Component) -> Metric:
        """Return the metric, wrapped so that it gets an intact copy of the samples and fails if it writes into anything."""
        with guarded():
            made = self.context.metric(component)
        return _Guarded(self, made)

    def measure(self, metric: Metric) -> MetricValue:
        """Return the metric's value; OverwrittenError if it has changed its copy, which is replaced for the next one."""
        copy = self._copy
        try:
            with untouched(self.cell, self.context, copy.state, copy.seal):
                # What the metric has changed must not be in the way of looking at what it has written into.
                samples = copy.samples
                with guarded():
                    return metric(samples)
        except OverwrittenError:
            self._copy = _Copy(self.cell, self.context, self._spare.copy())
            raise


@dataclass(frozen=True)
class _Guarded:
    """A metric that gets the current copy of the judged samples, whatever it is called with."""

    judged: JudgedSamples
    metric: Metric

    def __call__(self, samples: SampleSet) -> MetricValue:
        del samples  # a metric before this one may have spoilt them
        return self.judged.measure(self.metric)

    def fingerprint(self) -> str:
        """Return the fingerprint of the files that the metric reads, "" if it reads none."""
        return files_fingerprint(self.metric)


@dataclass(frozen=True)
class _Copy:
    """A copy of the end states x [n, ...] with everything that metrics see, sealed."""

    cell: Cell
    context: CellContext
    x: Tensor

    @cached_property
    def state(self) -> FieldState:
        return self.context.field_state(self.cell)

    @cached_property
    def seal(self) -> Seal:
        seal = Seal()
        seal.add("the samples", [self.x])
        return seal

    @cached_property
    def decoded(self) -> Tensor:
        decoded = decode(self.state.model, self.x, self.context.job.batch)
        self.seal.add("the decoded samples", [decoded])
        return decoded

    @cached_property
    def samples(self) -> SampleSet:
        state, batch = self.state, self.context.job.batch
        pairs = state.test_pairs(self.cell.samples)
        return SampleSet(
            latents=self.x,
            truth_latents=pairs.x1,
            condition=pairs.field.condition,
            data_range=state.model.data_range,
            model=state.model,
            decoder=lambda states: decode(state.model, states, batch),
            decoded=lambda: self.decoded,
            decoded_truth=lambda: state.decoded_truth(len(pairs), batch),
            cache=self.context.job.cache / "features",
            progress=self.context.listener.stage,
        )
