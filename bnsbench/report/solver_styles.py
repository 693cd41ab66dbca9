"""Colours and markers of solvers: the same in every picture, so that a solver is recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

COLOURS = (
    *("#4477aa", "#66ccee", "#228833", "#aa9933", "#7a6fac", "#44aa99", "#999933", "#885544"),
    *("#6699cc", "#bb8899", "#557788", "#88aa55"),
)
LEARNED = ("#00786b", "#1f3fa8", "#5d4300")
MARKERS = "osD^vP*X<>"
PINNED = {"bns": "#d62246", "dss": "#e07a00", "pd": "#a4168f", "bst": "#7a1f1f"}
"""Colours of learned solvers that often stand side by side, and of no others."""


@dataclass(frozen=True)
class Style:
    """Colour and marker of a solver; ``learned`` ones have strong colours."""

    colour: str
    marker: str
    learned: bool


def styles_of(solvers: Mapping[str, bool]) -> dict[str, Style]:
    """Return the style of every solver, given whether it is learned; no two have the same as long as there are others.

    A style follows from a hash of the solver's name, but for pinned colours. Where two names have the same, the later in the
    alphabet gets the next.
    """
    found: dict[str, Style] = {}
    taken: set[Style] = set()
    for name in sorted(solvers):
        following = _styles(name, solvers[name])
        found[name] = next((style for style in following if style not in taken), following[0])
        taken.add(found[name])
    return found


def _styles(name: str, learned: bool) -> list[Style]:
    """Return all styles that a solver may have, the one that its name asks for first."""
    palette = COLOURS if not learned else (PINNED[name],) if name in PINNED else LEARNED
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    count = len(palette) * len(MARKERS)
    places = ((number + step) % count for step in range(count))
    return [Style(palette[place % len(palette)], MARKERS[place // len(palette)], learned) for place in places]
