"""What a component changes in the process is put back, every part of the table."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from bnsbench.process.surroundings import Part, restored, table

ACTIONS = Path(__file__).parents[1] / "survival" / "faulty_actions.py"


def actions():
    spec = importlib.util.spec_from_file_location("faulty_actions_here", ACTIONS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHANGES = {name: do for name, do in actions().CHANGES.items() if name not in ("leftover-thread", "fork", "removed-folder")}


def state():
    """Return everything that can be compared, by its name."""
    found = {}
    for k, part in enumerate(table()):
        value = part.read()
        if part.name == "the timers":
            value = [interval or float(left > 0) for _, left, interval in value]
        found[f"{part.name} {k}"] = str(value) if part.compared else repr(value)
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_changed_is_put_back(name):
    before = state()
    torch.zeros(1)
    with restored():
        CHANGES[name]()
        changed = {} if name == "low-limit" else state()  # which leaves no frames to look at anything
    assert state() == before
    # Some are so already where tests run, or processors do not know them.
    assert name in ("locale", "warnings-as-errors", "denormals", "alarm") or changed != before


def test_limits_of_the_interpreter_are_put_back():
    before = sys.get_int_max_str_digits(), sys.getswitchinterval()
    with restored():
        sys.set_int_max_str_digits(0)
        sys.setswitchinterval(10.0)
    assert (sys.get_int_max_str_digits(), sys.getswitchinterval()) == before


def test_whatever_is_raised(tmp_path):
    here = Path.cwd()

    def spoil():
        with restored():
            gc.disable()
            os.chdir(tmp_path)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spoil()
    assert Path.cwd() == here
    assert gc.isenabled()


def test_a_removed_folder_keeps_nothing_from_being_put_back(tmp_path):
    here = Path.cwd()
    with restored():
        os.chdir(tmp_path)
        tmp_path.rmdir()
        torch.set_default_dtype(torch.float64)
    assert (Path.cwd(), torch.get_default_dtype()) == (here, torch.float32)


def test_a_part_that_cannot_be_put_back_keeps_no_other_from_it(monkeypatch):
    def refuse(value):
        raise OSError("no")

    stubborn = Part("stubborn", object, refuse)
    whole = table()
    monkeypatch.setattr("bnsbench.process.surroundings.table", lambda: (stubborn, *whole))
    with restored():
        torch.set_default_dtype(torch.float64)
    assert torch.get_default_dtype() == torch.float32


def test_an_alarm_that_was_stopped_rings_when_it_was_to(monkeypatch):
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(time.monotonic()))
    try:
        due = time.monotonic() + 0.5
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with restored():
            signal.setitimer(signal.ITIMER_REAL, 0)
        time.sleep(1)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(rung) == 1
    assert rung[0] == pytest.approx(due, abs=0.3)


def test_without_torch_nothing_of_it_is_looked_at(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    assert "the default device" not in [part.name for part in table()]
