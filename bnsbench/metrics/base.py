"""The input and output of metrics: sets of samples, and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import isfinite, prod
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from bnsbench.contract.returned import finite_or_none, kind_of, mapping, real, several, text
from bnsbench.errors import BnsbenchError, DivergedError, UsageError
from bnsbench.flows.model import Model

PART = 256
"""Rows that metrics look at together."""

KEPT_NUMBERS = 2**29
"""The largest set that is kept decoded: 2 GB in float32."""


@dataclass(frozen=True)
class SampleSet:
    """One cell's samples and the ground truth from the same noise, row by row.

    latents, truth_latents: the end states of the ODE, [n, *shape].
    condition: the conditions [n, ...], None for an unconditional model.
    data_range: peak-to-peak range of the data in the space of the latents.
    decoder: from end states to samples, the model's own if None.
    decoded, decoded_truth: give the decoded samples and ground truth, where they are kept already.
    cache: a folder for what metrics need to compute once only, or None to keep nothing.
    progress: called by slow metrics with what they are doing.
    Decoded samples are checked when they are first asked for: DivergedError if they are not finite.

    Raises:
        UsageError: If the parts do not have the same number of rows or the latents differ in shape.
    """

    latents: Tensor
    truth_latents: Tensor
    condition: Tensor | None
    data_range: float
    model: Model
    decoder: Callable[[Tensor], Tensor] | None = None
    decoded: Callable[[], Tensor] | None = None
    decoded_truth: Callable[[], Tensor] | None = None
    cache: Path | None = None
    progress: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        parts = [self.latents, self.truth_latents]
        counts = [len(part) for part in parts] + ([] if self.condition is None else [len(self.condition)])
        if len(set(counts)) > 1 or counts[0] == 0:
            raise UsageError(f"Samples, ground truth and conditions must be equally many and at least one, not {counts}.")
        if self.latents.shape != self.truth_latents.shape:
            shapes = tuple(self.latents.shape), tuple(self.truth_latents.shape)
            raise UsageError(f"Samples and ground truth differ in shape: {shapes[0]} and {shapes[1]}.")

    @cached_property
    def samples(self) -> Tensor:
        """The decoded samples, such as images [n, C, H, W] in [-1, 1]; decoded at the first use."""
        return finite(self._decode(self.latents) if self.decoded is None else self.decoded(), "decoded samples")

    @cached_property
    def truth(self) -> Tensor:
        """The ground truth as `samples`."""
        made = self._decode(self.truth_latents) if self.decoded_truth is None else self.decoded_truth()
        return finite(made, "decoded ground-truth samples")

    def part(self, index: slice) -> SampleSet:
        """Return the rows ``index``, to be decoded by themselves."""
        condition = None if self.condition is None else self.condition[index]
        latents, truth = self.latents[index], self.truth_latents[index]
        return replace(self, latents=latents, truth_latents=truth, condition=condition, decoded=None, decoded_truth=None)

    @cached_property
    def form(self) -> tuple[int, ...]:
        """The shape of one decoded sample."""
        return tuple(self._decode(self.latents[:1]).shape[1:])

    @property
    def kept(self) -> bool:
        """Whether the set is small enough to be kept decoded."""
        return prod((len(self), *self.form)) <= KEPT_NUMBERS

    def parts(self) -> Iterator[SampleSet]:
        """Yield the set in parts of at most 256 rows, for metrics that need not see all of it at once.

        A set that is small when it is decoded is decoded once for all metrics; the parts of a large one are decoded every
        time, because it would not fit into memory.
        """
        for start in range(0, len(self), PART):
            rows = slice(start, min(start + PART, len(self)))
            made, truth = (partial(self._rows, name, rows) for name in ("samples", "truth"))
            yield replace(self.part(rows), decoded=made, decoded_truth=truth)

    def _rows(self, name: Literal["samples", "truth"], rows: slice) -> Tensor:
        if self.kept:
            decoded: Tensor = getattr(self, name)
            return decoded[rows]
        states, what = {
            "samples": (self.latents, "decoded samples"),
            "truth": (self.truth_latents, "decoded ground-truth samples"),
        }[name]
        # A message about a part says which, because nobody has seen the others yet.
        return finite(self._decode(states[rows]), f"{what} ({rows.start + 1} to {rows.stop} of {len(self)})")

    def _decode(self, states: Tensor) -> Tensor:
        return self.model.decode(states) if self.decoder is None else self.decoder(states)

    def __len__(self) -> int:
        return len(self.latents)

    def require_finite(self, decoded: bool = False) -> None:
        """Raise DivergedError if any latent of samples or ground truth is NaN or infinite.

        Decoded samples raise it when `samples`, `truth` or `parts` decode them; metrics of the latents decode nothing.

        Args:
            decoded: Whether to decode and check the samples now, as a run does. Sets too large to be kept decoded are left
                to the metrics that use them, because checking them would decode them once more.
        """
        finite(self.latents, "samples")
        finite(self.truth_latents, "ground-truth samples")
        if decoded and self.kept:
            _ = self.samples


def finite(values: Tensor, what: str) -> Tensor:
    """Return values [n, ...] unchanged; DivergedError if any is not finite, with their number and their name ``what``."""
    bad = sum(int((~part.flatten(1).isfinite().all(dim=1)).sum()) for part in torch.split(values, PART))
    if bad:
        raise DivergedError(f"{bad} of {len(values)} {what} are not finite.")
    return values


@dataclass(frozen=True)
class MetricValue:
    """A metric's value over a sample set.

    low, high: the ends of the 95 % interval of the mean, where one exists.
    details: further numbers, such as the median or the number of samples.
    info: texts, such as fingerprints.
    per_sample: one value per sample, where the metric is a mean; paired comparisons use them.
    replicates: the values of resampled samples, where it is not. The resamples are the same for every solver of a field, so
        that replicate b of two solvers is a pair; see `bnsbench.metrics.resampling`.
    """

    value: float
    low: float | None = None
    high: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    per_sample: Sequence[float] | None = None
    info: Mapping[str, str] = field(default_factory=dict)
    replicates: Sequence[float] | None = None


def checked(found: object, rows: int) -> MetricValue:
    """Return what a metric has returned with plain numbers in it.

    A value that is not finite stays so, and what belongs to it is left out: it is told as a reason. What is not there (an
    end of an interval, a detail) is None.

    Args:
        found: What the metric has returned.
        rows: How many samples it has seen.

    Raises:
        BnsbenchError: If it is no `MetricValue`, or anything in it is not what it stands for.
    """
    if not isinstance(found, MetricValue):
        raise BnsbenchError(f"it returned {kind_of(found)} instead of a MetricValue")
    value = real(found.value, "its value")
    details = {name: _detail(each, name) for name, each in mapping(found.details, "its details").items()}
    info = {name: text(each, f"{name} of its info") for name, each in mapping(found.info, "its info").items()}
    if not isfinite(value):
        return MetricValue(value, details={name: each for name, each in details.items() if _there(each)}, info=info)
    for name, each in details.items():
        if not _there(each):
            raise BnsbenchError(f"it returned {each} as the detail {name}, which is not finite")
    low, high = finite_or_none(found.low, "the low end"), finite_or_none(found.high, "the high end")
    if low is not None and high is not None and low > high:
        raise BnsbenchError(f"it returned an interval from {low:g} to {high:g}, whose low end is the higher one")
    per_sample = _all_finite(found.per_sample, "per-sample values", rows)
    return MetricValue(value, low, high, details, per_sample, info, _all_finite(found.replicates, "replicates"))


def _detail(value: object, name: str) -> Any:
    return None if value is None else real(value, f"the detail {name}")


def _there(value: float | None) -> bool:
    return value is None or isfinite(value)


def _all_finite(values: object, what: str, count: int | None = None) -> tuple[float, ...] | None:
    if values is None:
        return None
    found = several(values, what, count)
    wrong = [k for k, each in enumerate(found) if not isfinite(each)]
    if wrong:
        raise BnsbenchError(f"it returned {what} of which number {wrong[0] + 1} is {found[wrong[0]]}, which is not finite")
    return found


class Metric(Protocol):
    """A metric, a callable from samples to a value.

    One that depends on files may have a method ``fingerprint()`` besides, see `bnsbench.metrics.contents.files_fingerprint`.

    Raises:
        NotApplicableError: Where it has no meaning for the samples.
        DivergedError: If samples are not finite.
    """

    def __call__(self, samples: SampleSet) -> MetricValue:
        """Return the metric's value for the samples."""
