"""bnsbench: fair comparison of ODE solvers for diffusion and flow models, and better ones trained for your own model.

What is public is what this module offers (``dir(bnsbench)``) and three modules beside it:

- `bnsbench.paths`, the Gaussian paths on which models are trained;
- `bnsbench.plugin`, what authors of models, solvers, metrics and executors build on;
- `bnsbench.testing`, the checks of a plugin's components.

Everything else is internal and may change with any version. Importing this module loads neither torch nor NumPy: each name
is imported when it is first used.
"""

from __future__ import annotations

from bnsbench._lazy import lazily
from bnsbench._version import __version__ as __version__

TYPE_CHECKING = False  # type checkers take a variable of this name to be true; `typing` would be half of the import
if TYPE_CHECKING:
    from bnsbench import paths as paths
    from bnsbench import plugin as plugin
    from bnsbench import testing as testing
    from bnsbench.api.comparison import compare as compare
    from bnsbench.api.running import publish as publish
    from bnsbench.api.running import run as run
    from bnsbench.api.sampling import sample as sample
    from bnsbench.api.solvers import solver as solver
    from bnsbench.api.training import train as train
    from bnsbench.api.training import tune as tune
    from bnsbench.api.wrapping import wrap as wrap
    from bnsbench.contract.hookspecs import hookimpl as hookimpl
    from bnsbench.contract.specs import Budgets as Budgets
    from bnsbench.contract.specs import ExecutorSpec as ExecutorSpec
    from bnsbench.contract.specs import ExporterSpec as ExporterSpec
    from bnsbench.contract.specs import MetricSpec as MetricSpec
    from bnsbench.contract.specs import ModelSpec as ModelSpec
    from bnsbench.contract.specs import PathSpec as PathSpec
    from bnsbench.contract.specs import ReportSpec as ReportSpec
    from bnsbench.contract.specs import SolverSpec as SolverSpec
    from bnsbench.contract.specs import SuiteSpec as SuiteSpec
    from bnsbench.errors import BnsbenchError as BnsbenchError
    from bnsbench.errors import DivergedError as DivergedError
    from bnsbench.errors import NotApplicableError as NotApplicableError
    from bnsbench.errors import UsageError as UsageError
    from bnsbench.flows.model import Model as Model
    from bnsbench.nonstationary.artefact import SolverArtefact as SolverArtefact
    from bnsbench.nonstationary.artefact import load_solver as load_solver
    from bnsbench.nonstationary.table import NonStationarySolver as NonStationarySolver
    from bnsbench.nonstationary.tracing import trace as trace
    from bnsbench.training.listener import Listener as Listener

_HOMES = {
    "__version__": "bnsbench._version",
    "wrap": "bnsbench.api.wrapping",
    "train": "bnsbench.api.training",
    "tune": "bnsbench.api.training",
    "sample": "bnsbench.api.sampling",
    "compare": "bnsbench.api.comparison",
    "solver": "bnsbench.api.solvers",
    "run": "bnsbench.api.running",
    "publish": "bnsbench.api.running",
    "load_solver": "bnsbench.nonstationary.artefact",
    "trace": "bnsbench.nonstationary.tracing",
    "Model": "bnsbench.flows.model",
    "Listener": "bnsbench.training.listener",
    "NonStationarySolver": "bnsbench.nonstationary.table",
    "SolverArtefact": "bnsbench.nonstationary.artefact",
    "hookimpl": "bnsbench.contract.hookspecs",
    "ModelSpec": "bnsbench.contract.specs",
    "SolverSpec": "bnsbench.contract.specs",
    "MetricSpec": "bnsbench.contract.specs",
    "SuiteSpec": "bnsbench.contract.specs",
    "ExecutorSpec": "bnsbench.contract.specs",
    "ReportSpec": "bnsbench.contract.specs",
    "ExporterSpec": "bnsbench.contract.specs",
    "PathSpec": "bnsbench.contract.specs",
    "Budgets": "bnsbench.contract.specs",
    "BnsbenchError": "bnsbench.errors",
    "UsageError": "bnsbench.errors",
    "NotApplicableError": "bnsbench.errors",
    "DivergedError": "bnsbench.errors",
    "paths": "bnsbench",
    "plugin": "bnsbench",
    "testing": "bnsbench",
}
"""What each public name is imported from; a new name has its line here and, for type checkers, the same import above."""

__all__ = list(_HOMES)

if not TYPE_CHECKING:  # so that type checkers find misspelt names
    __getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
