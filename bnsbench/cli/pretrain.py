"""``bnsbench pretrain``: the shipped weights trained again, or measured against their gates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnsbench.cli.options import Quiet, open_host
from bnsbench.cli.printing import print_table
from bnsbench.errors import UsageError
from bnsbench.process.cpu import keep_freed_memory
from bnsbench.process.float32 import use_full_float32


def pretrain(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which weights, such as digits-ot or digits-classifier.")],
    check: Annotated[bool, typer.Option("--check", help="Only measure the shipped weights.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the weights and their manifest.")] = Path(
        "weights"
    ),
    steps: Annotated[
        int | None, typer.Option(help="Train for so many steps instead of the recipe's.", show_default=False)
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="Train for so many seconds instead of the recipe's steps.", show_default=False),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda[:i]", help="Where to compute; not every recipe of weights knows cuda.")
    ] = "cpu",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Files of the data set, for weights whose data the package does not bring.",
            show_default=False,
        ),
    ] = None,
    unmeasured: Annotated[
        bool, typer.Option("--no-measure", help="Do not measure the weights; the same call without it does so later.")
    ] = False,
    solvers: Annotated[
        bool, typer.Option("--solvers", help="Train the solvers that the package ships for a model of that name.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train embedded weights or shipped solvers again, going on where an interrupted training stopped."""
    keep_freed_memory()
    use_full_float32()
    if solvers:
        _train_solvers(name, output, device, quiet)
        return
    from bnsbench.models.pretrain import RECIPES
    from bnsbench.models.pretrain import pretrain as train_weights

    figures = train_weights(
        name,
        output,
        steps=steps,
        seconds=seconds,
        device=device,
        data=data,
        check=check,
        measure=not unmeasured,
        progress=not quiet,
    )
    if figures:
        print_table(("figure", "value"), [[key, f"{value:.4f}"] for key, value in figures.items()])
        for gate in RECIPES[name].unmeasured(figures):
            typer.echo(f"{gate}: not measured, since the data set is not there; name the folder of its files with --data.")
    if not check:
        typer.echo(f"weights: {output / name}.safetensors")


def _train_solvers(name: str, output: Path, device: str, quiet: bool) -> None:
    from bnsbench.cli.progress import show_progress
    from bnsbench.models.shipping import SHIPMENTS, ship
    from bnsbench.process.machine import cache_folder, choose_device

    chosen = [shipment for shipment in SHIPMENTS if shipment.model.split("[")[0] == name]
    if not chosen:
        known = ", ".join(sorted({shipment.model.split("[")[0] for shipment in SHIPMENTS}))
        raise UsageError(f"No solvers are shipped for {name!r}, only for {known}.")
    host, place = open_host(None), choose_device(device)
    for shipment in chosen:
        with show_progress(quiet) as progress:
            for file in ship(shipment, host, output, cache_folder(), progress.stage, progress.training, place):
                typer.echo(f"solver: {file}")
