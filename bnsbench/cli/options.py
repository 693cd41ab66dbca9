"""Options that several commands share, and the plugin host that they open."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only, no progress.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda[:i]", help="Where to compute.")]
DType = Annotated[Precision | None, typer.Option(help="Precision; the model's own if not given.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed of every noise stream.")]
Guidance = Annotated[
    float,
    typer.Option(
        help="Guidance scale w in (1 + w) u_cond - w u_uncond; 0 is none.",
        callback=lambda w: w + 0.0,  # -0 is 0
    ),
]
GuidanceScales = Annotated[
    str, typer.Option("--guidance", metavar="W[,W,...]", help="Guidance scale, or all that one solver serves.")
]
Tolerance = Annotated[float, typer.Option(metavar="X", help="Of the ground truth; a coarser one is cheaper.")]


def open_host(files: list[Path] | None, folder: Path | None = None) -> PluginHost:
    """Return the host with all plugins, telling on stderr which of them could not be loaded.

    files: of ``--plugin``. folder: where a ``bnsbench_local.py`` may lie; the current folder if None.
    """
    from bnsbench.contract import PluginHost

    host = PluginHost.load(files or (), folder or Path())
    for problem in host.problems:
        typer.echo(str(problem), err=True)
    return host


def numbers(option: str, text: str) -> list[float]:
    """Return the numbers in an option's comma-separated text; UsageError for what is none."""
    try:
        return [float(part) + 0.0 for part in text.split(",")]  # -0 is 0
    except ValueError as error:
        raise UsageError(f"{option} takes numbers such as 2 or 0,2,6, not {text!r}.") from error
