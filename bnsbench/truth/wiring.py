"""Whether a network is the field that it is said to be, found out by a few evaluations of it alone.

Whatever a model says of itself, its field is some ODE with an exact solution, which solvers meet well or badly: a model that
is told the wrong time has a leaderboard as well. But a velocity of a path implies a prediction of the data, and that has to
behave like one. With D(x, t) for the data prediction, and x_1 for samples that DDIM draws by it:

- At pure noise it knows nothing of the data: D(sigma eps, t) does not follow eps.
- At other noise levels it takes noise off: D(alpha x_1 + sigma eps, t) is nearer to x_1 than both x / alpha and a constant.
- Its samples lie in the data's range.

One Gaussian in a few dimensions may be read in several ways, and nothing is told of those.

Where one of these fails, or noise is taken off badly, other readings of the network's answers are tried: as another type of
prediction, with the other sign, with time in the other direction. One that passes, and by far better, is the likely cause.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from bnsbench.flows.model import Model
from bnsbench.flows.predictions import Prediction, to_data, to_velocity, velocity_coefficients
from bnsbench.truth.noise import stream_seed

NUMBERS, FEWEST = 512, 4
"""How many numbers the samples have together, and the least samples."""
NOISIEST = math.log(1e-2)
"""The log-SNR at which noise counts as pure, where the path reaches it."""
STEPS = 8
"""Of DDIM, in equal steps of log-SNR as far up as down."""
LEVELS = (0.5, 1.0, 2.0)
"""Deviations of the noise, relative to that of the samples, at which it has to be taken off."""

EVALUATIONS = 1 + STEPS + len(LEVELS)
"""Of the network, for one reading."""

FOLLOWS = 0.2
"""Slope of the data prediction over pure noise that is too much: right ones have 0.06 at most, wrong ones 0.34 and more."""
WORST = (1.1, 0.85, 1.1)
"""Errors at LEVELS, relative to those of x / alpha or a constant, that are too much: a Gaussian has 0.8, 0.5 and 0.8."""
POOR, BETTER = 0.5, 0.5
"""Share of WORST above which other readings are tried, and the ratio of errors that makes one of them the likely cause."""
WIDEST = 1.5
"""Deviation of samples, relative to half the data range, that is too much: data within the range have 1 at most."""
NARROWEST = 0.1
"""Likewise, below which a reading explains nothing: a network that says next to nothing predicts some point."""


@dataclass(frozen=True)
class Reading:
    """How a network's answers are understood.

    prediction: what they are. sign: by which they are multiplied. reversed: whether the network is told begin + end - t.
    """

    prediction: Prediction
    sign: int = 1
    reversed: bool = False

    @property
    def words(self) -> str:
        """What is wrong with a network that has to be read like this, as part of a sentence."""
        if self.reversed and self.sign < 0:
            return "its time ran from data to noise, with the velocity that belongs to that"
        if self.reversed:
            return "its time ran the other way, from data to noise"
        return "its answers had the other sign" if self.sign < 0 else f"it predicted {self.prediction!r}"


@dataclass(frozen=True)
class Finding:
    """What was measured of a reading.

    slope: of the data prediction over pure noise. allowed: slope that it may have. errors: at LEVELS, relative to those of
    x / alpha or a constant, whichever is better. deviation: of samples, relative to half the data range.
    """

    slope: float
    allowed: float
    errors: tuple[float, ...]
    deviation: float

    @property
    def faults(self) -> list[str]:
        """What is wrong, as parts of a sentence."""
        return list(self._faults())

    @property
    def poor(self) -> bool:
        """Whether noise is taken off as badly as a right network may do it, but few do."""
        return any(error > POOR * worst for error, worst in zip(self.errors, WORST, strict=True))

    def beats(self, other: Finding) -> bool:
        """Whether it passes, and takes noise off far better than the other one: in the geometric mean."""
        if self.faults or not all(self.errors):  # samples that have shrunk to a point are told apart by no noise level
            return False
        ratio = math.prod(self.errors) / math.prod(max(error, 1e-9) for error in other.errors)
        return ratio <= BETTER ** len(LEVELS)

    def _faults(self) -> Iterator[str]:
        if not abs(self.slope) <= self.allowed:
            yield f"at pure noise its data prediction follows the noise (by {self.slope:.2g}, and data need about 0)"
        worst = max(range(len(LEVELS)), key=lambda k: _finite(self.errors[k]) / WORST[k])
        if not self.errors[worst] <= WORST[worst]:
            yield (
                f"it takes no noise off (where noise is {LEVELS[worst]:g} times as wide as its samples, its error is"
                f" {self.errors[worst]:.2g} times that of doing nothing)"
            )
        if not self.deviation <= WIDEST:
            yield f"its samples are {self.deviation:.2g} times as wide as half its data range"


@torch.no_grad()
def suspicion(model: Model) -> str | None:
    """Return a sentence if a model is not the field that it says to be, with the likely cause; None if nothing is wrong.

    It takes 12 evaluations of 4 to 512 samples, without guidance, and seven times as many if something is wrong.

    Args:
        model: The model.
    """
    trial = _Trial(model)
    declared = Reading(model.prediction)
    found = trial.finding(declared)
    if not found.faults and not found.poor:
        return None
    others = trial.explanations(declared, found)
    if not found.faults and not others:
        return None
    faults = found.faults or ["it takes noise off badly"]
    told = f"It does not look like {_kind(model)}: {', and '.join(faults)}."
    if others:
        return f"{told} It would be one if {', or if '.join(reading.words for reading in others)}."
    if not replace(found, deviation=0.0).faults:
        return f"{told} Its data range may be another one, or it knows too little of noise at the beginning."
    return f"{told} No other sign, direction of time or type of prediction explains it: is it trained, and on this path?"


def count_of(model: Model) -> int:
    """Return on how many samples a model is tried: fewer of larger ones."""
    return max(FEWEST, math.ceil(NUMBERS / math.prod(model.shape)))


def told_once(model: Model, name: str) -> str | None:
    """Return what is suspected of a model, the first time that this process asks for it; None afterwards, or if nothing is.

    A model that cannot be asked is not suspected: whoever samples from it hears why.

    Args:
        model: The model.
        name: By which users know it.
    """
    try:
        known = model.fingerprint()
        found = None if known in _asked else suspicion(model)
    except Exception:  # noqa: BLE001 (whatever a model raises)
        return None
    _asked.add(known)
    return None if found is None else f"The model {name}: {found[0].lower()}{found[1:]}"


_asked: set[str] = set()


def _kind(model: Model) -> str:
    word = {"velocity": "a velocity", "epsilon": "a prediction of noise", "x": "a prediction of data", "v": "a v prediction"}
    return f"{word[model.prediction]} on the path {model.path.name}"


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf


class _Trial:
    """Some samples of a model and the times at which it is tried."""

    def __init__(self, model: Model) -> None:
        self.model, self.path = model, model.path
        self.begin, self.end = model.interval
        self.count = count_of(model)
        self.field = model.field(model.conditions(torch.arange(self.count)))
        low, high = (float(self.path.log_snr(t)) for t in (self.begin, self.end))
        low, high = max(low, NOISIEST), min(high, -NOISIEST)
        levels = torch.linspace(low, high, STEPS + 1, dtype=torch.float64)
        self.times = self.path.time(levels).clamp(self.begin, self.end)
        self.ratio = math.exp(low)

    def explanations(self, declared: Reading, found: Finding) -> list[Reading]:
        """Return the other readings that pass, best first; where the declared one passes, those that are far better."""
        kinds = [Reading(kind) for kind in get_args(Prediction) if kind != declared.prediction]
        turned = [replace(declared, sign=-1), replace(declared, reversed=True), replace(declared, sign=-1, reversed=True)]
        others = {reading: self.finding(reading) for reading in (*turned, *kinds)}
        passing = [
            reading
            for reading, other in others.items()
            if other.deviation >= NARROWEST and (not other.faults if found.faults else other.beats(found))
        ]
        return sorted(passing, key=lambda reading: max(others[reading].errors))

    def finding(self, reading: Reading) -> Finding:
        """Measure a reading."""
        noise = self._noise("begin")
        start = self.path.sigma(self.times[0]) * noise
        first = self._data(reading, self.times[0], start)
        slope = float((first * noise).sum() / noise.square().sum())
        samples = self._sample(reading, start, first)
        deviation = float(samples.std(correction=0))
        errors = [self._error(reading, samples, level * deviation) for level in LEVELS]
        # The best linear prediction of data with deviation s follows noise by alpha s^2 / sigma, or less.
        half = self.model.data_range / 2
        allowed = FOLLOWS + self.ratio * max(half, deviation) ** 2
        return Finding(slope, allowed, tuple(errors), deviation / half)

    def _sample(self, reading: Reading, x: Tensor, data: Tensor) -> Tensor:
        """Return what DDIM makes of states at the first time with their data prediction: that at the last one."""
        for t, later in zip(self.times[:-1], self.times[1:], strict=True):
            noise = (x - self.path.alpha(t) * data) / self.path.sigma(t)
            x = self.path.alpha(later) * data + self.path.sigma(later) * noise
            data = self._data(reading, later, x)
        return data

    def _error(self, reading: Reading, samples: Tensor, level: float) -> float:
        """Return the mean squared error at a noise level sigma / alpha, relative to that of doing nothing.

        0 where no time of the interval has that level; nan where it is none.
        """
        if not level < math.inf:
            return math.nan
        t = self.path.time(-math.log(max(level, 1e-30)))
        if not self.times[0] <= t <= self.times[-1]:
            return 0.0
        alpha, sigma = self.path.alpha(t), self.path.sigma(t)
        x = alpha * samples + sigma * self._noise(level)
        error = (self._data(reading, t, x) - samples).square().mean()
        return float(error / torch.minimum((sigma / alpha) ** 2, samples.var(correction=0)))

    def _data(self, reading: Reading, t: Tensor, x: Tensor) -> Tensor:
        """Return the data prediction that a reading of the network's answers implies."""
        asked = self.begin + self.end - t if reading.reversed else t
        # From the velocity back to what the network has answered: u = beta x + gamma f.
        beta, gamma = velocity_coefficients(self.path, self.model.prediction, asked)
        answers = reading.sign * (self.field(asked, x.clone()) - beta * x) / gamma
        return to_data(self.path, t, x, to_velocity(self.path, reading.prediction, t, x, answers))

    def _noise(self, *names: object) -> Tensor:
        generator = torch.Generator().manual_seed(stream_seed("wiring", *names))
        return torch.randn(self.count, *self.model.shape, generator=generator, dtype=torch.float64)
