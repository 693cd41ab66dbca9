"""A chart of lines and points as SVG: axes, markers, intervals, names at the right, and exact numbers for every point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bnsbench.report.page.markup import Html, markup, tag, void
from bnsbench.report.page.palette import Ink, swatch

WIDTH, HEIGHT = 640, 400
LEFT, TOP, BOTTOM = 62, 14, 46
LETTER, LINE = 7.9, 15.0
"""The width of a letter and the height of a line of names, in units of the picture."""
LONGEST_NAME = 24
CROPPED = 0.25
"""The share of a picture at the right which a narrow screen does not show: names alone may stand there."""

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Point:
    """A point with the ends of its interval, if it has one, and what it says."""

    x: float
    y: float
    says: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A solver's points. named: whether its name stands in the chart. step: drawn as stairs, without markers."""

    solver: str
    ink: Ink
    points: tuple[Point, ...]
    named: bool = False
    step: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis: what it measures, its scale, and its ticks if they are given."""

    title: str
    scale: Scale = "linear"
    ticks: tuple[float, ...] = ()
    texts: Callable[[float], str] | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class _Frame:
    """Where numbers lie in the picture."""

    width: float
    height: float
    right: float
    x: tuple[Scale, float, float]
    y: tuple[Scale, float, float]

    def across(self, value: float) -> float:
        """Return how far from the left a value of the first axis is."""
        return LEFT + _share(value, *self.x) * (self.width - LEFT - self.right)

    def down(self, value: float) -> float:
        """Return how far from the top a value of the second axis is."""
        return TOP + (1.0 - _share(value, *self.y)) * (self.height - TOP - BOTTOM)


def chart(
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    *,
    name: str,
    label: str,
    described_by: str | None = None,
    size: tuple[float, float] = (WIDTH, HEIGHT),
) -> Html:
    """Return a chart, and below it what stands for its lines' names on a small screen.

    Args:
        lines: What is drawn, the named ones last and on top.
        x: The axis from left to right.
        y: The axis from bottom to top.
        name: A class, to tell charts apart.
        label: What a screen reader says of the picture.
        described_by: The identifier of the table that holds its numbers.
        size: Width and height, in units of the picture.
    """
    ordered = sorted((line for line in lines if line.points), key=lambda line: line.named)
    points = [point for line in ordered for point in line.points]
    names = [line for line in ordered if line.named]
    longest = max((len(_shortened(line.solver)) for line in names), default=0)
    right = max(16 + LETTER * longest, CROPPED * size[0])
    frame = _Frame(
        *size,
        right,
        _range(x, [point.x for point in points]),
        _range(y, [each for point in points for each in _heights(point, y.scale)], margin=0.04),
    )
    drawn = tag(
        "svg",
        _axes(frame, x, y),
        (_line(frame, line) for line in ordered),
        _names(frame, names),
        class_=f"chart {name}",
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        role="group",
        aria_label=label,
        aria_describedby=described_by,
    )
    return markup([drawn, _key(sorted(names, key=lambda line: frame.down(line.points[-1].y)))])


def spread(places: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Return places, moved so that they are ``least`` apart and within low and high, as far as that goes, in their order."""
    order = sorted(range(len(places)), key=lambda k: places[k])
    moved: list[float] = []
    for k in order:
        moved.append(max(places[k], moved[-1] + least if moved else low))
    for index in range(len(moved) - 1, -1, -1):
        limit = high if index == len(moved) - 1 else moved[index + 1] - least
        moved[index] = min(moved[index], limit)
    found = [0.0] * len(places)
    for k, place in zip(order, moved, strict=True):
        found[k] = place
    return found


def ticks(low: float, high: float, scale: Scale, most: int = 7) -> tuple[float, ...]:
    """Return round numbers between low and high, at most about so many."""
    if scale == "log":
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
        found = [step * 10.0**power for power in decades for step in steps if low <= step * 10.0**power <= high]
        return tuple(found[:: math.ceil(len(found) / most)] if found else (low,))
    raw = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(each * unit for each in (1, 2, 2.5, 5, 10) if each * unit >= raw)
    return tuple(k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1))


