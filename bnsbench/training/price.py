"""What decibels have cost, and what more of them would: read off the validation curve of a training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

DECIBELS = 0.1
"""The decibels that are priced."""
FARTHEST = 10.0
"""Where prices have grown by more than this from one tenth of a decibel to the next, a curve cannot say what follows."""


@dataclass(frozen=True)
class Price:
    """Forwards of the network.

    Args:
        last: that have been spent since the table was DECIBELS worse, to the training's end.
        following: that DECIBELS more would take, about; None where the curve cannot say.
    """

    last: int
    following: int | None

    @property
    def in_words(self) -> str:
        """The price as a sentence without its end."""
        said = f"the last {DECIBELS:g} dB took about {rounded(self.last)} forwards"
        if self.following is None:
            return said
        return f"{said}; another {DECIBELS:g} dB would take about {rounded(self.following)}"

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Price:
        """Return the price that `to_dict` gave."""
        return cls(record["last"], record["following"])

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, JSON-like."""
        return {"decibels": DECIBELS, **asdict(self)}


def price_of(points: Sequence[Mapping[str, Any]]) -> Price | None:
    """Return what a validation curve says of the price of decibels, None where it says nothing.

    The best PSNR so far is taken to rise linearly between two checks at which it rose. The last tenth of a decibel is what
    was gained since the best table was a tenth worse, so that checks in vain at the end count for it. The next one's price
    continues the last two: price and price before it stand in the ratio that the next and the last will have, at least one,
    for gains get dearer. A single rise over both of them says nothing of how prices grow.

    Args:
        points: of a `ValidationCurve`: "forwards", spent so far by all purposes, and "psnr" in dB.
    """
    rises = _rises(points)
    if len(rises) < 2:
        return None
    best, end = rises[-1][1], float(points[-1]["forwards"])
    once, twice = (_reached(rises, best - steps * DECIBELS) for steps in (1, 2))
    if once is None:
        return None
    last, following = end - once, None
    # Where two tenths of a decibel lie on one line, their prices are one measurement.
    if twice is not None and rises[-2][1] > best - 2 * DECIBELS:
        growth = max(1.0, last / max(once - twice, 1.0))
        following = round(last * growth) if growth <= FARTHEST else None
    return Price(round(last), following)


def rounded(count: float) -> str:
    """Return a number of forwards in two digits, as people say it."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= 0.995 * size:
            return f"{float(f'{count / size:.2g}'):g} {unit}"
    return f"{float(f'{count:.2g}'):g}"


def _rises(points: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return forwards and PSNR of the checks at which the PSNR was better than ever before."""
    found: list[tuple[float, float]] = []
    for point in points:
        if "forwards" in point and point["psnr"] > (found[-1][1] if found else -math.inf):
            found.append((float(point["forwards"]), float(point["psnr"])))
    return found


def _reached(rises: Sequence[tuple[float, float]], psnr: float) -> float | None:
    """Return after how many forwards a PSNR was reached, None if the curve begins above it."""
    for (before, low), (after, high) in itertools.pairwise(rises):
        if low <= psnr <= high:
            return before + (after - before) * (psnr - low) / (high - low)
    return None
