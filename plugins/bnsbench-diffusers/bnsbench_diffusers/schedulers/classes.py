"""Schedulers by name and options: ``UniPCMultistep[use_karras_sigmas=true]``, ``package.module.Class``, or ``pipeline``."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import diffusers

from bnsbench.plugin import NotApplicableError, UsageError, did_you_mean, parse_selector
from bnsbench_diffusers.origin import Origin

PIPELINE = "pipeline"
"""Stands for the pipeline's own scheduler with all options of its own."""

_SUFFIX = "Scheduler"
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "none": None}

GRIDS = frozenset({"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"})
"""Options of which a scheduler takes one only: one that is chosen replaces one that is inherited."""


@dataclass(frozen=True)
class SchedulerClass:
    """A class of schedulers and what is chosen about it.

    takes: the options that its constructor knows. chosen: those that the user has set. inherited: those that the pipeline's
    scheduler has set, for which the user has not chosen others. whole: whether it is the pipeline's own scheduler. mu: the
    shift of flows that it is given, None if the user has set none.
    """

    type: type[Any]
    takes: frozenset[str]
    chosen: Mapping[str, Any]
    inherited: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    mu: float | None = None

    @property
    def name(self) -> str:
        return self.type.__name__

    @property
    def flows(self) -> bool:
        """Whether it can be told that the network is a flow's."""
        return "use_flow_sigmas" in self.takes or ("shift" in self.takes and "trained_betas" not in self.takes)

    @property
    def diffusions(self) -> bool:
        """Whether it can be given the noise levels of a diffusion."""
        return {"trained_betas", "beta_schedule", "prediction_type"} <= self.takes or self.preconditions

    @property
    def preconditions(self) -> bool:
        """Whether its networks are EDM's, preconditioned inside of the scheduler."""
        return hasattr(self.type, "precondition_outputs") and {"sigma_min", "sigma_max", "sigma_data"} <= self.takes

    @property
    def cosine(self) -> bool:
        """Whether it knows the cosine path only, on which its networks predict v: IPNDM, whose noise levels are fixed."""
        return "trained_betas" in self.takes and not {"beta_schedule", "prediction_type"} & self.takes

    def make(self, settings: Mapping[str, Any]) -> Any:
        """Return a scheduler with those of the settings that it knows.

        They go before what the pipeline has set, and what the user has chosen goes before them.
        """
        known = {key: value for key, value in settings.items() if key in self.takes}
        return self.type(**{**self.inherited, **known, **self.chosen})

    def __str__(self) -> str:
        words = [f"{key.removesuffix('_func')}={_word(value)}" for key, value in self.chosen.items()]
        return f"{self.name}[{','.join(words)}]" if words else self.name


def find_class(text: str, origin: Origin | None = None) -> SchedulerClass:
    """Return the class that the text means, with its options and those that it inherits from the pipeline.

    UsageError if there is no such class, or it has no such option; NotApplicableError for `PIPELINE` where there is none.
    """
    _, name, settings = parse_selector(text)
    values = {key: _value(word) for key, word in settings.items()}
    whole = name == PIPELINE
    found = _of_pipeline(origin) if whole else _dotted(name) if "." in name else _of_diffusers(name)
    takes = frozenset(inspect.signature(found.__init__).parameters) - {"self", "args", "kwargs"}
    mu = _shift(found, values.pop("mu", None))
    if "tau" in values and "tau_func" in takes:
        values["tau_func"] = _Constant(_as_number("tau", values.pop("tau")))
    for key in values:
        if key not in takes:
            raise UsageError(f"{found.__name__} has no option {key!r}; {did_you_mean(key, takes)}")
    theirs = {} if origin is None else origin.options if whole else origin.set_options
    replaced = GRIDS if GRIDS & set(values) else frozenset()
    inherited = {key: value for key, value in theirs.items() if key in takes - replaced - set(values)}
    return SchedulerClass(found, takes, values, inherited, whole, mu)


@functools.cache
def names_in_diffusers() -> tuple[str, ...]:
    """Return the names of all schedulers of the installed diffusers, without their common ending."""
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in dir(diffusers) if name.endswith(_SUFFIX)))


@dataclass(frozen=True)
class _Constant:
    """SASolver's tau as a function of the timestep: how stochastic it is, 0 for not at all."""

    value: float

    def __call__(self, timestep: Any) -> float:
        del timestep
        return self.value

    def __str__(self) -> str:
        return f"{self.value:g}"


def _of_pipeline(origin: Origin | None) -> type[Any]:
    if origin is None:
        raise NotApplicableError("scheduler=pipeline needs a model that is a pipeline of diffusers; name a scheduler.")
    return origin.scheduler


def _shift(found: type[Any], given: Any) -> float | None:
    if given is None:
        return None
    if "mu" not in inspect.signature(found.set_timesteps).parameters:
        raise UsageError(f"{found.__name__} takes no mu: leave it out.")
    return _as_number("mu", given)


def _as_number(key: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise UsageError(f"The option {key} is a number, not {given!r}.")
    return float(given)


def _of_diffusers(name: str) -> type[Any]:
    short = name.removesuffix(_SUFFIX)
    known = names_in_diffusers()
    if short not in known:
        raise UsageError(f"diffusers has no scheduler {name!r}; {did_you_mean(short, known)}")
    found: type[Any] = getattr(diffusers, short + _SUFFIX)
    return found


def _dotted(name: str) -> type[Any]:
    """Return a scheduler of an installed package: a text may name any module, so nothing else is ever imported or called."""
    module, _, attribute = name.rpartition(".")
    try:
        if _lies_here(module.partition(".")[0]):
            raise ImportError("its module lies in the current folder, and only those of installed packages are taken")
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"There is no scheduler {name!r}: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, diffusers.SchedulerMixin)):
        raise UsageError(f"There is no scheduler {name!r}: it is no class of diffusers' SchedulerMixin.")
    return found


def _lies_here(package: str) -> bool:
    """Return whether a package is found only because Python was started by ``python -m`` in the folder where it lies."""
    if package in sys.modules or not sys.path or Path(sys.path[0] or ".").resolve() != Path.cwd():
        return False
    return PathFinder.find_spec(package, sys.path[1:]) is None and PathFinder.find_spec(package, sys.path[:1]) is not None


def _value(word: str) -> Any:
    """Return the value that an option's text means: true, false, none, a number, or else the text itself."""
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _word(value: Any) -> str:
    """Return the text that means an option's value."""
    return next((word for word, meant in _WORDS.items() if meant is value), str(value))
