"""What faulty components do: raise, print, change the process, hang; and what they return."""

from __future__ import annotations

import ctypes
import errno
import gc
import locale
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Wordless(Exception):
    def __str__(self):
        return 5


class Base(BaseException):
    pass


class Sealed(Exception):
    __slots__ = ()

    def __setattr__(self, name, value):
        raise AttributeError(name)

    def __getattribute__(self, name):
        if name in ("args", "errno", "__notes__"):
            raise RuntimeError(name)
        return super().__getattribute__(name)


def throw(error):
    def do():
        raise error() if isinstance(error, type) else error

    return do


def endless():
    return endless()


RAISES: dict[str, Callable[[], object]] = {
    "value-error": throw(ValueError("no")),
    "base-exception": throw(Base("of its own")),
    "system-exit": throw(SystemExit(0)),
    "system-exit-text": throw(SystemExit("good bye")),
    "interrupt": throw(KeyboardInterrupt),
    "generator-exit": throw(GeneratorExit),
    "stop-iteration": throw(StopIteration(7)),
    "silent": throw(Silent),
    "wordless": throw(Wordless),
    "sealed": throw(Sealed("sealed")),
    "surrogate": throw(ValueError("a file \udcff")),
    "controls": throw(ValueError("\x1b[2J\r\x00\u2028 and\n lines")),
    "endless-text": throw(ValueError("x" * 10_000_000)),
    "memory": throw(MemoryError("no room")),
    "recursion": endless,
    "disk-full": throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    "like-the-disk": throw(RuntimeError("No space left on device")),
    "group": throw(ExceptionGroup("several", [ValueError("one"), TypeError("two")])),
    "zero-division": lambda: 1 / 0,
}

EXITS: dict[str, Callable[[], object]] = {"exit-0": lambda: os._exit(0), "exit-7": lambda: os._exit(7)}


def child_prints():
    subprocess.run([sys.executable, "-S", "-c", "print('{child')"], check=True)


def thread_prints():
    def speak():
        for _ in range(200):
            print("{thread")
            time.sleep(0.005)

    threading.Thread(target=speak, daemon=True).start()


PRINTS: dict[str, Callable[[], object]] = {
    "print": lambda: print("{printed"),
    "stdout": lambda: sys.stdout.write("{written"),
    "buffer": lambda: sys.stdout.buffer.write(b"{bytes"),
    "old-stdout": lambda: sys.__stdout__ and sys.__stdout__.write("{old"),
    "descriptor": lambda: os.write(1, b"{descriptor\n"),
    "c-library": lambda: ctypes.CDLL(None).puts(b"{c"),
    "child": child_prints,
    "thread": thread_prints,
    "close-1": lambda: os.close(1),
    "close-2": lambda: os.close(2),
    "close-0": lambda: os.close(0),
    "close-stdout": lambda: sys.stdout.close(),
    "close-old-stdout": lambda: sys.__stdout__ and sys.__stdout__.close(),
    "close-stderr": lambda: sys.stderr.close(),
    "no-stdout": lambda: setattr(sys, "stdout", None),
    "no-stderr": lambda: setattr(sys, "stderr", None),
    "to-null": lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 1),
}


def removed_folder():
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    Path(folder).rmdir()


def low_limit():
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    sys.setrecursionlimit(depth + 12)


def fork_and_leave():
    """The child comes out of the component, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.fork()


LEFT = []


def left_mode():
    LEFT.append(torch.inference_mode())
    LEFT[-1].__enter__()


CHANGES: dict[str, Callable[[], object]] = {
    "folder": lambda: os.chdir("/"),
    "removed-folder": removed_folder,
    "no-environment": os.environ.clear,
    "environment": lambda: os.environ.update(BNSBENCH_CACHE="/nowhere", BNSBENCH_THREADS="many", HOME="/nowhere"),
    "umask": lambda: os.umask(0o777),
    "double": lambda: torch.set_default_dtype(torch.float64),
    "half": lambda: torch.set_default_dtype(torch.float16),
    "meta-device": lambda: torch.set_default_device("meta"),
    "low-limit": low_limit,
    "ignore-interrupt": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "ignore-alarm": lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
    "handle-term": lambda: signal.signal(signal.SIGTERM, lambda *_: None),
    "alarm": lambda: signal.setitimer(signal.ITIMER_REAL, 2.0),
    "block-signals": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGALRM, signal.SIGTERM}),
    "warnings-as-errors": lambda: warnings.simplefilter("error"),
    "threads": lambda: torch.set_num_threads(3),
    "gradients": lambda: torch.set_grad_enabled(not torch.is_grad_enabled()),
    "inference": left_mode,
    "torch-seed": lambda: torch.manual_seed(3),
    "numpy-seed": lambda: np.random.seed(3),
    "python-seed": lambda: random.seed(3),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "denormals": lambda: torch.set_flush_denormal(True),
    "numpy-errors": lambda: np.seterr(all="raise"),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C"),
    "no-collection": gc.disable,
    "no-logging": lambda: logging.disable(logging.CRITICAL),
    "trace": lambda: sys.settrace(lambda *_: None),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16).__enter__(),
    "anomalies": lambda: torch.autograd.set_detect_anomaly(True),
    "excepthook": lambda: setattr(sys, "excepthook", None),
    "leftover-thread": lambda: threading.Thread(target=time.sleep, args=(3600,), daemon=True).start(),
    "fork": fork_and_leave,
}


def swallow(kind):
    def do():
        while True:
            try:
                time.sleep(0.02)
            except kind:
                pass

    return do


def busy():
    while True:
        sum(range(1000))


HANGS: dict[str, Callable[[], object]] = {
    "sleeps": lambda: time.sleep(3600),
    "busy": busy,
    "swallows-exceptions": swallow(Exception),
    "swallows-everything": swallow(BaseException),
}


class Plain:
    """No tensor, no number, no text."""


def tensors(x):
    """Return what stands in for states, or for a prediction, by what is wrong with it."""
    return {
        "none": None,
        "text": "states",
        "list": x.tolist(),
        "tuple": (x, x),
        "array": x.numpy(),
        "number": 3.5,
        "object": Plain(),
        "whole-numbers": x.long(),
        "truth-values": x > 0,
        "complex": x.to(torch.complex64),
        "a-row-less": x[:-1],
        "flat": x.flatten(),
        "a-number-less": x[:, :1],
        "scalar": x.sum(),
        "meta": x.to("meta"),
        "sparse": x.to_sparse(),
    }


ACTIONS = {**RAISES, **EXITS, **PRINTS, **CHANGES, **HANGS}


def act(name: str) -> None:
    """Do what the name says."""
    ACTIONS[name]()
