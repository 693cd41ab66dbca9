"""Colours and markers of solvers: the same in every picture, so that a solver is recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

COLOURS = (
    *("#4477aa", "#66ccee", "#228833", "#aa9933", "#7a6fac", "#44aa99", "#999933", "#885544"),
    *("#6699cc", "#bb8899", "#557788", "#88aa55"),
)
LEARNED = ("#e07a00", "#d62246", "#a4168f", "#7a1f1f")
MARKERS = "osD^vP*X<>"


@dataclass(frozen=True)
class Style:
    """Colour and marker of a solver; ``learned`` ones have strong colours."""

    colour: str
    marker: str
    learned: bool


def styles_of(solvers: Mapping[str, bool]) -> dict[str, Style]:
    """Return the style of every solver, given whether it is learned; no two have the same as long as there are others.

    A style follows from a hash of the solver's name. Where two names have the same, the later in the alphabet gets the next.
    """
    found: dict[str, Style] = {}
    taken: set[Style] = set()
    for name in sorted(solvers):
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        following = (_style(number + step, solvers[name]) for step in range(len(COLOURS) * len(MARKERS)))
        found[name] = next((style for style in following if style not in taken), _style(number, solvers[name]))
        taken.add(found[name])
    return found


def _style(number: int, learned: bool) -> Style:
    palette = LEARNED if learned else COLOURS
    return Style(palette[number % len(palette)], MARKERS[number // len(palette) % len(MARKERS)], learned)
