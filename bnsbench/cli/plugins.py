"""``bnsbench plugins``: which plugins are in use, and what is wrong with those that are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from bnsbench.cli.options import AsJson, PluginFiles, load_host
from bnsbench.cli.printing import print_json, print_table

if TYPE_CHECKING:
    from bnsbench.contract import PluginHost


def plugins(plugin: PluginFiles = None, as_json: AsJson = False) -> None:
    """List the plugins, what each offers and what is wrong with any of them; exit code 1 if something is."""
    host = load_host(plugin)
    if as_json:
        print_json({"plugins": list(map(asdict, host.plugins)), "problems": list(map(asdict, host.problems))})
    else:
        _print(host)
    if host.problems:
        raise typer.Exit(1)


def _print(host: PluginHost) -> None:
    rows = [[each.name, each.version, each.origin, _offers(each.counts)] for each in host.plugins]
    print_table(("name", "version", "origin", "offers"), rows)
    if host.problems:
        typer.echo()
        print_table(("plugin", "problem"), [[problem.plugin, problem.reason] for problem in host.problems])


def _offers(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind if count > 1 else kind.removesuffix('s')}" for kind, count in counts.items())