def tick_text(value: float) -> str:
    """Return a tick's number in a few letters."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g} k"
    return f"{round(value, 12):g}".replace("-", "\N{MINUS SIGN}")


def _heights(point: Point, scale: Scale) -> list[float]:
    """Return what the second axis has to hold of a point: intervals may leave a logarithmic axis at its bottom."""
    ends = [point.high] if scale == "log" else [point.low, point.high]
    return [point.y, *(each for each in ends if each is not None)]


def _share(value: float, scale: Scale, low: float, high: float) -> float:
    if scale == "log":
        return math.log(max(value, low) / low) / math.log(high / low)
    return (value - low) / (high - low)


def _range(axis: Axis, values: Sequence[float], margin: float = 0.03) -> tuple[Scale, float, float]:
    """Return the scale and ends of an axis, with some room at both; of a single value the room around it."""
    known = [value for value in values if value > 0.0] if axis.scale == "log" else values
    low, high = min(known, default=0.0), max(known, default=1.0)
    if axis.scale == "log":
        room = max((high / low) ** margin, 1.05)
        low, high = low / room, high * room
    else:
        room = margin * (high - low) or max(abs(high), 1.0) * 0.1
        low, high = low - room, high + room
    return axis.scale, low if axis.low is None else axis.low, high if axis.high is None else axis.high


def _axes(frame: _Frame, x: Axis, y: Axis) -> Iterator[Html]:
    floor, wall = frame.height - BOTTOM, frame.width - frame.right
    for value in y.ticks or ticks(*frame.y[1:], frame.y[0]):
        place = frame.down(value)
        yield void("line", class_="grid", x1=LEFT, x2=round(wall, 1), y1=round(place, 1), y2=round(place, 1))
        yield tag("text", (y.texts or tick_text)(value), class_="tick", x=LEFT - 7, y=round(place + 4, 1), text_anchor="end")
    for value in x.ticks or ticks(*frame.x[1:], frame.x[0]):
        place = frame.across(value)
        yield void("line", class_="axis", x1=round(place, 1), x2=round(place, 1), y1=floor, y2=floor + 4)
        yield tag(
            "text", (x.texts or tick_text)(value), class_="tick", x=round(place, 1), y=floor + 18, text_anchor="middle"
        )
    yield void("line", class_="axis", x1=LEFT, x2=round(wall, 1), y1=floor, y2=floor)
    yield tag("text", x.title, class_="title", x=round((LEFT + wall) / 2, 1), y=frame.height - 8, text_anchor="middle")
    middle = (TOP + floor) / 2
    yield tag("text", y.title, class_="title", text_anchor="middle", transform=f"translate(13 {middle:g}) rotate(-90)")


def _line(frame: _Frame, line: Line) -> Html:
    places = [(frame.across(point.x), frame.down(point.y)) for point in line.points]
    name = f"curve s{line.ink.number}{' named' if line.named else ''}"
    inner: list[Html] = []
    if len(places) > 1:
        inner.append(void("path", class_="line", d=_stairs(places) if line.step else _straight(places)))
    bars = "".join(
        f"M{px:.1f} {frame.down(point.low):.1f}V{frame.down(point.high):.1f}"
        for point, (px, _) in zip(line.points, places, strict=True)
        if point.low is not None and point.high is not None
    )
    if bars:
        inner.append(void("path", class_="bars", d=bars))
    for point, (px, py) in zip(line.points, places, strict=True):
        if point.says:
            inner.append(
                void("use", href=f"#m{line.ink.marker}", x=f"{px:.1f}", y=f"{py:.1f}", role="img", aria_label=point.says)
            )
    return tag("g", inner, class_=name, data_s=line.ink.number)


def _straight(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in places)


def _stairs(places: Sequence[tuple[float, float]]) -> str:
    (px, py), *rest = places
    return f"M{px:.1f} {py:.1f}" + "".join(f"H{qx:.1f}V{qy:.1f}" for qx, qy in rest)


def _names(frame: _Frame, lines: Sequence[Line]) -> Iterator[Html]:
    """Write the names of lines beside their ends, apart from each other."""
    ends = [frame.down(line.points[-1].y) for line in lines]
    for line, end, place in zip(lines, ends, spread(ends, LINE, TOP + 4, frame.height - BOTTOM), strict=True):
        last = frame.across(line.points[-1].x)
        wall = frame.width - frame.right
        thread = f"M{last + 5:.1f} {end:.1f}L{wall + 6:.1f} {place:.1f}" if last < wall - 20 or abs(end - place) > 2 else ""
        yield tag(
            "g",
            void("path", class_="thread", d=thread) if thread else None,
            tag("text", _shortened(line.solver), x=round(wall + 9, 1), y=round(place + 4, 1)),
            class_=f"name s{line.ink.number}",
            data_s=line.ink.number,
            aria_hidden="true",
        )


def _key(lines: Sequence[Line]) -> Html | None:
    """Return the names of lines with their markers, for screens on which a chart has no room for names."""
    entries = (tag("span", swatch(line.ink), line.solver) for line in lines)
    return tag("p", entries, class_="key", aria_hidden="true") if lines else None


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
