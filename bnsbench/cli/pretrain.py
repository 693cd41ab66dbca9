"""``bnsbench pretrain``: the shipped weights trained again, or measured against their gates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnsbench.cli.options import Quiet
from bnsbench.cli.printing import print_table


def pretrain(
    name: Annotated[str, typer.Argument(help="Which weights, such as digits-ot or digits-classifier.")],
    check: Annotated[bool, typer.Option("--check", help="Only measure the shipped weights.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the weights and their manifest.")] = Path(
        "weights"
    ),
    steps: Annotated[
        int | None, typer.Option(help="Train for so many steps instead of the recipe's.", show_default=False)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train embedded weights again, going on where an interrupted training stopped."""
    from bnsbench.models.pretrain import pretrain as train_weights

    figures = train_weights(name, output, steps=steps, check=check, progress=not quiet)
    print_table(("figure", "value"), [[key, f"{value:.4f}"] for key, value in figures.items()])
    if not check:
        typer.echo(f"weights: {output / name}.safetensors")
