"""``bnsbench transfer``: how a trained solver does elsewhere than where it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsbench.cli.options import AsJson, Device, PluginFiles, Quiet, Seed, Tolerance, numbers, with_model_file
from bnsbench.cli.printing import print_json, print_table
from bnsbench.errors import UsageError
from bnsbench.process.cpu import keep_freed_memory
from bnsbench.process.float32 import use_full_float32

if TYPE_CHECKING:
    from bnsbench.api.transfer import Transfer

SUFFIXES = (".json", ".csv")


def transfer(
    solver: Annotated[Path, typer.Argument(metavar="SOLVER.json", help="File of the trained solver.")],
    *,
    guidance: Annotated[
        str | None,
        typer.Option(metavar="W[,W,...]", help="Guidance scales; the solver's own if not given.", show_default=False),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="DTYPE[,DTYPE,...]", help="Precisions of the network; its own if not given.", show_default=False
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model; the one that the solver names if not given; may be repeated.", show_default=False),
    ] = None,
    specialist: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SOLVER.json",
            help="A solver that was trained elsewhere, to stand beside it there; may be repeated.",
            show_default=False,
        ),
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Train a specialist where there is none.")] = False,
    count: Annotated[int, typer.Option(min=2, max=1_000_000, help="Samples of each place.")] = 128,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="SOLVER.json|FILE.csv",
            help="Also write a copy of the solver that knows what was measured, or the matrix.",
            show_default=False,
        ),
    ] = None,
    tolerance: Tolerance = 1e-6,
    seed: Seed = 0,
    device: Device = "auto",
    plugin: PluginFiles = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure a trained solver under other guidance, in other precisions and on other models.

    Beside it stand what was trained there, the best tuned classic there, and the ceiling of the ground truth, all on the
    same test noise. A row is one place. Solvers that the package ships are known; others are given by --specialist, or
    trained.
    """
    from bnsbench.api.transfer import transfer as measure
    from bnsbench.cli.progress import show_progress

    keep_freed_memory()
    use_full_float32()
    if output is not None and output.suffix not in SUFFIXES:
        raise UsageError(f"--output takes a file that ends in {' or '.join(SUFFIXES)}, not {str(output)!r}.")
    models, files = [], list(plugin or ())
    for each in model or ():
        selector, more = with_model_file(each, None)
        models.append(selector)
        files += more or ()
    with show_progress(quiet) as progress:
        found = measure(
            solver,
            guidance=None if guidance is None else numbers("--guidance", guidance),
            dtype=None if dtype is None else dtype.split(","),
            model=models or None,
            specialists=specialist or (),
            train=train,
            samples=count,
            seed=seed,
            tolerance=tolerance,
            device=device,
            plugins=files,
            listener=progress,
        )
    if output is not None:
        _write(found, output)
    if as_json:
        print_json({**found.table.attrs, "places": _places(found)})
    else:
        _print(found, count)


def _write(found: Transfer, output: Path) -> None:
    """Write the copy of the solver, or the matrix."""
    from bnsbench.report.escaping import csv_cell
    from bnsbench.storage.files import replacing

    if output.suffix == ".json":
        found.artefact.save(output)
        return
    cells = found.table.map(lambda value: csv_cell(value) if isinstance(value, str) else value)
    with replacing(output) as temporary:
        temporary.write_text(cells.to_csv(index=False, lineterminator="\n"), encoding="utf-8")


def _places(found: Transfer) -> list[dict[str, Any]]:
    """Return the rows, None for what a row does not have."""
    table = found.table.astype(object)
    return [{str(name): value for name, value in row.items()} for row in table.where(table.notna(), None).to_dict("records")]


def _print(found: Transfer, count: int) -> None:
    attrs = found.table.attrs
    typer.echo(f"{attrs['solver']} at {attrs['nfe']} NFE, trained for {_home(found)}.")
    typer.echo(
        f"PSNR in dB on {count} test samples, the mean with its 95 % interval; a difference is this table minus the other,"
        " with its paired 95 % interval:"
    )
    columns = (
        "model",
        "w",
        "dtype",
        "this table",
        "trained there",
        "difference",
        "best tuned classic",
        "difference",
        "ceiling",
    )
    print_table(columns, [_cells(row) for row in _places(found)])
    typer.echo(f"{found.forwards:,} network forwards: ground truth, samples, searches and trainings")


def _home(found: Transfer) -> str:
    from bnsbench.flows.guidance import guidance_in_words

    artefact = found.artefact
    precision = f" in {artefact.network.dtype}" if artefact.network.dtype else ""
    return f"{artefact.model} at w = {guidance_in_words(artefact.guidance)}{precision}"


def _cells(row: dict[str, Any]) -> list[str]:
    where = [row["model"], f"{row['guidance']:g}", row["dtype"]]
    if row["status"] != "ok":
        return [*where, f"{row['status']}: {row['reason']}", "", "", "", "", f"{row['ceiling']:.1f}"]
    own = f"{row['psnr']:.2f} ({row['psnr_low']:.2f} to {row['psnr_high']:.2f})"
    return [*where, own, *_other(row, "specialist"), *_other(row, "classic"), f"{row['ceiling']:.1f}"]


def _other(row: dict[str, Any], kind: str) -> list[str]:
    """Return the cells of a solver beside the table: its PSNR with its name, and the difference."""
    psnr, gap = row[f"{kind}_psnr"], row[f"{kind}_difference"]
    shown = row[kind] if psnr is None else f"{psnr:.2f} ({row[kind]})"
    return [shown, "" if gap is None else f"{gap:+.2f} ({row[f'{kind}_low']:.2f} to {row[f'{kind}_high']:.2f})"]
