"""The user's interrupt ends everything; one that a component raises is its own."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from bnsbench.process.interrupts import exits_refused, interrupts_told


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


def caught(do):
    """Return the interrupt that comes out of ``do``."""
    with pytest.raises(KeyboardInterrupt) as found:
        do()
    return found.value


def own():
    raise KeyboardInterrupt


def told():
    """Return whether interrupts are the user's: one of a component, one of the user, and any other error."""
    found = []
    with interrupts_told() as interrupts:
        found.append(interrupts.by_user(caught(own)))
        found.append(interrupts.by_user(caught(interrupt)))
        found.append(interrupts.by_user(ValueError()))
        assert found == [False, True, False]
        raise ZeroDivisionError


def test_one_of_the_user_is_told_from_one_of_a_component():
    with pytest.raises(ZeroDivisionError):
        told()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


reached: list[str] = []


def swallowed():
    with interrupts_told():
        with interrupts_told():
            caught(interrupt)
            reached.append("swallowed")
        reached.append("behind the inner one")


def test_one_that_was_swallowed_comes_at_the_end():
    reached.clear()
    caught(swallowed)
    assert reached == ["swallowed"]


@pytest.mark.parametrize(("handler", "by_user"), [(signal.SIG_IGN, False), (lambda *_: None, True)])
def test_where_others_handle_them(handler, by_user):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with interrupts_told() as interrupts:
            assert interrupts.by_user(KeyboardInterrupt()) is by_user
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_get_none_of_the_user():
    found = []

    def work():
        with interrupts_told() as interrupts:
            found.append(interrupts.by_user(KeyboardInterrupt()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


def test_leaving_at_once_is_refused_but_for_children():
    leave = os._exit
    with exits_refused():
        with pytest.raises(SystemExit) as caught:
            os._exit(3)
        assert caught.value.code == 3
    assert os._exit is leave
