"""The conformance kit: ``check_solver("leapfrog").raise_if_failed()`` in a plugin's tests runs all checks."""

from bnsbench.testing.conformance import check, check_metric, check_model, check_solver
from bnsbench.testing.report import ConformanceError, Report, Result

__all__ = ["ConformanceError", "Report", "Result", "check", "check_metric", "check_model", "check_solver"]
