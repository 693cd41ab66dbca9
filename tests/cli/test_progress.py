"""Progress of trainings and runs."""

from __future__ import annotations

import itertools
import time

import pytest

from bnsbench.cli import progress
from bnsbench.contract import PluginHost
from bnsbench.suite.plan import make_plan
from bnsbench.suite.record import Draft, Score
from bnsbench.suite.suitefile import Suite
from bnsbench.training.problem import TrainingStatus


def statuses(count: int, nfe: int = 4) -> list[TrainingStatus]:
    return [TrainingStatus(nfe, "Adam", iteration, count, 20.0 + iteration) for iteration in range(1, count + 1)]


def test_quiet(capsys):
    with progress.show_progress(quiet=True) as shown:
        shown.stage("solving")
        shown.training(statuses(1)[0])
    assert capsys.readouterr() == ("", "")


def test_lines_come_now_and_then_and_at_the_end(capsys, monkeypatch):
    clock = iter(float(second) for second in range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.show_progress(quiet=False) as shown:
        shown.stage("solving ground truth")
        for status in statuses(8):
            shown.training(status)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "solving ground truth",
        "4 NFE: Adam 1/8, 21.00 dB, 1 s",
        "4 NFE: Adam 6/8, 26.00 dB, 6 s, at most 2 s left",
        "4 NFE: Adam 8/8, 28.00 dB, 8 s",
    ]


@pytest.mark.parametrize("count", [1, 5])
def test_terminals_get_bars_and_keep_the_stages(capsys, monkeypatch, count):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.show_progress(quiet=False) as shown:
        shown.stage("solving [ground] truth")
        for status in [*statuses(count), *statuses(count, nfe=8)]:
            shown.training(status)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "solving [ground] truth" in captured.err


def test_figures_are_those_that_are_known():
    plain = TrainingStatus(8, "Adam", 1, 2, 30.0)
    assert progress.figures(plain) == "30.00 dB"
    full = TrainingStatus(8, "Gauss-Newton", 1, 2, 30.0, damping=1e-3, loss=-5.5, forwards=1_234_567)
    assert progress.figures(full) == "30.00 dB, loss -5.500, damping 1e-03, 1.23 M forwards"


@pytest.fixture
def cells():
    """Two cells that sample, two that train, and one that is skipped."""
    content = {"name": "s", "nfe": [2, 3], "solvers": ["euler", "bns", "midpoint"], "models": ["ring8"]}
    plan = make_plan(Suite.parse(content, "here"), PluginHost.load())
    return [*plan[:4], plan[5]]


def ok(cell):
    draft = Draft(cell)
    draft.metrics = {"psnr": Score("1", unit="dB", value=31.234)}
    return draft.finish("ok")


def run(shown, cells):
    """Go through a run whose second cell fails while the third trains."""
    shown.planned(cells, cells)
    for cell in cells[:4]:
        shown.started(cell)
    shown.of_cell(cells[0], "stage", "metrics")
    shown.finished(cells[0], ok(cells[0]))
    shown.finished(cells[1], Draft(cells[1]).finish("failed", "it broke [badly]"))
    shown.of_cell(cells[2], "training", statuses(3)[1])
    shown.of_cell(cells[2], "notice", "A solver file [here] is damaged.")
    for cell in cells[2:4]:
        shown.finished(cell, ok(cell))
    for cell in cells[4:]:
        shown.finished(cell, Draft(cell).finish("skipped", cell.skip or ""))


def test_a_run_in_lines(capsys, monkeypatch, cells):
    clock = iter(10.0 * second for second in range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.show_progress(quiet=False) as shown:
        run(shown, cells)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "5 cells, 4 to run."
    assert lines[1] == "ring8 w=0 euler NFE 2: metrics"
    assert "[3/5] ring8 w=0 euler NFE 3: failed: it broke [badly]" in captured.err
    assert any(line.startswith("ring8 w=0 bns NFE 2: 4 NFE: Adam 2/3, 22.00 dB, ") for line in lines)
    assert "A solver file [here] is damaged." in lines
    assert any(line.startswith("[5/5] ring8 w=0 bns NFE 3: psnr 31.23 dB") for line in lines)
    assert not any("midpoint" in line for line in lines)


def test_lines_of_a_run_come_now_and_then(capsys, monkeypatch, cells):
    clock = iter(float(second) for second in range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.show_progress(quiet=False) as shown:
        shown.planned(cells, cells)
        for number in range(12):
            shown.of_cell(cells[0], "stage", str(number))
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" ")[2] for line in lines[1:]] == ["0", "5", "10"]


def test_a_run_in_a_bar(capsys, monkeypatch, cells):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.show_progress(quiet=False) as shown:
        run(shown, cells)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "ring8 w=0 euler NFE 3: failed: it broke [badly]" in captured.err
    assert "A solver file [here] is damaged." in captured.err


def test_a_quiet_run_tells_its_notices(capsys, cells):
    with progress.show_progress(quiet=True) as shown:
        run(shown, cells)
    assert capsys.readouterr() == ("", "A solver file [here] is damaged.\n")


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (605, "10 min 05 s")])
def test_seconds_as_people_say_them(seconds, said):
    assert progress.duration(seconds) == said


def test_results_in_a_few_words(cells):
    assert progress.result(ok(cells[0])) == "psnr 31.23 dB"
    assert progress.result(Draft(cells[0]).finish("ok")) == "ok"
    assert progress.result(Draft(cells[0]).finish("timeout", "too long")) == "timeout: too long"


def test_forwards_are_told_of_how_many_and_so_is_the_time_left(capsys, monkeypatch):
    """By forwards where it is known how many there will be, and by iterations once they are passed."""
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.show_progress(quiet=False) as shown:
        for iteration, forwards in ((1, 10_000), (2, 30_000), (3, 50_000), (4, 90_000)):
            status = TrainingStatus(4, "Gauss-Newton", iteration, 8, 30.0, forwards=forwards, expected=60_000)
            shown.training(status)
    assert capsys.readouterr().err.splitlines() == [
        "4 NFE: Gauss-Newton 1/8, 30.00 dB, 0.01 of about 0.06 M forwards, 10 s",
        "4 NFE: Gauss-Newton 2/8, 30.00 dB, 0.03 of about 0.06 M forwards, 20 s, about 15 s left",
        "4 NFE: Gauss-Newton 3/8, 30.00 dB, 0.05 of about 0.06 M forwards, 30 s, about 5 s left",
        "4 NFE: Gauss-Newton 4/8, 30.00 dB, 0.09 M forwards, 40 s, at most 40 s left",
    ]
