"""The environment of a run: versions, plugins, processor and threads. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

from bnsbench._version import __version__
from bnsbench.contract import PluginHost
from bnsbench.process.machine import cores, installed_version, threads

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
        "packages": {name: found for name in PACKAGES if (found := installed_version(name))},
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


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
