"""The parts of a page: markup, colours, places and ticks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bnsbench.media.pictures import contact_sheet, sheet_pairs
from bnsbench.report.page.chart import Axis, Line, Point, chart, spread, ticks
from bnsbench.report.page.markup import Html, tag, void
from bnsbench.report.page.palette import DARK, LIGHT, against, contrast, inks


def test_texts_and_attributes_are_escaped_and_markup_is_not():
    made = tag(
        "p", "a < b & c", [tag("b", '"'), None], Html("<i></i>"), class_="x", title='"><script>', data_n=3, hidden=False
    )
    assert made == ('<p class="x" title="&quot;&gt;&lt;script&gt;" data-n="3">a &lt; b &amp; c<b>&quot;</b><i></i></p>')
    assert void("use", x=1.25, hidden=True) == '<use x="1.25" hidden/>'


def test_contrast_is_that_of_wcag():
    assert contrast((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) == pytest.approx(21.0)
    # #767676 is the lightest grey that text on white may have, and #777777 is too light.
    assert contrast((0x76 / 255,) * 3, (1.0, 1.0, 1.0)) >= 4.5 > contrast((0x77 / 255,) * 3, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("ground", [LIGHT, DARK])
@pytest.mark.parametrize("colour", ["#ffffff", "#000000", "#66ccee", "#e07a00"])
def test_every_colour_can_be_read_on_either_ground(colour, ground):
    shown = against(colour, ground)
    channels = [tuple(int(each[k : k + 2], 16) / 255 for k in (1, 3, 5)) for each in (shown, ground)]
    assert contrast(*channels) >= 4.49


def test_a_hundred_solvers_have_inks():
    found = inks({f"solver{k}": "learned" for k in range(100)})
    assert [ink.number for ink in found.values()] == list(range(100))


def test_places_are_spread_in_their_order():
    assert spread([10.0, 11.0, 30.0], 5.0, 0.0, 100.0) == [10.0, 15.0, 30.0]
    assert spread([99.0, 98.0], 5.0, 0.0, 100.0) == [100.0, 95.0]
    assert spread([], 5.0, 0.0, 1.0) == []


@pytest.mark.parametrize(
    ("low", "high", "scale", "wanted"),
    [
        (0.0, 10.0, "linear", (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)),
        (19.2, 81.0, "linear", (20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0)),
        (1.0, 100.0, "log", (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)),
        (0.001, 10.0, "log", (0.001, 0.01, 0.1, 1.0, 10.0)),
    ],
)
def test_ticks_are_round(low, high, scale, wanted):
    assert ticks(low, high, scale) == pytest.approx(wanted)


def test_points_lie_where_their_numbers_are():
    ink = inks({"a": "classic"})["a"]
    line = Line("a", ink, (Point(0.0, 0.0, "low"), Point(10.0, 100.0, "high"), Point(5.0, 50.0, "middle")))
    drawn = chart(
        [line], Axis("x", low=0.0, high=10.0), Axis("y", low=0.0, high=100.0), name="n", label="l", size=(400, 200)
    )
    places = [part.split('"') for part in drawn.split("<use ")[1:]]
    (x0, y0), (x1, y1), (x2, y2) = ((float(each[3]), float(each[5])) for each in places)
    assert (x2, y2) == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2))
    assert (x0, y0) == (62.0, 154.0)  # the left and lower edges of the frame
    assert y1 == 14.0


@pytest.mark.parametrize(("height", "width", "count"), [(8, 8, 8), (64, 64, 5), (7, 30, 1), (100, 65, 2)])
def test_a_sheet_is_taken_apart_again(height, width, count):
    generator = torch.Generator().manual_seed(height)
    left, right = (
        torch.randint(0, 255, (count, height, width, 3), generator=generator).numpy().astype(np.uint8) for _ in range(2)
    )
    found = sheet_pairs(contact_sheet(left, right), count)
    scale = -(-64 // min(height, width))
    assert found is not None
    for part, wanted in zip(found, (left, right), strict=True):
        assert np.array_equal(part, wanted.repeat(scale, axis=1).repeat(scale, axis=2))


def test_other_pictures_are_no_sheets():
    assert sheet_pairs(np.zeros((100, 100, 3), dtype=np.uint8), 8) is None
