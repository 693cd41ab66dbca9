"""Pictures are drawn by matplotlib's own settings, and names in them are text."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bnsbench.media.drawing import label, plain_style


def test_settings_of_the_folder_have_no_say():
    with mpl.rc_context({"text.usetex": True, "text.latex.preamble": r"\input{/etc/passwd}", "font.size": 40}):
        with plain_style({"axes.grid": True}):
            assert mpl.rcParams["text.usetex"] is False
            assert mpl.rcParams["text.latex.preamble"] == ""
            assert mpl.rcParams["font.size"] == 10.0
            assert mpl.rcParams["axes.grid"] is True
        assert mpl.rcParams["text.usetex"] is True


NAMES = ["$x$", r"$\frac$", "$", "a$b$c", "\\$x", "_hidden", "$$", r"\input{x}", "\x1b[31m", "a\nb"]


@pytest.mark.parametrize("text", NAMES)
def test_names_are_drawn_as_they_are(text, tmp_path):
    with plain_style():
        figure = Figure()
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(label(text))
        (line,) = axes.plot([0, 1], label=label(text))
        legend = axes.legend(handles=[line])
        figure.savefig(tmp_path / "x.svg", metadata={"Date": None})
        assert len(legend.get_texts()) == 1
    assert "\x1b" not in (tmp_path / "x.svg").read_text()
