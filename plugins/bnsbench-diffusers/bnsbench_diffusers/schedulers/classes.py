"""Schedulers by name and options: ``UniPCMultistep[use_karras_sigmas=true]`` or ``package.module.Class``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import diffusers

from bnsbench.errors import UsageError
from bnsbench.plugins import did_you_mean, parse_selector

_SUFFIX = "Scheduler"
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "none": None}


@dataclass(frozen=True)
class SchedulerClass:
    """A class of schedulers and what is chosen about it.

    takes: the options that its constructor knows. chosen: those that the user has set.
    """

    type: type[Any]
    takes: frozenset[str]
    chosen: Mapping[str, Any]

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
        """Return a scheduler with those of the settings that it knows; what the user has chosen goes before them."""
        known = {key: value for key, value in settings.items() if key in self.takes}
        return self.type(**{**known, **self.chosen})


def find_class(text: str) -> SchedulerClass:
    """Return the class that the text means, with its options; UsageError if there is none, or it has no such option."""
    _, name, settings = parse_selector(text)
    found = _dotted(name) if "." in name else _of_diffusers(name)
    takes = frozenset(inspect.signature(found.__init__).parameters) - {"self", "args", "kwargs"}
    for key in settings:
        if key not in takes:
            raise UsageError(f"{found.__name__} has no option {key!r}; {did_you_mean(key, takes)}")
    return SchedulerClass(found, takes, {key: _value(word) for key, word in settings.items()})


def names_in_diffusers() -> list[str]:
    """Return the names of all schedulers of the installed diffusers, without their common ending."""
    return sorted(name.removesuffix(_SUFFIX) for name in dir(diffusers) if name.endswith(_SUFFIX))


def _of_diffusers(name: str) -> type[Any]:
    short = name.removesuffix(_SUFFIX)
    known = names_in_diffusers()
    if short not in known:
        raise UsageError(f"diffusers has no scheduler {name!r}; {did_you_mean(short, known)}")
    found: type[Any] = getattr(diffusers, short + _SUFFIX)
    return found


def _dotted(name: str) -> type[Any]:
    module, _, attribute = name.rpartition(".")
    try:
        found: type[Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"There is no scheduler {name!r}: {error}.") from error
    return found


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
