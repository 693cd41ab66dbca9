"""The verdict of a check, and the report of all checks of a component."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from bnsbench.errors import BnsbenchError
from bnsbench.process.surroundings import guarded
from bnsbench.suite.failures import describe

Status = Literal["passed", "failed", "hint", "not applicable"]
_Subject = TypeVar("_Subject")

GATES = frozenset({"target", "parameters", "runs"})
"""Checks without which no later one has a meaning."""


class ConformanceError(BnsbenchError, AssertionError):
    """A component that fails a check; the text names every fault and what to do about it."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check.

    status: "hint" for what is not wrong but could be better. finding: one sentence, what was found; perhaps empty if passed.
    remedy: one sentence, what to do; empty where there is nothing to do.
    """

    status: Status
    finding: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Result(Verdict):
    """A verdict with the name of its check."""

    name: str = ""


Check = Callable[[_Subject], Verdict]


def passed(finding: str = "") -> Verdict:
    """Return the verdict of a check that has passed."""
    return Verdict("passed", finding)


def failed(finding: str, remedy: str) -> Verdict:
    """Return the verdict of a check that has failed."""
    return Verdict("failed", finding, remedy)


def hint(finding: str, remedy: str) -> Verdict:
    """Return the verdict of a check that has passed, with advice on what could be better."""
    return Verdict("hint", finding, remedy)


def not_applicable(finding: str) -> Verdict:
    """Return the verdict of a check that has no meaning for the component."""
    return Verdict("not applicable", finding)


@dataclass(frozen=True)
class Report:
    """All checks of one component; kind is "solver", "model" or "metric", name its canonical selector."""

    kind: str
    name: str
    provider: str
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether no check has failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Result, ...]:
        """The checks that have failed."""
        return tuple(result for result in self.results if result.status == "failed")

    def summary(self) -> str:
        """Return one line that counts the results."""
        counts = Counter(result.status for result in self.results)
        return f"{self.kind} {self.name} of {self.provider}: " + ", ".join(f"{n} {status}" for status, n in counts.items())

    def raise_if_failed(self) -> None:
        """Raise ConformanceError if a check has failed."""
        if not self.passed:
            faults = " ".join(f"[{fault.name}] {fault.finding} {fault.remedy}" for fault in self.failures)
            raise ConformanceError(f"The {self.kind} {self.name!r} fails {len(self.failures)} checks. {faults}")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-like data."""
        return {
            "kind": self.kind,
            "name": self.name,
            "provider": self.provider,
            "passed": self.passed,
            "checks": [asdict(result) for result in self.results],
        }


def run_checks(checks: Mapping[str, Check[_Subject]], subject: _Subject) -> Iterator[Result]:
    """Yield the result of every check; one that raises has failed, and after a gate that fails none has a meaning."""
    closed = ""
    for name, check in checks.items():
        verdict = not_applicable(closed) if closed else _verdict(check, subject)
        if name in GATES and verdict.status in ("failed", "not applicable"):
            closed = f"The check {name!r} has failed." if verdict.status == "failed" else verdict.finding
        yield Result(**asdict(verdict), name=name)


def _verdict(check: Check[_Subject], subject: _Subject) -> Verdict:
    try:
        with guarded():
            return check(subject)
    except (Exception, SystemExit) as error:  # noqa: BLE001 (components of plugins may raise anything)
        return failed(f"It raised {describe(error).rstrip('.')}.", "Mend what raises.")
