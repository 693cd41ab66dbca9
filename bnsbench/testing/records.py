"""Checks of a component's record, the same for solvers, models and metrics: complete, true, and cheap to list."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.model_files import plugin_name
from bnsbench.contract.sources import ALLOWED, BUILTIN, LOCAL_FILE
from bnsbench.contract.specs import ModelSpec, Scalar, SolverSpec, Spec
from bnsbench.errors import BnsbenchError
from bnsbench.testing.report import Check, Verdict, failed, hint, passed

HEAVY = ("torch", "numpy", "scipy", "pandas", "matplotlib", "sklearn", "diffusers", "transformers")
"""Packages that take long to import, so that a listing does without them."""

_LONGEST_SUMMARY = 100
_PROGRAM = """
import json, sys
from pathlib import Path
from bnsbench.contract import PluginHost
files, local, model, answer = json.loads(sys.argv[1])
host = PluginHost.load([Path(file) for file in files], local and Path(local))
found = {"modules": sorted(sys.modules)}
if model:
    try:
        found["fingerprint"] = host.model(model).make().fingerprint()
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"
Path(answer).write_text(json.dumps(found), encoding="utf-8")
"""

SpecT_co = TypeVar("SpecT_co", bound=Spec, covariant=True)


@dataclass(frozen=True)
class Subject(Generic[SpecT_co]):
    """A component under test, and the host that found it."""

    host: PluginHost
    selection: Selection[SpecT_co]

    @property
    def spec(self) -> SpecT_co:
        return self.selection.spec

    @cached_property
    def elsewhere(self) -> dict[str, Any]:
        """The findings of a separate process: the ``modules`` that listing the plugin loads, a model's ``fingerprint``."""
        return _in_another_process(self)


def plugin(subject: Subject[Spec]) -> Verdict:
    """Check that nothing is wrong with the plugin that offers the component."""
    provider = subject.spec.provider
    faults = [problem.reason for problem in subject.host.problems if problem.plugin == provider]
    if not faults:
        return passed()
    return failed(f"The plugin {provider!r} has faults: {' '.join(faults)}", "Mend what `bnsbench plugins` says of it.")


def summary(subject: Subject[Spec]) -> Verdict:
    """Check that the summary is one short sentence."""
    text = subject.spec.summary
    remedy = f"Say what it is in one sentence of at most {_LONGEST_SUMMARY} characters, with a full stop at its end."
    if not text:
        return failed("Its record has no summary.", remedy)
    sentence = (text[0].isupper() or text[0].isdigit()) and text.endswith(".")
    return (
        passed()
        if sentence and len(text) <= _LONGEST_SUMMARY
        else failed(f"Its summary {text!r} is no such sentence.", remedy)
    )


def version(subject: Subject[Spec]) -> Verdict:
    """Check that there is a version, by which results are told apart."""
    text = subject.spec.version.partition("+")[0].strip()
    return passed() if text else failed("Its record has no version.", "Give it one, and raise it when its results change.")


def target(subject: Subject[Spec]) -> Verdict:
    """Check that the target can be imported and called."""
    try:
        found = subject.selection.resolve()
    except BnsbenchError as error:
        return failed(str(error), "Name the target as 'package.module:attribute' of what can be imported.")
    name = subject.spec.target
    return passed() if callable(found) else failed(f"Its target {name!r} cannot be called.", "Name a function or class.")


def parameters(subject: Subject[Spec]) -> Verdict:
    """Check that the declared parameters are keywords of the target, with the same defaults."""
    spec, function = subject.spec, subject.selection.resolve()
    signature = inspect.signature(function)
    try:
        signature.bind(*_positional(spec), **spec.parameters)
    except TypeError as error:
        return failed(f"Its target does not take the declared parameters: {error}.", "Make record and signature agree.")
    own = signature.parameters
    for name, value in spec.parameters.items():
        default = own[name].default if name in own else inspect.Parameter.empty
        if default is not inspect.Parameter.empty and default != value:
            return failed(
                f"The record says {name}={value!r}, its target has {name}={default!r}.", "Give both the same default."
            )
    free = [name for name, each in own.items() if isinstance(each.default, Scalar) and name not in spec.parameters]
    if free:
        return hint(f"The keyword {free[0]!r} is not declared, so nobody can set it.", "Add it to the record's parameters.")
    return passed()


def listing(subject: Subject[Spec]) -> Verdict:
    """Check in a process of its own that listing what the plugin offers imports nothing heavy."""
    heavy = sorted(set(HEAVY) & set(subject.elsewhere["modules"]))
    if not heavy:
        return passed()
    finding = f"Listing the plugin {subject.spec.provider!r} imports {', '.join(heavy)}."
    if any(plugin_name(file) == subject.spec.provider for file in _files(subject)):
        return hint(finding, "Import it inside functions; in a package, keep hooks apart from what is heavy.")
    return failed(finding, "Keep hooks in a module that imports nothing heavy, and name targets in other modules.")


RECORD_CHECKS: Mapping[str, Check[Subject[Spec]]] = {
    "plugin": plugin,
    "summary": summary,
    "version": version,
    "listing": listing,
    "target": target,
    "parameters": parameters,
}


def _positional(spec: Spec) -> tuple[object, ...]:
    """Return placeholders for the arguments that a target of this kind gets before its parameters."""
    if not isinstance(spec, SolverSpec):
        return ()
    if spec.kind == "distilled":
        return ("model", 0.0, 1)
    return ("problem", 1) if spec.trained else ("field", "x0", 1)


def _files(subject: Subject[Spec]) -> list[Path]:
    local = [] if subject.host.local is None else [subject.host.local / LOCAL_FILE]
    return [*subject.host.files, *local]


def _in_another_process(subject: Subject[Any]) -> dict[str, Any]:
    """Load the component's plugin alone in a new process, and then make it if it is a model."""
    provider, host = subject.spec.provider, subject.host
    model = f"{provider}/{subject.selection.canonical}" if isinstance(subject.spec, ModelSpec) else ""
    files = [str(file) for file in host.files if plugin_name(file) == provider]
    allowed = "" if provider == BUILTIN else provider
    environment = {**os.environ, ALLOWED: allowed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("PYTHONHASHSEED", None)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "found.json"  # since the plugin may print at any time
        wanted = json.dumps([files, host.local and str(host.local), model, str(answer)])
        command = [sys.executable, "-c", _PROGRAM, wanted]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603 (our own program)
        if done.returncode or not answer.is_file():
            said = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
            raise BnsbenchError(f"the plugin in a process of its own, which ended with: {said}")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found
