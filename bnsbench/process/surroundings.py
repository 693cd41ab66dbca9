"""What components share with everybody else in the process: a table of it, and a guard that puts it back.

A component may change any of it, by intent or by accident; the next one finds everything as it was.
"""

from __future__ import annotations

import gc
import locale
import logging
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from bnsbench.process.deadline import uninterrupted
from bnsbench.process.streams import stdout_kept_clean

Setting = Callable[[Any], object]

_SIGNALS = sorted(number for number in signal.valid_signals() if number < 32)
"""All but those without a name."""

_TIMERS = tuple(getattr(signal, name) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF") if hasattr(signal, name))


@dataclass(frozen=True)
class Part:
    """Something that a process has once: how it is read, and how it is set.

    compared: whether equal values stay as they are; if not, it is always set.
    """

    name: str
    read: Callable[[], Any]
    write: Setting
    compared: bool = True


def _attribute(name: str, of: object, attribute: str) -> Part:
    return Part(name, lambda: getattr(of, attribute), lambda value: setattr(of, attribute, value))


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 (a text, to be given back as it is)
    except OSError:  # it has been removed
        return None


def _set_environment(before: Mapping[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


def _umask() -> int:
    found = os.umask(0o077)  # it can only be read by setting it
    os.umask(found)
    return found


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in _SIGNALS} if _in_main_thread() else {}


def _set_handlers(before: Mapping[int, Any]) -> None:
    for number, handler in before.items():
        # None stands for a handler that is not Python's.
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _blocked() -> Any:
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def _timers() -> list[tuple[float, float, float]]:
    """Return for each timer when it rings next, by the monotonic clock, what is left until then, and its interval."""
    now = time.monotonic()
    return [(now + left, left, interval) for left, interval in map(signal.getitimer, _TIMERS)]


def _set_timers(before: Sequence[tuple[float, float, float]]) -> None:
    for timer, (due, left, interval) in zip(_TIMERS, before, strict=True):
        now_left, now_interval = signal.getitimer(timer)
        if (now_interval, now_left > 0) != (interval, left > 0):
            signal.setitimer(timer, max(due - time.monotonic(), 1e-3) if left else 0.0, interval)


def _set_filters(before: list[Any]) -> None:
    warnings.simplefilter("default")  # whatever has been worked out from the filters is forgotten
    warnings.filters[:] = before  # type: ignore[index]


def _set_collecting(on: bool) -> None:
    (gc.enable if on else gc.disable)()


PYTHON = (
    # First, since putting back the rest takes frames, too.
    Part("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Part("the trace function", sys.gettrace, sys.settrace),
    Part("the profile function", sys.getprofile, sys.setprofile),
    Part("the working directory", _folder, lambda folder: None if folder is None else os.chdir(folder)),
    Part("the environment", lambda: dict(os.environ), _set_environment),
    Part("the umask", _umask, os.umask),
    Part("the warning filters", lambda: list(warnings.filters), _set_filters),
    _attribute("how warnings are shown", warnings, "showwarning"),
    Part("the digits of whole numbers", sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    Part("the turns of threads", sys.getswitchinterval, sys.setswitchinterval),
    Part("the garbage collection", gc.isenabled, _set_collecting),
    Part("the locale", lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    Part("Python's random state", random.getstate, random.setstate),
    _attribute("the level of logging", logging.root, "level"),
    _attribute("what logging leaves out", logging.root.manager, "disable"),
    *(_attribute("a hook for exceptions", sys, name) for name in ("excepthook", "unraisablehook", "displayhook")),
    _attribute("a hook for exceptions of threads", threading, "excepthook"),
)
"""What Python and the system have."""

SIGNALS = (
    Part("the signal handlers", _handlers, _set_handlers),
    *(
        ()
        if not hasattr(signal, "pthread_sigmask")
        else (Part("the blocked signals", _blocked, lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask)),)
    ),
    *(() if not hasattr(signal, "setitimer") else (Part("the timers", _timers, _set_timers, compared=False),)),
)
"""Signals, which some systems lack."""


def _of_numpy() -> tuple[Part, ...]:
    """Return what NumPy has; nothing if it has not been loaded."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or not hasattr(numpy, "seterr"):
        return ()
    return (
        Part("NumPy's reaction to errors", numpy.geterr, lambda kinds: numpy.seterr(**kinds)),
        Part("NumPy's random state", numpy.random.get_state, numpy.random.set_state, compared=False),
    )


def _of_torch() -> tuple[Part, ...]:
    """Return what torch has; nothing if it has not been loaded."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_device"):
        return ()

    def set_device(device: Any) -> None:
        torch.set_default_device(None)  # the usual one, which is none
        if torch.get_default_device() != device:
            torch.set_default_device(device)

    def deterministic() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    def denormals() -> bool:
        return bool(torch.ones(1, dtype=torch.float32, device="cpu").mul(1e-40).item())

    def set_deterministic(found: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(found[0], warn_only=found[1])

    def states() -> Any:
        return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def set_states(found: Any) -> None:
        torch.set_rng_state(found[0])
        torch.cuda.set_rng_state_all(found[1]) if found[1] else None

    def set_inference(on: bool) -> None:
        _entered.append(torch.inference_mode(on))
        _entered[-1].__enter__()

    cudnn = torch.backends.cudnn
    return (
        Part("the default device", torch.get_default_device, set_device),
        Part("the default type", torch.get_default_dtype, torch.set_default_dtype),
        Part("the gradient mode", torch.is_grad_enabled, torch._C._set_grad_enabled),
        Part("the inference mode", torch.is_inference_mode_enabled, set_inference),
        Part("the threads", torch.get_num_threads, torch.set_num_threads),
        Part("deterministic algorithms", deterministic, set_deterministic),
        Part("the precision of products", torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        Part("the search for anomalies", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        *(
            Part(
                f"autocast on {device}",
                partial(torch.is_autocast_enabled, device),
                partial(torch.set_autocast_enabled, device),
            )
            for device in ("cpu", "cuda")
        ),
        Part("denormal numbers", denormals, lambda on: torch.set_flush_denormal(not on)),
        *(_attribute(f"cuDNN's {name}", cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
        Part("torch's random states", states, set_states, compared=False),
    )


_entered: list[Any] = []
"""Modes that had to be entered to undo another one, which end where they are forgotten."""


def table() -> tuple[Part, ...]:
    """Return everything that is put back."""
    return (*PYTHON, *SIGNALS, *_of_numpy(), *_of_torch())


@contextmanager
def restored() -> Iterator[None]:
    """Put back at the end of the block what it has changed of the table.

    A process that the block has forked and that comes out of it ends here: it is not the one that runs the cells.
    """
    before, process = _read(), os.getpid()
    try:
        yield
    finally:
        _put_back(before, process)


@contextmanager
def guarded() -> Iterator[None]:
    """Put back what the block changes, and let what it prints go to stderr; the streams come back whole."""
    with stdout_kept_clean(), restored():
        yield


@uninterrupted
def _read() -> list[tuple[Part, Any]]:
    return [(part, part.read()) for part in table()]


@uninterrupted
def _put_back(before: list[tuple[Part, Any]], process: int) -> None:
    if os.getpid() != process:
        os._exit(1)
    for part, value in before:
        with suppress(Exception):  # one that cannot be put back keeps no other from it
            if not part.compared or part.read() != value:
                part.write(value)
