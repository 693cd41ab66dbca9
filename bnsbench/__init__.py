"""bnsbench: fair comparison of ODE solvers for diffusion and flow models, and better ones trained for your own model.

The names below are what Python programs use; plugins find what they need in `bnsbench.plugin` and `bnsbench.testing`.
Everything else is internal. Importing the package loads nothing heavy: each name loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bnsbench._version import __version__

if TYPE_CHECKING:
    from bnsbench.api.comparison import compare
    from bnsbench.api.running import publish, run
    from bnsbench.api.sampling import sample
    from bnsbench.api.solvers import solver
    from bnsbench.api.training import train, tune
    from bnsbench.api.wrapping import wrap
    from bnsbench.flows import paths
    from bnsbench.flows.model import Model
    from bnsbench.nonstationary.artefact import SolverArtefact, load_solver
    from bnsbench.nonstationary.table import NonStationarySolver
    from bnsbench.nonstationary.tracing import trace
    from bnsbench.training.listener import Listener

__all__ = [
    "Listener",
    "Model",
    "NonStationarySolver",
    "SolverArtefact",
    "__version__",
    "compare",
    "load_solver",
    "paths",
    "publish",
    "run",
    "sample",
    "solver",
    "trace",
    "train",
    "tune",
    "wrap",
]

_HOMES = {
    "Listener": "training.listener",
    "Model": "flows.model",
    "NonStationarySolver": "nonstationary.table",
    "SolverArtefact": "nonstationary.artefact",
    "compare": "api.comparison",
    "load_solver": "nonstationary.artefact",
    "paths": "flows",
    "publish": "api.running",
    "run": "api.running",
    "sample": "api.sampling",
    "solver": "api.solvers",
    "trace": "nonstationary.tracing",
    "train": "api.training",
    "tune": "api.training",
    "wrap": "api.wrapping",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{_HOMES[name]}"
    return import_module(f"{home}.paths") if name == "paths" else getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
