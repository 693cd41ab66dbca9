"""Plugins to be loaded: as files, and as packages with entry points."""

from __future__ import annotations

from pathlib import Path

from bnsbench.contract import PluginHost

HEADER = """
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import *
"""

GOOD = f"""{HEADER}
@hookimpl
def bnsbench_solvers():
    yield SolverSpec("zeta", ":scheme", parameters={{"flag": False, "count": 3, "size": 0.5, "grid": "uniform"}})
    yield SolverSpec("alpha", ":scheme")

def scheme(field, x0, nfe, **parameters):
    return x0, nfe, parameters
"""


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.py"
    file.write_text(text)
    return file


def install(folder: Path, name: str, text: str, version: str = "1.5") -> None:
    """Put a package with a `bnsbench` entry point of that name into the folder."""
    write(folder, f"{name}_module", text)
    info = folder / f"acme_{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[bnsbench]\n{name} = {name}_module\n")


def reasons(host: PluginHost, plugin: str) -> list[str]:
    return [problem.reason for problem in host.problems if problem.plugin == plugin]


def names(host: PluginHost, provider: str) -> list[str]:
    return [spec.name for spec in host.solvers if spec.provider == provider]
