"""``bnsbench solver show``, ``diff``, ``export`` and ``blend``: a table, how two differ, one elsewhere, one in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnsbench.cli.learning import require_file, setting, setting_as_json
from bnsbench.cli.options import AsJson, PluginFiles, Strict, finite, open_host, with_model_file
from bnsbench.cli.printing import note, print_json, print_table

if TYPE_CHECKING:
    from torch import Tensor

    from bnsbench.api.named import FoundSolver
    from bnsbench.contract import PluginHost

Solver = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A solver's name, or the file of a trained one.")]
Budget = Annotated[int | None, typer.Option(help="Evaluations to spend; a file knows its own.", show_default=False)]
ForModel = Annotated[str | None, typer.Option(help="Take path and interval from this model instead of CondOT on [0, 1].")]
ShippedFor = Annotated[
    float,
    typer.Option(
        "--guidance",
        metavar="W",
        help="Scale of a trained solver that comes with the package.",
        callback=lambda w: finite("--guidance", w),
    ),
]
Picture = Annotated[
    FilePath | None,
    typer.Option("--output", "-o", metavar="FILE.png|FILE.svg", help="Also draw the table.", show_default=False),
]

NUMBERS_SHOWN = 8
"""Tables wider than this many columns of b, or of b and c, are cut on a terminal; JSON has all of them."""


def show(
    solver: Solver,
    *,
    nfe: Budget = None,
    model: ForModel = None,
    guidance: ShippedFor = 0.0,
    output: Picture = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Print a solver's table x[i+1] = a[i] x[0] + sum over j of b[i,j] u(t[j], x[j]), and its properties."""
    model, plugin = with_model_file(model, plugin)
    host = open_host(plugin)
    found = _find(host, solver, nfe, model, guidance)
    found.require_table()
    known_as = () if found.artefact is not None else host.solver(solver).spec.known_as
    if output is not None:
        _draw(found, output)
    if as_json:
        print_json({**_description(found), "known_as": known_as})
        return
    typer.echo(f"{found.name} at {found.nfe} NFE on the {found.setting.path.name} path\n")
    _print_table(found)
    typer.echo()
    for line in _explanation(found, known_as):
        typer.echo(line)
    if output is not None:
        typer.echo(f"picture: {output}")


