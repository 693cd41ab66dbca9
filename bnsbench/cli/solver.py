"""``bnsbench solver show`` and ``bnsbench solver diff``: a solver's non-stationary table, and how two of them differ."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bnsbench.cli.options import AsJson, PluginFiles, open_host
from bnsbench.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from torch import Tensor

    from bnsbench.cli.components import FoundSolver
    from bnsbench.nonstationary.table import NonStationarySolver
    from bnsbench.plugins import PluginHost

Solver = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A solver's name, or the file of a trained one.")]
Budget = Annotated[int | None, typer.Option(help="Evaluations to spend; a file knows its own.", show_default=False)]
ForModel = Annotated[str | None, typer.Option(help="Take path and interval from this model instead of CondOT on [0, 1].")]

NUMBERS_SHOWN = 8
"""Tables wider than this many columns of b are cut on a terminal; JSON has all of them."""


def show(
    solver: Solver, nfe: Budget = None, model: ForModel = None, plugin: PluginFiles = None, as_json: AsJson = False
) -> None:
    """Print a solver's table x[i+1] = a[i] x[0] + sum over j of b[i,j] u(t[j], x[j]), and its properties."""
    found = _find(open_host(plugin), solver, nfe, model)
    if as_json:
        print_json(_description(found))
        return
    table = found.require_table()
    typer.echo(f"{found.name} at {found.nfe} NFE on the {found.setting.path.name} path\n")
    _print_numbers(table.times, table.a, table.b)
    typer.echo()
    for line in _properties(found):
        typer.echo(line)


def diff(
    first: Solver,
    second: Solver,
    *,
    nfe: Budget = None,
    model: ForModel = None,
    plugin: PluginFiles = None,
    as_json: AsJson = False,
) -> None:
    """Print the table of SECOND minus that of FIRST, and the largest differences."""
    from bnsbench.nonstationary.properties import distance

    host = open_host(plugin)
    one, other = (_find(host, text, nfe, model).require_table() for text in (first, second))
    gaps = distance(one, other)
    if as_json:
        print_json(asdict(gaps))
        return
    _print_numbers(other.times - one.times, other.a - one.a, other.b - one.b)
    typer.echo(f"\nlargest differences: times {gaps.times:.3g}, a {gaps.a:.3g}, b {gaps.b:.3g}")


def _find(host: PluginHost, solver: str, nfe: int | None, model: str | None) -> FoundSolver:
    from bnsbench.cli.components import Setting, find_solver

    if model is None:
        return find_solver(host, solver, nfe, Setting())
    made = host.model(model).make()
    return find_solver(host, solver, nfe, Setting(made.path, made.interval))


def _print_numbers(times: Tensor, a: Tensor, b: Tensor) -> None:
    shown = min(len(a), NUMBERS_SHOWN)
    columns = ["i", "t[i]", "a[i]", *(f"b[i,{j}]" for j in range(shown)), *(["..."] if shown < len(a) else [])]
    rows = [[str(i), f"{times[i]:.6f}", f"{a[i]:.6f}", *_row(b[i], i, shown)] for i in range(len(a))]
    rows.append([str(len(a)), f"{times[-1]:.6f}", *[""] * (len(columns) - 2)])
    print_table(columns, rows)


def _row(weights: Tensor, i: int, shown: int) -> list[str]:
    cells = [f"{weights[j]:+.6f}" if j <= i else "" for j in range(shown)]
    return [*cells, *(["..." if i >= shown else ""] if shown < len(weights) else [])]


def _properties(found: FoundSolver) -> list[str]:
    from bnsbench.nonstationary.properties import properties

    figures = properties(found.require_table(), found.setting.path)
    lines = [
        f"largest |b|: {figures.largest_b:.4g}",
        f"times increase strictly: {'yes' if figures.increasing else 'no'}",
        f"sum rules of the path, largest residual: noise {figures.noise_error:.2e}, data {figures.data_error:.2e}",
    ]
    if found.setting.path.name == "condot":
        lines.append("(on CondOT: a[i] = 1 and the sum of row i of b = t[i+1] - t[0])")
    return lines + _origin(found)


def _origin(found: FoundSolver) -> list[str]:
    if found.artefact is None:
        return []
    artefact = found.artefact
    lines = [f"trained for {artefact.model} at guidance {artefact.guidance:g}, weights {artefact.fingerprint[:12]}"]
    if "psnr" in artefact.training:
        lines.append(f"validation PSNR {artefact.training['psnr']:.2f} dB")
    return lines


def _description(found: FoundSolver) -> dict[str, object]:
    from bnsbench.nonstationary.properties import properties

    table: NonStationarySolver = found.require_table()
    return {
        "name": found.name,
        "path": found.setting.path.to_dict(),
        "interval": found.setting.interval,
        **table.to_dict(),
        "properties": asdict(properties(table, found.setting.path)),
    }
