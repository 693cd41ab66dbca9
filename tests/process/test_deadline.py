"""Deadlines end what swallows exceptions, and are never raised where they would do harm."""

from __future__ import annotations

import signal
import sys
import threading
import time

import pytest

from bnsbench.process.deadline import Deadline, uninterrupted


class Over(BaseException):
    """The time is over."""


def call(do, seconds=0.05, overdue=lambda: None):
    deadline = Deadline(seconds, Over, overdue)
    return deadline, lambda: deadline.call(do)


def swallow(kind):
    while True:
        try:
            time.sleep(0.02)
        except kind:
            continue


def swallow_deep():
    while True:
        try:
            swallow(BaseException)
        except BaseException:  # noqa: BLE001, S112
            continue


def busy():
    while True:
        sum(range(1000))


HANGS = [
    lambda: time.sleep(60),
    busy,
    lambda: swallow(Exception),
    lambda: swallow(BaseException),
    swallow_deep,
    lambda: threading.Event().wait(),
]


@pytest.mark.parametrize("hang", HANGS)
def test_whatever_hangs_is_ended(hang):
    _, run = call(hang)
    began, handler, tracing = time.monotonic(), signal.getsignal(signal.SIGALRM), sys.gettrace()
    left, interval = signal.getitimer(signal.ITIMER_REAL)  # of whoever limits the time of tests
    with pytest.raises(Over):
        run()
    assert time.monotonic() - began < 20
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL)[1] == interval
    assert signal.getitimer(signal.ITIMER_REAL)[0] == pytest.approx(max(0.0, left - (time.monotonic() - began)), abs=0.5)
    assert sys.gettrace() is tracing
    assert sys.getprofile() is None


@pytest.mark.parametrize("hang", [busy, lambda: swallow(Exception)])
def test_in_other_threads_too(hang):
    found: list[object] = []

    def work():
        _, run = call(hang)
        try:
            run()
        except Over as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert len(found) == 1


@pytest.mark.parametrize("seconds", [None, 5.0, 1e12, float("inf")])
def test_what_is_in_time_returns(seconds):
    deadline, run = call(lambda: 7, seconds)
    assert (run(), deadline.raised) == (7, 0)


def test_a_deadline_that_is_over_at_once():
    """At any place of what is called, and never outside of it."""
    for _ in range(20):
        _, run = call(lambda: time.sleep(5), 1e-9)
        with pytest.raises(Over):
            run()
    time.sleep(0.3)  # nothing comes after it


def test_what_puts_things_in_order_comes_to_its_end():
    done = []

    @uninterrupted
    def tidy():
        time.sleep(0.4)
        done.append(True)

    def work():
        try:
            time.sleep(60)
        finally:
            tidy()

    _, run = call(work)
    with pytest.raises(Over):
        run()
    assert done == [True]


def test_errors_pass():
    _, run = call(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run()


def test_it_is_said_if_nothing_helps(monkeypatch):
    monkeypatch.setattr("bnsbench.process.deadline.SAID", 0.3)
    said = []

    @uninterrupted
    def stuck():
        time.sleep(1.5)

    _, run = call(stuck, overdue=lambda: said.append(True))
    run()
    assert said == [True]


def test_nothing_is_left_behind_in_other_threads():
    """An exception that was thrown and not raised would come later, or let Python run slowly for ever."""
    found: list[object] = []

    def work():
        for k in range(30):
            deadline = Deadline(0.01 * (k % 3), Over, lambda: None)
            try:
                deadline.call(lambda: sum(range(100_000)))
            except Over:
                found.append(k)
        for _ in range(100):
            time.sleep(0.001)
        found.append("end")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert found[-1] == "end"
    traced = sys.gettrace()  # by what measures the tests' coverage
    sys.settrace(lambda *_: None)
    try:
        call(lambda: None)
    finally:
        sys.settrace(traced)


class Going:
    """Something that takes long to go, from which Python lets no exception out."""

    def __del__(self) -> None:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass


def test_what_is_called_as_an_object_goes_comes_to_its_end():
    """The alarm would be lost there, and told as an exception that is ignored, which here is an error."""

    def let_go():
        while True:
            Going()
            time.sleep(0.05)

    _, run = call(let_go, seconds=0.1)
    began = time.monotonic()
    with pytest.raises(Over):
        run()
    assert time.monotonic() - began < 5
