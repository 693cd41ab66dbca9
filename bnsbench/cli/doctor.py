"""``bnsbench doctor``: what this machine has, and what can run on it."""

from __future__ import annotations

import os
import platform
import shutil
from typing import TYPE_CHECKING, Any

import typer

from bnsbench._version import __version__
from bnsbench.cli.options import AsJson, PluginFiles, load_host
from bnsbench.cli.printing import print_json, print_table
from bnsbench.errors import UsageError

if TYPE_CHECKING:
    from bnsbench.contract import PluginHost

OPTIONAL = {"diffusers": "its schedulers as solvers and its pipelines as models, by the plugin bnsbench-diffusers"}
"""Packages that plugins of this project work with, and what for."""
NO_TORCH = "not installed: nothing can be computed (python -m pip install torch)"


def doctor(plugin: PluginFiles = None, as_json: AsJson = False) -> None:
    """Tell what this machine has and what can run on it; exit code 1 if a plugin is faulty."""
    host = load_host(plugin)
    problems = [f"{problem.plugin}: {problem.reason}" for problem in host.problems]
    facts = {**_software(), **_machine(), **_cache(), **_components(host), "problems": problems}
    if as_json:
        print_json(facts)
    else:
        print_table(("what", "found"), [[key, _text(value)] for key, value in facts.items()])
    if host.problems:
        raise typer.Exit(1)


def _software() -> dict[str, Any]:
    from bnsbench.process.machine import installed_version

    packages = {name: installed_version(name) for name in OPTIONAL}
    return {
        "bnsbench": __version__,
        "python": platform.python_version(),
        "torch": installed_version("torch") or NO_TORCH,
        **{name: found or f"not installed ({OPTIONAL[name]})" for name, found in packages.items()},
    }


def _machine() -> dict[str, Any]:
    from bnsbench.process.machine import cores, threads

    return {
        "devices": _devices(),
        "cores": cores(),
        "threads": threads(),
        "memory": _gigabytes(_memory()),
    }


def _devices() -> list[str]:
    try:
        import torch
    except ImportError:
        return []
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ["cpu", *(f"cuda:{i} ({name})" for i, name in enumerate(names))]


def _cache() -> dict[str, Any]:
    from bnsbench.process.machine import cache_folder

    try:
        folder = cache_folder()
    except UsageError as error:
        return {"cache": f"none: {error}", "free disk": "unknown"}
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    writable = os.access(existing, os.W_OK)
    return {
        "cache": str(folder),
        "free disk": _gigabytes(shutil.disk_usage(existing).free) + ("" if writable else " (not writable)"),
    }


def _components(host: PluginHost) -> dict[str, Any]:
    counts = {"models": host.models, "solvers": host.solvers, "metrics": host.metrics, "suites": host.suites}
    return {
        "components": [f"{len(records)} {kind}" for kind, records in counts.items()],
        "executors": [spec.name for spec in host.executors],
        "plugins": [f"{plugin.name} {plugin.version}" for plugin in host.plugins],
    }


def _memory() -> int | None:
    """Return the machine's memory in bytes, where the system tells."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gigabytes(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e9:.1f} GB"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(value) if value else "none"
    return str(value)
