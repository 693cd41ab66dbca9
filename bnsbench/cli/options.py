"""Options that several commands share, and the plugin host that they open."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, overload

import typer

from bnsbench._text import quoted
from bnsbench.errors import UsageError

if TYPE_CHECKING:
    from bnsbench.contract import PluginHost


class Precision(StrEnum):
    """The floating-point types in which models can run."""

    float64 = "float64"
    float32 = "float32"
    bfloat16 = "bfloat16"


class ComponentKind(StrEnum):
    """What plugins mostly offer: it can be checked, and a new package can be made for it."""

    solver = "solver"
    model = "model"
    metric = "metric"


PluginFiles = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Also load this plugin file; may be repeated.", show_default=False),
]
Programs = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-program",
        metavar="FILE",
        help="Run this exported network, a program that may do anything here; may be repeated.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only, no progress.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:i]", help="Where to compute.")]
DType = Annotated[Precision | None, typer.Option(help="Precision; the model's own if not given.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed of every noise stream.")]
Guidance = Annotated[
    float,
    typer.Option(
        help="Guidance scale w in (1 + w) u_cond - w u_uncond; 0 is none.",
        callback=lambda w: finite("--guidance", w),
    ),
]
GuidanceScales = Annotated[
    str, typer.Option("--guidance", metavar="W[,W,...]", help="Guidance scale, or all that one solver serves.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse a trained solver elsewhere than where it was trained, instead of saying so.")
]
Tolerance = Annotated[float, typer.Option(metavar="X", help="Of the ground truth; a coarser one is cheaper.")]


@overload
def with_model_file(model: str, plugins: list[Path] | None) -> tuple[str, list[Path] | None]: ...
@overload
def with_model_file(model: str | None, plugins: list[Path] | None) -> tuple[str | None, list[Path] | None]: ...
def with_model_file(model: str | None, plugins: list[Path] | None) -> tuple[str | None, list[Path] | None]:
    """Return the selector of a model and the plugin files to load: FILE.py:NAME is a plugin of its own.

    Only what stands on the command line means a file; a suite, which others may have written, never does.
    """
    from bnsbench.contract.model_files import model_in_file, plugin_name

    found = None if model is None else model_in_file(model)
    if model is None or found is None:
        return model, plugins
    return f"{plugin_name(Path(model))}/{found[1]}", [*(plugins or ()), Path(model)]


def open_host(
    files: list[Path] | None, folder: Path | None = None, programs: list[Path] | None = None, *, local: bool = True
) -> PluginHost:
    """Return the host with all plugins, telling on stderr which local one is loaded and which could not be loaded.

    files: of ``--plugin``. folder: where a ``bnsbench_local.py`` may lie; the current folder if None. programs: of
    ``--allow-program``. local: whether a ``bnsbench_local.py`` is loaded: commands that read results load none.
    """
    host = load_host(files, folder, programs, local=local)
    for problem in host.problems:
        typer.echo(str(problem), err=True)
    return host


def load_host(
    files: list[Path] | None, folder: Path | None = None, programs: list[Path] | None = None, *, local: bool = True
) -> PluginHost:
    """Return the host like `open_host`, its problems untold."""
    from bnsbench.contract import PluginHost, told_local
    from bnsbench.contract.programs import digests_of

    place = (folder or Path()) if local else None
    if told := told_local(place):
        typer.echo(told, err=True)
    return PluginHost.load(files or (), place, digests_of(programs or ()))


def finite(option: str, number: float) -> float:
    """Return an option's number, 0 for -0; UsageError if it is not finite."""
    if not math.isfinite(number):
        raise UsageError(f"{option} takes a finite number, not {number}.")
    return number + 0.0


def numbers(option: str, text: str) -> list[float]:
    """Return the finite numbers in an option's comma-separated text; UsageError for what is none."""
    try:
        found = [float(part) + 0.0 for part in text.split(",")]  # -0 is 0
    except ValueError:
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise UsageError(f"{option} takes numbers such as 2 or 0,2,6, not {quoted(text)}.")
    return found
