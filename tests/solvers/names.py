"""What specs say that other software calls a solver, and tables by such names."""

from __future__ import annotations

import functools
import importlib
import re

from bnsbench.contract.selectors import parse_selector
from bnsbench.flows.paths import EDM, VP, CondOT, Cosine
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.specs import SOLVERS

FINITE = [(VP(), (0.0, 0.99)), (Cosine(), (0.1, 0.9)), (CondOT(), (0.1, 0.9)), (EDM(0.002, 10.0), (0.0, 1.0))]
TO_DATA = [(VP(), (0.0, 1.0)), (CondOT(), (0.1, 1.0)), (EDM(0.0, 80.0), (0.0, 1.0))]
NAMES = {entry: spec.name for spec in SOLVERS for entry in spec.known_as}
ENTRY = re.compile(r"(?P<theirs>\S+)(?: at (?P<condition>[^()]+))? \((?P<software>[^()]+)\)(?:: (?P<ours>\S+))?")


def solver_by_name(name, **parameters):
    """The function behind a spec, with its default parameters filled in."""
    spec = next(spec for spec in SOLVERS if spec.name == name)
    module, attribute = spec.target.split(":")
    return functools.partial(getattr(importlib.import_module(module), attribute), **{**spec.parameters, **parameters})


def parts(entry):
    """What an entry consists of, by the names of the groups of `ENTRY`."""
    found = ENTRY.fullmatch(entry)
    assert found is not None, entry
    return found


def ours(entry, field, nfe):
    """The table of the solver that an entry is of."""
    _, name, settings = parse_selector(parts(entry)["ours"] or NAMES[entry])
    return table_of(name, settings, field, nfe)


def table_of(name, settings, field, nfe):
    """The table of a solver with these settings, as values or as a selector has them."""
    defaults = next(spec for spec in SOLVERS if spec.name == name).parameters
    values = {key: _value(defaults[key], given) for key, given in settings.items()}
    return trace(functools.partial(solver_by_name(name, **values), nfe=nfe), field.path, field.interval)


def _value(default, given):
    if not isinstance(given, str):
        return given
    return {"true": True, "false": False}[given] if isinstance(default, bool) else type(default)(given)


def sampled(sampler, denoise, path, times, x0):
    """The end state of a sampler on x / alpha and sigma / alpha, in the path's own scale."""
    alpha, sigma = path.alpha(times), path.sigma(times)
    return alpha[-1] * sampler(denoise, x0 / alpha[0], (sigma / alpha).tolist())