def diff(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A solver's name, or the file of a trained one.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another one.")],
    *,
    nfe: Budget = None,
    model: ForModel = None,
    guidance: ShippedFor = 0.0,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Print the table of SECOND minus that of FIRST, and the largest differences."""
    from bnsbench.nonstationary.properties import alike, distance

    model, plugin = with_model_file(model, plugin)
    host = open_host(plugin)
    found = (_find(host, text, nfe, model, guidance).require_table() for text in (first, second))
    one, other = alike(*found)
    gaps = distance(one, other)
    if as_json:
        print_json(asdict(gaps))
        return
    _print_numbers(other.times - one.times, other.rows - one.rows)
    typer.echo(f"\nlargest differences: times {gaps.times:.3g}, a {gaps.a:.3g}, b {gaps.b:.3g}")


def export(
    solver: Solver,
    target: Annotated[
        FilePath,
        typer.Argument(metavar="DIR|FILE", help="Where to write; a file ends in .py or .json.", show_default=False),
    ],
    *,
    to: Annotated[
        str,
        typer.Option(
            metavar="EXPORTER", help="The format, such as kdiffusion, python or sigmas; `bnsbench list exporters` shows all."
        ),
    ],
    nfe: Budget = None,
    model: ForModel = None,
    guidance: ShippedFor = 0.0,
    strict: Strict = False,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Write a solver for other software, such as a scheduler for diffusers, and print the path."""
    from bnsbench.api.solvers import exported_from
    from bnsbench.export.named import write_to

    model, plugin = with_model_file(model, plugin)
    host = open_host(plugin)
    write = host.exporter(to).make()
    artefact = exported_from(host, solver, nfe, model, guidance, strict=strict, tell=note)
    written = write_to(write, artefact, target)
    if as_json:
        print_json({"path": written})
    else:
        typer.echo(str(written))


def blend(
    first: Annotated[FilePath, typer.Argument(metavar="FIRST.json", help="File of a solver for one guidance scale.")],
    second: Annotated[FilePath, typer.Argument(metavar="SECOND.json", help="That of one for another scale.")],
    *,
    guidance: Annotated[
        float,
        typer.Option(metavar="W", help="The scale between the two.", callback=lambda w: finite("--guidance", w)),
    ],
    output: Annotated[FilePath, typer.Option("--output", "-o", metavar="SOLVER.json", help="File for the table.")],
    as_json: AsJson = False,
) -> None:
    """Interpolate two trained solvers of one model and NFE to a guidance scale between theirs, and save the table.

    Nothing is trained. `bnsbench transfer` measures what the table loses against one that is trained there.
    """
    from bnsbench.api.blending import blend as blended

    require_file(output)
    made = blended(first, second, guidance=guidance)
    made.save(output)
    if as_json:
        print_json({"file": str(output), **setting_as_json(made), "parents": made.training["parents"]})
    else:
        typer.echo(f"a blend for {setting(made)}: {output}")


def _find(host: PluginHost, solver: str, nfe: int | None, model: str | None, guidance: float) -> FoundSolver:
    from bnsbench.api.solvers import found_for

    return found_for(host, solver, nfe, model, guidance, tell=note)


def _print_table(found: FoundSolver) -> None:
    """Print the numbers, with the residuals of the path's sum rules beside them where a row does not fulfil these."""
    from bnsbench.nonstationary.properties import path_residuals
    from bnsbench.report.solver_words import CONSISTENT

    table = found.require_table()
    noise, data = path_residuals(table, found.setting.path)
    consistent = float(max(noise.abs().max(), data.abs().max())) <= CONSISTENT
    _print_numbers(table.times, table.rows, {} if consistent else {"noise": noise, "data": data})


def _print_numbers(times: Tensor, rows: Tensor, further: Mapping[str, Tensor] | None = None) -> None:
    """Print a line for every state; ``further`` are columns [n] to the right of b, or of b and c."""
    from bnsbench.report.solver_words import names_of_weights

    names, beside = names_of_weights(rows), further or {}
    shown, each = min(len(names), NUMBERS_SHOWN), len(names) // len(rows)
    columns = ["i", "t[i]", "a[i]", *names[:shown], *(["..."] if shown < len(names) else []), *beside]
    lines = []
    for i, (a, *weights) in enumerate(rows.tolist()):
        ends = (f"{column[i]:+.1e}" for column in beside.values())
        lines.append([str(i), f"{times[i]:.6f}", f"{a:.6f}", *_row(weights, (i + 1) * each, shown), *ends])
    lines.append([str(len(rows)), f"{times[-1]:.6f}", *[""] * (len(columns) - 2)])
    print_table(columns, lines)


def _row(weights: Sequence[float], known: int, shown: int) -> list[str]:
    """Return the cells of a row, of whose weights the first ``known`` may be other than 0."""
    cells = [f"{weight:+.6f}" if j < known else "" for j, weight in enumerate(weights[:shown])]
    return [*cells, *(["..." if known > shown else ""] if shown < len(weights) else [])]


def _explanation(found: FoundSolver, known_as: tuple[str, ...]) -> list[str]:
    from bnsbench.report.solver_words import names_in_words, origin_in_words, properties_in_words

    lines = properties_in_words(found.require_table(), found.setting.path) + names_in_words(known_as)
    return lines if found.artefact is None else [*lines, "", *origin_in_words(found.artefact)]


def _draw(found: FoundSolver, output: FilePath) -> None:
    from bnsbench.flows.guidance import guidance_in_words
    from bnsbench.report.table_picture import draw_table

    title = f"{found.name} at {found.nfe} NFE"
    if (artefact := found.artefact) is not None:
        title += f" for {artefact.model}, w = {guidance_in_words(artefact.guidance)}"
    draw_table(found.require_table(), found.setting.path, title, output)


def _description(found: FoundSolver) -> dict[str, Any]:
    """Return the table, its properties and, for a trained one, the distance from its start; infinite numbers are null."""
    from bnsbench.nonstationary.properties import path_residuals, properties
    from bnsbench.report.solver_words import start_of
    from bnsbench.storage.plain_data import as_plain_data

    table, path = found.require_table(), found.setting.path
    noise, data = path_residuals(table, path)
    name, gaps = (None, None) if found.artefact is None else start_of(found.artefact)
    description: dict[str, Any] = as_plain_data(
        {
            "name": found.name,
            "path": path.to_dict(),
            "interval": found.setting.interval,
            **table.to_dict(),
            "residuals": {"noise": noise.tolist(), "data": data.tolist()},
            "properties": asdict(properties(table, path)),
            "start": {"name": name, "distance": gaps and asdict(gaps)} if name or gaps else None,
        }
    )
    return description
