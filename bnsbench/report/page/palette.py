"""The colours of solvers on a light and on a dark page: one colour and one marker each, wherever a solver is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bnsbench.report.kinds import MADE
from bnsbench.report.page.markup import Html, tag, void
from bnsbench.report.solver_styles import MARKERS, styles_of

LIGHT, DARK = "#ffffff", "#15191f"
"""The grounds that colours stand on."""

CONTRAST = 4.5
"""The least contrast of a colour to its ground, by which a text in it is read (WCAG 2, level AA)."""

_SHAPES = {
    "o": '<circle r="4"/>',
    "s": '<path d="M-3.6-3.6h7.2v7.2h-7.2z"/>',
    "D": '<path d="M0-5l5 5-5 5-5-5z"/>',
    "^": '<path d="M0-5l4.8 8.6h-9.6z"/>',
    "v": '<path d="M0 5l4.8-8.6h-9.6z"/>',
    "P": '<path d="M-1.7-4.8h3.4v3.1h3.1v3.4h-3.1v3.1h-3.4v-3.1h-3.1v-3.4h3.1z"/>',
    "*": '<path d="M0-5.8l1.6 3.7 4 .4-3 2.7.9 3.9-3.5-2.1-3.5 2.1.9-3.9-3-2.7 4-.4z"/>',
    "X": '<path d="M-4.6-2.3l2.3-2.3 2.3 2.3 2.3-2.3 2.3 2.3-2.3 2.3 2.3 2.3-2.3 2.3-2.3-2.3-2.3 2.3-2.3-2.3 2.3-2.3z"/>',
    "<": '<path d="M-5 0l8.6-4.8v9.6z"/>',
    ">": '<path d="M5 0l-8.6-4.8v9.6z"/>',
}


@dataclass(frozen=True)
class Ink:
    """How a solver is drawn: its number among the page's solvers, its colours on either ground, and its marker's number."""

    number: int
    light: str
    dark: str
    marker: int


def inks(kinds: Mapping[str, str]) -> dict[str, Ink]:
    """Return how every solver of a page is drawn, given the solvers' kinds."""
    found = styles_of({solver: kind in MADE for solver, kind in kinds.items()})
    return {
        solver: Ink(
            number,
            against(found[solver].colour, LIGHT),
            against(found[solver].colour, DARK),
            MARKERS.index(found[solver].marker),
        )
        for number, solver in enumerate(kinds)
    }


def rules(colours: Mapping[str, Ink]) -> str:
    """Return the style rules that give each solver's elements, of class s<number>, their colour."""
    return "".join(f".s{ink.number}{{--c:light-dark({ink.light},{ink.dark})}}\n" for ink in colours.values())


def markers() -> Html:
    """Return the definitions of all markers, m0, m1 and so on, which figures refer to."""
    shapes = (tag("g", Html(_SHAPES[marker]), id=f"m{number}") for number, marker in enumerate(MARKERS))
    return tag("svg", tag("defs", shapes), class_="defs", width=0, height=0, aria_hidden="true")


def swatch(ink: Ink) -> Html:
    """Return a solver's marker in its colour, for beside its name."""
    marker = void("use", href=f"#m{ink.marker}", x=8, y=8)
    return tag("svg", marker, class_=f"swatch s{ink.number}", viewBox="0 0 16 16", aria_hidden="true")


def against(colour: str, ground: str) -> str:
    """Return the colour, made darker or lighter until it can be read on the ground."""
    end = (0.0, 0.0, 0.0) if _luminance(_channels(ground)) > 0.5 else (1.0, 1.0, 1.0)
    own = _channels(colour)
    for step in range(51):
        mixed = tuple(each + (limit - each) * step / 50 for each, limit in zip(own, end, strict=True))
        if contrast(mixed, _channels(ground)) >= CONTRAST:
            return "#" + "".join(f"{round(255 * each):02x}" for each in mixed)
    raise ValueError(f"no shade of {colour} can be read on {ground}")


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the contrast ratio of two colours, their channels in [0, 1], as WCAG 2 defines it."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _channels(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))


def _luminance(channels: tuple[float, ...]) -> float:
    linear = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels)
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
