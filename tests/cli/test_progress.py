"""Progress of a training."""

from __future__ import annotations

import pytest

from bnsbench.cli import training_progress as progress
from bnsbench.training.problem import TrainingStatus


def statuses(count: int, nfe: int = 4) -> list[TrainingStatus]:
    return [TrainingStatus(nfe, "Adam", iteration, count, 20.0 + iteration) for iteration in range(1, count + 1)]


def test_quiet(capsys):
    with progress.training_progress(quiet=True) as shown:
        shown.stage("solving")
        shown.training(statuses(1)[0])
    assert capsys.readouterr() == ("", "")


def test_lines_come_now_and_then_and_at_the_end(capsys, monkeypatch):
    clock = iter(float(second) for second in range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.training_progress(quiet=False) as shown:
        shown.stage("solving ground truth")
        for status in statuses(8):
            shown.training(status)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "solving ground truth",
        "4 NFE: Adam 1/8, 21.00 dB",
        "4 NFE: Adam 6/8, 26.00 dB, at most 2 s left",
        "4 NFE: Adam 8/8, 28.00 dB",
    ]


@pytest.mark.parametrize("count", [1, 5])
def test_terminals_get_bars_and_keep_the_stages(capsys, monkeypatch, count):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress.training_progress(quiet=False) as shown:
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
