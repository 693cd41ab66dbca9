"""The pictures of the rooms are those of the imports."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from tests.docs import architecture
from tests.docs.replay import ROOT


@pytest.mark.parametrize("name", architecture.PICTURES)
def test_pictures_are_current(name):
    """`python -m tests.docs.architecture` draws them."""
    drawn = architecture.drawn(architecture.PICTURES[name]())
    assert (architecture.FOLDER / name).read_text(encoding="utf-8") == drawn
    texts = {each.text for each in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}  # noqa: S314 (our own)
    assert texts == set(architecture.PICTURES[name]())


def test_every_room_is_explained():
    page = (ROOT / "docs/explanation/architecture.md").read_text(encoding="utf-8")
    missing = [room for room in architecture.rooms() if f"`{room}`" not in page]
    assert missing == []


def test_arrows_lead_down_one_floor_at_least():
    graph = {"roof": {"walls", "ground"}, "walls": {"ground"}, "shed": {"ground"}}
    assert architecture.floors(graph) == [["ground"], ["shed", "walls"], ["roof"]]
    assert architecture.reduced(graph) == {"roof": {"walls"}, "walls": {"ground"}, "shed": {"ground"}}
    assert architecture.upward(graph) == set()


def test_a_circle_is_drawn_red():
    graph = {"roof": {"ground"}, "ground": {"roof"}}
    assert len(architecture.upward(graph)) == 1
    assert "#c62828" in architecture.drawn(graph)
    assert "#c62828" not in architecture.drawn({"roof": {"ground"}, "ground": set()})
