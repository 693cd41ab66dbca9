"""Functions that run all checks on a component, which plugin authors call from their tests."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from bnsbench.contract import PluginHost, Selection, did_you_mean, parse_selector, told_local
from bnsbench.errors import UsageError
from bnsbench.testing.features_and_judge import FEATURE_CHECKS
from bnsbench.testing.metrics import METRIC_CHECKS, MetricSubject
from bnsbench.testing.models import MODEL_CHECKS, ModelSubject
from bnsbench.testing.records import RECORD_CHECKS
from bnsbench.testing.report import Report, Result, run_checks
from bnsbench.testing.solvers import SOLVER_CHECKS
from bnsbench.testing.students import STUDENT_CHECKS, StudentSubject
from bnsbench.testing.subjects import SolverSubject
from bnsbench.testing.trained import TRAINED_CHECKS, TrainedSubject

_log = logging.getLogger(__name__)

Kind = Literal["solver", "model", "metric"]


def check_solver(selector: str, *, plugins: Sequence[Path | str] = (), host: PluginHost | None = None) -> Report:
    """Run all checks of the contract on a solver: its budget, times, order, determinism, precision, tracing, and more.

    Args:
        selector: Which solver, such as "leapfrog[grid=chebyshev]".
        plugins: Single plugin files to load.
        host: What has been loaded already, in place of ``plugins``.

    Returns:
        The findings: ``report.passed`` says whether all is well, ``report.summary()`` what is not and how to mend it.

    Raises:
        UsageError: For a name that means no solver, or several.
    """
    opened = _opened(host, plugins)
    selection = opened.solver(selector)
    if selection.spec.kind == "distilled":
        return _report("solver", StudentSubject(opened, selection), STUDENT_CHECKS)
    if selection.spec.trained:
        return _report("solver", TrainedSubject(opened, selection), TRAINED_CHECKS)
    return _report("solver", SolverSubject(opened, selection), SOLVER_CHECKS)


def check_model(
    selector: str, *, elsewhere: str | None = None, plugins: Sequence[Path | str] = (), host: PluginHost | None = None
) -> Report:
    """Run all checks of the contract on a model: shapes, precision, determinism, conditions, guidance, decoding, and more.

    Args:
        selector: Which model, such as "digits-gmm[path=vp]".
        elsewhere: Its fingerprint in another process, if that is known, for whoever checks many models; else a process is
            started, in which it is also seen what listing the plugin imports.
        plugins: Single plugin files to load.
        host: What has been loaded already, in place of ``plugins``.

    Returns:
        The findings, as of `check_solver`.

    Raises:
        UsageError: For a name that means no model, or several.
    """
    opened = _opened(host, plugins)
    subject = ModelSubject(opened, opened.model(selector))
    if elsewhere is not None:
        vars(subject)["elsewhere"] = {"modules": [], "fingerprint": elsewhere}  # in place of what would be found when asked
    return _report("model", subject, {**MODEL_CHECKS, **FEATURE_CHECKS})


def check_metric(
    selector: str, *, on: str = "", plugins: Sequence[Path | str] = (), host: PluginHost | None = None
) -> Report:
    """Run all checks of the contract on a metric: direction, intervals, determinism, batches, degenerate samples, and more.

    Args:
        selector: Which metric, such as "psnr".
        on: The model on whose samples it is checked; the first that fits if empty.
        plugins: Single plugin files to load.
        host: What has been loaded already, in place of ``plugins``.

    Returns:
        The findings, as of `check_solver`.

    Raises:
        UsageError: For a name that means no metric, or several.
    """
    opened = _opened(host, plugins)
    return _report("metric", MetricSubject(opened, opened.metric(selector), on), METRIC_CHECKS)


def check(selector: str, *, plugins: Sequence[Path | str] = (), host: PluginHost | None = None) -> Report:
    """Run all checks of the contract on a solver, a model or a metric, whichever the name means.

    Args:
        selector: Which component.
        plugins: Single plugin files to load.
        host: What has been loaded already, in place of ``plugins``.

    Returns:
        The findings, as of `check_solver`.

    Raises:
        UsageError: For a name that means nothing, or components of several kinds.
    """
    opened = _opened(host, plugins)
    return check_component(selector, find_kind(selector, opened), opened)


def check_component(selector: str, kind: Kind, host: PluginHost, on: str = "") -> Report:
    """Run all checks on a component of known kind.

    Args:
        selector: Which component.
        kind: "solver", "model" or "metric".
        host: The plugins.
        on: For a metric, the model on whose samples it is checked; the first that fits if empty.

    Raises:
        UsageError: If the selector means none of that kind, or several.
    """
    if kind == "solver":
        return check_solver(selector, host=host)
    return check_model(selector, host=host) if kind == "model" else check_metric(selector, on=on, host=host)


def find_kind(selector: str, host: PluginHost) -> Kind:
    """Return whether a name is a solver's, a model's or a metric's; UsageError if it is none's, or several kinds have it."""
    provider, name, _ = parse_selector(selector)
    names = {kind: _names(getattr(host, f"{kind}s"), provider) for kind in get_args(Kind)}
    kinds: list[Kind] = [kind for kind, known in names.items() if name in known]
    if len(kinds) > 1:
        raise UsageError(f"{name!r} is the name of a {' and of a '.join(kinds)}; add --kind.")
    if not kinds:
        hint = did_you_mean(name, set().union(*names.values()))
        raise UsageError(f"There is no solver, model or metric {name!r}; {hint}")
    return kinds[0]


def _names(records: Iterable[Any], provider: str | None) -> set[str]:
    return {record.name for record in records if provider in (None, record.provider)}


def _opened(host: PluginHost | None, plugins: Sequence[Path | str]) -> PluginHost:
    if host is not None:
        return host
    if told := told_local(Path()):
        _log.warning(told)
    return PluginHost.load([Path(file) for file in plugins], Path())


def _report(kind: Kind, subject: Any, checks: Mapping[str, Any]) -> Report:
    found: tuple[Result, ...] = tuple(run_checks({**RECORD_CHECKS, **checks}, subject))
    selection: Selection[Any] = subject.selection
    return Report(kind, selection.name, selection.spec.provider, found)
