from __future__ import annotations

import os
from contextlib import suppress

import pytest
import torch

from bnsbench.process.determinism import SIZE, WORKSPACE, deterministic


def state():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get(WORKSPACE),
    )


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)


def test_everything_is_as_before_after_the_block():
    before = state()
    with suppress(ZeroDivisionError), deterministic(True):
        assert state() == (True, False, False, SIZE)
        raise ZeroDivisionError
    assert state() == before == (False, False, True, None)


def test_a_choice_of_the_user_stays(monkeypatch):
    monkeypatch.setenv(WORKSPACE, ":16:8")
    with deterministic(True):
        assert os.environ[WORKSPACE] == ":16:8"
    assert os.environ[WORKSPACE] == ":16:8"


def test_nothing_changes_where_it_is_not_asked_for():
    before = state()
    with deterministic(False):
        assert state() == before


def test_memory_that_nobody_has_written_is_the_same_every_time():
    with deterministic(True):
        assert torch.empty(4).isnan().all()
