"""What computes: versions, processor, threads, and the folder for what can be recomputed. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import platformdirs

from bnsbench._version import __version__
from bnsbench.errors import UsageError
from bnsbench.plugins import PluginHost

CACHE = "BNSBENCH_CACHE"
THREADS = "BNSBENCH_THREADS"

PACKAGES = (
    "torch",
    "torchdiffeq",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch-fidelity",
    "torchmetrics",
    "torchvision",
    "torchaudio",
    "pandas",
)


def describe(host: PluginHost) -> dict[str, Any]:
    """Return versions, plugins and machine, JSON-like; nothing that identifies the user."""
    return {
        "bnsbench": __version__,
        "code": code_fingerprint(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "plugins": {plugin.name: plugin.version for plugin in host.plugins},
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": cores(),
        "threads": threads(),
    }


def code_fingerprint() -> str:
    """Return a hash of bnsbench's own source files."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Return the threads of a process that runs cells: BNSBENCH_THREADS, or one.

    Another number may change the last bits of results, so it follows neither from the machine nor from the executor;
    worker processes use the cores. Threads would also wait for each other actively, which a busy machine punishes.
    """
    text = os.environ.get(THREADS, "")
    if text and not (text.isdigit() and int(text) > 0):
        raise UsageError(f"{THREADS} must be a whole number of at least 1, not {text!r}.")
    return int(text) if text else 1


def cache_folder() -> Path:
    """Return the folder for ground truth: BNSBENCH_CACHE, or the user's cache folder."""
    return Path(os.environ.get(CACHE) or platformdirs.user_cache_dir("bnsbench"))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
