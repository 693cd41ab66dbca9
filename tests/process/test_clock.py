from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch

from bnsbench.process import clock

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def pass_time(monkeypatch):
    """Let time pass as told, and no other."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def pass_time(seconds):
        now[0] += seconds

    return pass_time


def test_every_second_belongs_to_the_innermost_phase(pass_time):
    with clock.ticking() as ticking:
        pass_time(1.0)
        with clock.phase("training"):
            pass_time(2.0)
            with clock.phase("truth"):
                pass_time(4.0)
            pass_time(8.0)
        with suppress(ValueError), clock.phase("metrics"):
            pass_time(16.0)
            raise ValueError
        pass_time(32.0)
    assert ticking.seconds == {clock.OTHER: 33.0, "training": 10.0, "truth": 4.0, "metrics": 16.0}


def test_network_counts_once_in_its_phase(pass_time):
    with clock.ticking() as ticking, clock.phase("sampling"):
        with clock.network(CPU):
            pass_time(1.0)
            with clock.network(CPU):
                pass_time(2.0)
        pass_time(4.0)
    assert ticking.network_seconds() == {"sampling": 3.0}
    assert ticking.seconds["sampling"] == 7.0


def test_a_clock_inside_another_has_its_own_time(pass_time):
    with clock.ticking() as outer:
        with clock.ticking() as inner, clock.phase("sampling"), clock.network(CPU):
            pass_time(2.0)
        pass_time(1.0)
    assert (inner.seconds["sampling"], inner.network_seconds()) == (2.0, {"sampling": 2.0})
    assert (outer.seconds, outer.network_seconds()) == ({clock.OTHER: 3.0}, {})


def test_nothing_is_counted_where_no_clock_runs(pass_time):
    with clock.phase("sampling"), clock.network(CUDA):
        pass_time(1.0)
    clock.workers(2)
    clock.beside("start-up", 1.0)
    assert list(clock.each("cells", [1, 2])) == [1, 2]


def test_the_time_until_each_item_is_there_is_a_phase(pass_time):
    def items():
        for item in range(3):
            pass_time(1.0)
            yield item

    with clock.ticking() as ticking:
        for _ in clock.each("cells", items()):
            pass_time(10.0)
    assert ticking.seconds == {clock.OTHER: 30.0, "cells": 3.0}


class Stream:
    """A CUDA stream on which every block takes 5 ms, and which is as far as it is told."""

    def __init__(self):
        self.recorded, self.reached = 0, 0
        self.asked = 0

    def event(self, enable_timing):
        assert enable_timing
        stream, number = self, []

        def record():
            number.append(stream.recorded)
            stream.recorded += 1

        def query():
            stream.asked += 1
            return number[0] < stream.reached

        return SimpleNamespace(
            record=record, query=query, elapsed_time=lambda end: 5.0 * (end.number[0] - number[0]), number=number
        )


@pytest.fixture
def stream(monkeypatch):
    stream = Stream()
    monkeypatch.setattr(torch.cuda, "Event", stream.event)
    monkeypatch.setattr(torch.cuda, "device", lambda device: clock.phase("unused"))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: pytest.fail("it waited"))
    return stream


def test_a_network_on_cuda_is_timed_by_events_that_nobody_waits_for(stream):
    with clock.ticking() as ticking, clock.phase("sampling"):
        for _ in range(3):
            with clock.network(CUDA):
                pass
        assert ticking.network_seconds() == {}  # the stream has not come to them
        stream.reached = 4
        assert ticking.network_seconds() == {"sampling": pytest.approx(0.010)}
        stream.reached = 6
    assert ticking.network_seconds() == {"sampling": pytest.approx(0.015)}


def test_events_that_are_over_are_read_before_there_are_many(stream):
    stream.reached = 10**6
    with clock.ticking() as ticking:
        for _ in range(1000):
            with clock.network(CUDA):
                pass
            assert len(ticking._events) <= clock.KEPT_EVENTS
    assert ticking.network_seconds() == {clock.OTHER: pytest.approx(5.0)}


def test_nothing_is_recorded_while_a_graph_is_captured(stream, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with clock.ticking() as ticking, clock.network(CUDA):
        pass
    assert (stream.recorded, ticking.network_seconds()) == (0, {})
