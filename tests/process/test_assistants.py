"""Assistants: answers in the order of the parts, and computed here where an assistant cannot."""

from __future__ import annotations

import io
import os
import pickle
import subprocess

import pytest

from bnsbench.process import assistants
from bnsbench.process.assistants import in_parts, serve


def square_and_process(number: int) -> tuple[int, int]:
    return number**2, os.getpid()


def odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


def only_here(part: tuple[int, int]) -> int:
    """Return a number in the process that is named, and end any other."""
    number, home = part
    if os.getpid() != home:
        os._exit(3)
    return number


def talkative(number: int) -> int:
    print("hello")  # noqa: T201 (as a component may)
    return number


def test_answers_come_in_order_from_other_processes() -> None:
    found = list(in_parts(square_and_process, range(20), workers=2))
    assert [square for square, _ in found] == [n**2 for n in range(20)]
    processes = {process for _, process in found}
    assert os.getpid() not in processes
    assert 1 <= len(processes) <= 2


@pytest.mark.parametrize(("parts", "workers"), [(3, 1), (1, 2), (0, 2), (3, 0)])
def test_few_parts_or_workers_are_answered_here(parts: int, workers: int) -> None:
    found = list(in_parts(square_and_process, range(parts), workers=workers))
    assert found == [(n**2, os.getpid()) for n in range(parts)]


def test_an_error_of_a_part_is_raised_here() -> None:
    with pytest.raises(ValueError, match="2 is even"):
        list(in_parts(odd, [1, 3, 2, 5], workers=2))


def test_what_an_assistant_cannot_do_is_done_here() -> None:
    parts = [(number, os.getpid()) for number in range(4)]
    assert list(in_parts(only_here, parts, workers=2)) == [0, 1, 2, 3]


def test_what_functions_print_does_not_disturb_answers(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(in_parts(talkative, [1, 2, 3], workers=2)) == [1, 2, 3]
    assert capfd.readouterr().out == ""


def test_without_processes_everything_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **named: object) -> None:
        raise OSError("too many processes")

    monkeypatch.setattr(subprocess, "Popen", refused)
    assert list(in_parts(square_and_process, [2, 3], workers=2)) == [(4, os.getpid()), (9, os.getpid())]


def test_processes_end_when_the_answers_are_no_longer_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    plain = subprocess.Popen

    def noted(*arguments: object, **named: object) -> subprocess.Popen[bytes]:
        started.append(plain(*arguments, **named))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    answers = in_parts(square_and_process, range(50), workers=2)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


def test_a_question_that_fails_is_told_from_an_answer() -> None:
    questions = io.BytesIO(pickle.dumps((odd, 2)) + pickle.dumps((odd, 3)))
    answers = io.BytesIO()
    serve(questions, answers)
    answers.seek(0)
    assert isinstance(pickle.load(answers), assistants._Failed)  # noqa: S301 (what this test has written)
    assert pickle.load(answers) == 3  # noqa: S301
