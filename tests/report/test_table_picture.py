"""Pictures of tables: everything is there, and nothing lies upon something else."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import combinations

import matplotlib as mpl
import matplotlib.image
import pytest
import torch
from matplotlib.text import Text

from bnsbench.errors import UsageError
from bnsbench.flows.paths import EDM, VP, CondOT, Cosine
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.report.plots import STYLE
from bnsbench.report.table_picture import _figure, draw_table
from bnsbench.solvers.ddim import ddim
from bnsbench.solvers.runge_kutta import euler, heun, rk4
from tests.training.toys import random_split_table


def traced(rule, nfe, path, **options):
    return trace(lambda field, x0: rule(field, x0, nfe, **options), path, (0.0, 0.999))


def wild():
    """A table such as training leaves: large numbers of both signs, a that differ, a state that grows with no field."""
    a, b = torch.tensor([0.9, 1.0, 1.2]), torch.tensor([[2.5, 0.0, 0.0], [-13.25, 1.0, 0.0], [0.5, 0.0, 0.01]])
    return NonStationarySolver(torch.tensor([0.0, 0.9, 0.99, 1.0]), a, b)


def texts(file):
    root = ET.fromstring(file.read_text())  # noqa: S314 (our own file)
    return ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", ["new/table.png", "TABLE.PNG"])
def test_png(tmp_path, name):
    draw_table(traced(heun, 8, CondOT()), CondOT(), "heun at 8 NFE", tmp_path / name)
    image = matplotlib.image.imread(tmp_path / name)
    assert min(image.shape[:2]) > 800
    assert image[..., :3].std() > 0.05
    # Every panel has something in it.
    height, width = image.shape[:2]
    for part in (image[: height // 2, : width // 3], image[: height // 2, width // 2 :], image[3 * height // 4 :]):
        assert part[..., :3].std() > 0.03


def test_svg_holds_the_numbers(tmp_path):
    draw_table(wild(), CondOT(), "mine at 3 NFE", tmp_path / "table.svg")
    found = set(texts(tmp_path / "table.svg"))
    assert {
        "mine at 3 NFE, condot path",
        "Times",
        "uniform grid",
        "|R(z)|, the table's end",
        "exp(z), the true end",
    } <= found
    assert {"0.900", "1.000", "1.200", "2.500", "\N{MINUS SIGN}13.2", "0.010", "0"} <= found
    assert {"a[i]", "b[i,2]", "x[1]", "x[3]", "+1", "\N{MINUS SIGN}1"} <= found


def test_large_tables_have_colours_only(tmp_path):
    draw_table(traced(euler, 11, CondOT()), CondOT(), "", tmp_path / "table.svg")
    assert "0.091" not in texts(tmp_path / "table.svg")


def test_same_table_same_file(tmp_path):
    for name in ("one.svg", "two.svg"):
        draw_table(wild(), CondOT(), "mine", tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


@pytest.mark.parametrize(
    ("path", "table"),
    [
        (CondOT(), wild()),
        (CondOT(), traced(euler, 1, CondOT())),
        (CondOT(), traced(euler, 64, CondOT(), grid="shifted:5")),
        (VP(), traced(ddim, 10, VP())),
        (Cosine(), traced(rk4, 12, Cosine())),
        (EDM(), traced(ddim, 30, EDM(), grid="logsnr")),
        (CondOT(), random_split_table(1)),
        (CondOT(), random_split_table(4)),
        (CondOT(), random_split_table(16)),
    ],
)
def test_no_text_lies_on_another(monkeypatch, path, table):
    drawn, draw = [], Text.draw

    def noted(self, renderer, *arguments, **options):
        drawn.append(self)
        return draw(self, renderer, *arguments, **options)

    monkeypatch.setattr(Text, "draw", noted)
    with mpl.rc_context(STYLE):
        figure = _figure(table, path, "a solver with a long name at some NFE for a model, w = 2")
        figure.draw_without_rendering()
    boxes = {text: text.get_window_extent() for text in drawn if text.get_visible() and text.get_text().strip()}
    assert len(boxes) > 30
    assert all(figure.bbox.contains(*box.min) and figure.bbox.contains(*box.max) for box in boxes.values())
    clashes = [
        (one.get_text(), other.get_text())
        for one, other in combinations(boxes, 2)
        if boxes[one].padded(-1).overlaps(boxes[other].padded(-1))
    ]
    assert clashes == []


@pytest.mark.parametrize("b", [0.0, -1.0])
def test_tables_without_a_limit_to_show(tmp_path, b):
    table = NonStationarySolver(torch.tensor([0.0, 1.0]), torch.tensor([0.5 if b == 0 else 1.0]), torch.tensor([[b]]))
    draw_table(table, CondOT(), "odd", tmp_path / "table.svg")
    assert any("stable for all z < 0" in text for text in texts(tmp_path / "table.svg")) == (b == 0)


def test_matplotlib_stays_as_it_was(tmp_path):
    before = dict(mpl.rcParams)
    draw_table(wild(), CondOT(), "mine", tmp_path / "table.svg")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("table.pdf", r"table.pdf' must end in .png or .svg\."),
        ("table", "must end in .png or .svg"),
        ("folder.png", "folder.png' cannot be written: Is a directory"),
        ("file/table.png", "cannot be written: "),
    ],
)
def test_misuse(tmp_path, name, sentence):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=sentence):
        draw_table(wild(), CondOT(), "mine", tmp_path / name)


def test_split_columns_stand_beside_each_other(tmp_path):
    table = random_split_table(2)
    draw_table(table, CondOT(), "split", tmp_path / "split.svg")
    found = texts(tmp_path / "split.svg")
    assert {"b[i,0]", "c[i,0]", "b[i,1]", "c[i,1]"} < set(found)
    written = {f"{value:.3f}".replace("-", "\N{MINUS SIGN}") for value in table.rows[-1].tolist()}
    assert written < set(found)
