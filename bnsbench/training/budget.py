"""What a training may spend at most, in forwards of the network or in time, as a user says it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from bnsbench._text import quoted
from bnsbench.errors import UsageError

_UNITS = {"": (1, 0), "k": (1_000, 0), "M": (1_000_000, 0), "s": (0, 1), "min": (0, 60), "h": (0, 3_600)}
"""Forwards and seconds in one of each unit."""
MOST = 1e15
"""Numbers in a budget are smaller: no training can spend as much."""
_FORM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(" + "|".join(_UNITS) + ")")


@dataclass(frozen=True)
class Budget:
    """Forwards of the network, or seconds.

    Args:
        forwards: at most, a backward pass counting as two; None for a budget of time.
        seconds: at most; None for a budget of forwards.
        pace: seconds that a forward takes, as measured beforehand; a training measures its own on the way.
    """

    forwards: float | None = None
    seconds: float | None = None
    pace: float = field(default=0.0, compare=False)

    @classmethod
    def parse(cls, given: str | float) -> Budget:
        """Return the budget that "50k", "1.5M", "90s", "20min", "2h" or a number of forwards means; UsageError for none."""
        text = "" if isinstance(given, int | float) and not abs(given) < MOST else str(given)
        found = _FORM.fullmatch(text.strip())
        if found is None or not 0 < float(found[1]) < MOST:
            raise UsageError(
                f"A budget is a number of forwards such as 50k or 1.5M, or a time such as 20min or 2h, not {quoted(given)}."
            )
        forwards, seconds = (float(found[1]) * unit or None for unit in _UNITS[found[2]])
        return cls(forwards, seconds)

    def part(self, share: float) -> Budget:
        """Return this share of the budget."""
        forwards, seconds = (None if whole is None else share * whole for whole in (self.forwards, self.seconds))
        return replace(self, forwards=forwards, seconds=seconds)

    @property
    def key(self) -> str:
        """What tells it from any other."""
        return f"{self.forwards!r} forwards, {self.seconds!r} seconds"

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.forwards:,.0f} forwards"
        unit = next(name for name in ("h", "min", "s") if name == "s" or self.seconds >= _UNITS[name][1])
        return f"{self.seconds / _UNITS[unit][1]:.3g} {unit}"
