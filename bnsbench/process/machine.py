"""The resources of a process: processor cores, threads, a device, and the cache folder."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import platformdirs

from bnsbench._text import quoted, whole_number
from bnsbench.errors import UsageError

CACHE = "BNSBENCH_CACHE"
THREADS = "BNSBENCH_THREADS"
MOST_THREADS = 4096


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Return the threads of a process that runs cells: BNSBENCH_THREADS, or one.

    Another number may change the last bits of results, so it follows neither from the machine nor from the executor;
    worker processes use the cores. Threads would also wait for each other actively, which is slow on a busy machine.
    """
    text = os.environ.get(THREADS, "")
    count = whole_number(text) if text else 1
    if count is None or not 1 <= count <= MOST_THREADS:
        raise UsageError(f"{THREADS} must be a whole number from 1 to {MOST_THREADS:,}, not {quoted(text)}.")
    return count


def cache_folder() -> Path:
    """Return the folder for ground truth as an absolute path: BNSBENCH_CACHE, or the user's cache folder.

    Raises:
        UsageError: If there is neither.
    """
    try:
        return Path(os.environ.get(CACHE) or platformdirs.user_cache_dir("bnsbench")).absolute()
    except RuntimeError as error:  # the user has no home
        raise UsageError(f"There is no home folder to keep ground truth in: name a folder by {CACHE}.") from error


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, None if it is not installed; it is not imported."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def choose_device(name: str) -> str:
    """Return the device that "auto" stands for, or the named one; UsageError if it is not there."""
    import torch  # noqa: PLC0415 (a listing does without)

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    number = whole_number(index) if index else 0
    if kind not in ("cpu", "cuda") or number is None:
        raise UsageError(f"There is no device {quoted(name)}; choose auto, cpu, cuda or cuda:<number>.")
    if kind == "cuda" and number >= torch.cuda.device_count():
        raise UsageError(f"The device {name!r} is not there: this machine has {torch.cuda.device_count()} CUDA devices.")
    return name
