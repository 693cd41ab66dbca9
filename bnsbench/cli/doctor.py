"""``bnsbench doctor``: what this machine has, and what can run on it."""

from __future__ import annotations

import os
import platform
import shutil
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsbench._version import __version__
from bnsbench.cli.options import AsJson, Device, PluginFiles, load_host
from bnsbench.cli.printing import print_json, print_table
from bnsbench.errors import UsageError

if TYPE_CHECKING:
    from bnsbench.contract import PluginHost

OPTIONAL = {"diffusers": "its schedulers as solvers and its pipelines as models, by the plugin bnsbench-diffusers"}
"""Packages that plugins of this project work with, and what for."""
NO_TORCH = "not installed: nothing can be computed (python -m pip install torch)"


def doctor(
    plugin: PluginFiles = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Measure also how fast it is; half a minute, best while nothing else runs.")
    ] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell what this machine has and what can run on it; exit code 1 if a plugin is faulty.

    A benchmark measures what a step of a table costs beside its network, against a loop of x + h u, and how many forwards of
    a sample the embedded models make in a second, with the threads of one worker process.
    """
    host = load_host(plugin)
    problems = [f"{problem.plugin}: {problem.reason}" for problem in host.problems]
    facts = {**_software(), **_machine(), **_cache(), **_components(host), "problems": problems}
    if benchmark:
        facts["benchmark"] = _measured(host, device)
    if as_json:
        print_json(facts)
    else:
        speed = facts.pop("benchmark", None)
        print_table(("what", "found"), [[key, _text(value)] for key, value in facts.items()])
        if speed is not None:
            _print_speed(speed)
    if host.problems:
        raise typer.Exit(1)


def _measured(host: PluginHost, device: str) -> dict[str, Any]:
    from bnsbench.api.speed import measure
    from bnsbench.process.cpu import keep_freed_memory
    from bnsbench.process.float32 import use_full_float32
    from bnsbench.process.machine import choose_device

    place = choose_device(device)
    typer.echo("Measuring for half a minute ...", err=True)
    use_full_float32()
    keep_freed_memory()
    return measure(host, "cuda:0" if place == "cuda" else place)


def _print_speed(speed: dict[str, Any]) -> None:
    from bnsbench.api.speed import BATCH, NETWORK

    typer.echo(f"\nOn {speed['device']} with {speed['threads']} threads:\n")
    columns = ("states", "engine, µs a step", "plain loop, µs", f"share of a step behind a forward of {1000 * NETWORK:g} ms")
    rows = [
        [
            "x".join(map(str, step["states"])),
            f"{step['engine_microseconds']:.1f}",
            f"{step['loop_microseconds']:.1f}",
            f"{step['overhead']:.2%}",
        ]
        for step in speed["steps"]
    ]
    print_table(columns, rows)
    typer.echo()
    columns_of_models = ("model", "parameters", f"forwards of a sample per second, {BATCH} at once")
    print_table(
        columns_of_models,
        [[each["model"], f"{each['parameters']:,}", f"{each['per_second']:,.0f}"] for each in speed["forwards"]],
    )


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
