"""bnsbench: fair comparison of ODE solvers for diffusion and flow models, and better ones trained for your own model.

``bnsbench.run(...)`` runs a suite and returns its leaderboard; ``bnsbench.load_solver(file)(field, x0)`` samples with a
trained solver. Both load torch only when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bnsbench._version import __version__

if TYPE_CHECKING:
    from bnsbench.api import run
    from bnsbench.nonstationary.artefact import load_solver

__all__ = ["__version__", "load_solver", "run"]

_HOMES = {"run": "bnsbench.api", "load_solver": "bnsbench.nonstationary.artefact"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
