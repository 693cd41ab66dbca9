"""Selecting a component by text: ``name``, ``provider/name`` or ``name[parameter=value,...]``."""

from __future__ import annotations

import functools
import importlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from bnsbench._text import quoted
from bnsbench.contract.offered_paths import paths_offered
from bnsbench.contract.programs import NONE, Digests, programs_allowed
from bnsbench.contract.specs import ExporterSpec, PathSpec, ReportSpec, Scalar, SolverSpec, Spec
from bnsbench.errors import BnsbenchError, MissingPackageError, UsageError, needed_for, one_line

LONGEST_SELECTOR = 10_000
"""Letters of a selector; one may name files, and hold selectors of its own."""

WHOLE_LIMIT = 2**63
"""Whole numbers of parameters are smaller than this, whatever their sign."""

MOST_SELECTORS = 10_000
"""Selectors in a list that is separated by commas."""

_LONGEST_WORD = 100
"""Letters of a word for which others like it are looked for, which takes time with the square of its length."""

BEST_GRID = "best"
"""The value of a traced solver's parameter ``grid`` that asks for a search."""
TUNING = "bnsbench.training.tuning.tuned_classics:tune_rule"
TUNER = "3"
"""Version of the search: raised whenever it may find another grid."""

SpecT_co = TypeVar("SpecT_co", bound=Spec, covariant=True)
_SpecT = TypeVar("_SpecT", bound=Spec)


@dataclass(frozen=True)
class Selection(Generic[SpecT_co]):
    """A component's record with a value for each of its parameters; a solver's is a ``Selection[SolverSpec]``.

    qualified: whether its name is shown with the provider, because another component has the same name.
    programs: hashes of the programs in files that it may run, see `bnsbench.contract.programs`.
    paths: those that plugins offer to a model that takes one by name.
    """

    spec: SpecT_co
    parameters: Mapping[str, Scalar]
    qualified: bool = False
    programs: Digests = field(default=NONE, compare=False, repr=False)
    paths: tuple[PathSpec, ...] = field(default=(), compare=False, repr=False)

    @property
    def plain(self) -> Selection[SpecT_co]:
        """The solver on its own grid, where the best one is asked for."""
        return replace(self, parameters={**self.parameters, "grid": self.spec.parameters["grid"]})

    @property
    def canonical(self) -> str:
        """The canonical selector without a provider: parameters sorted by name, those at their default left out.

        With the provider beside it, this identifies the component whatever else is installed.
        """
        changed = {key: value for key, value in sorted(self.parameters.items()) if value != self.spec.parameters[key]}
        settings = ",".join(f"{key}={_format(value)}" for key, value in changed.items())
        return f"{self.spec.name}[{settings}]" if settings else self.spec.name

    @property
    def name(self) -> str:
        """What people call it: the canonical selector, with the provider where it needs one."""
        return f"{self.spec.provider}/{self.canonical}" if self.qualified else self.canonical

    def resolve(self) -> Any:
        """Import and return the target; BnsbenchError naming component and provider if that fails."""
        return resolve_target(self.spec)

    def make(self) -> Any:
        """Return the ready component: what the target returns for the parameters.

        The target of a solver, report or exporter is the component itself, so there the parameters are bound to it instead.
        """
        target = self.resolve()
        if self.spec.target == TUNING:
            return functools.partial(target, rule=f"{self.spec.provider}/{self.plain.canonical}")
        if isinstance(self.spec, SolverSpec | ReportSpec | ExporterSpec):
            return functools.partial(target, **self.parameters)
        with needed_for(f"{self.spec.name!r}"), programs_allowed(self.programs), paths_offered(self.paths):
            return target(**self.parameters)


def select(spec: _SpecT, settings: Mapping[str, str], qualified: bool = False) -> Selection[_SpecT]:
    """Return the selection of a component with the settings converted to the types of its parameters' defaults.

    Args:
        spec: The component's record.
        settings: The texts in the brackets of a selector, by parameter.
        qualified: Whether its name is shown with the provider.

    Raises:
        UsageError: If there is no such parameter, or a text is no value of its type.
    """
    for key in settings:
        if key not in spec.parameters:
            hint = did_you_mean(key, spec.parameters)
            quoting = f" {QUOTING}" if any(character in value for value in settings.values() for character in "/=") else ""
            raise UsageError(f"{spec.name!r} has no parameter {quoted(key)}; {hint}{quoting}")
    chosen = {key: _convert(spec, key, value) for key, value in settings.items()}
    return Selection(spec, {**spec.parameters, **chosen}, qualified)


def tuned(selection: Selection[SolverSpec]) -> Selection[SolverSpec]:
    """Return the selection of the tuned solver if it is a traced one with ``grid=best``; else the selection itself."""
    spec = selection.spec
    if spec.kind != "traced" or selection.parameters.get("grid") != BEST_GRID:
        return selection
    version = f"{spec.version}+tuner{TUNER}"
    return replace(selection, spec=replace(spec, kind="tuned", target=TUNING, version=version))


def resolve_target(spec: Spec) -> Any:
    """Import and return what ``spec.target`` names; BnsbenchError naming component and provider, or the missing package."""
    module_name, _, attribute = spec.target.partition(":")
    try:
        with needed_for(f"{spec.name!r}"):
            module = importlib.import_module(module_name)
        return functools.reduce(getattr, attribute.split("."), module)
    except MissingPackageError:
        raise
    except Exception as error:
        component = f"{spec.name!r} of plugin {spec.provider!r}"
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise BnsbenchError(f"{component} could not be loaded from {spec.target!r}: {reason}.") from error


def parse_selector(text: str) -> tuple[str | None, str, dict[str, str]]:
    """Split ``provider/name[key=value,...]`` into provider (None if absent), name and settings; UsageError if malformed.

    Values may hold selectors of their own, as in ``bns[init=unipc[order=3]]``. One with other commas or brackets is quoted,
    by " or ', and a quote within is doubled: ``fid[data="epoch=3,step=5"]``.
    """
    if len(text) > LONGEST_SELECTOR:
        raise UsageError(f"{quoted(text)} is no selector: it has more than {LONGEST_SELECTOR:,} letters.")
    head, bracket, rest = text.strip().partition("[")
    if bracket and not rest.endswith("]"):
        raise UsageError(f"{quoted(text)} lacks its closing bracket: write name[parameter=value,...].")
    provider, slash, name = head.rpartition("/")
    if not name or (slash and not provider) or "]" in head:
        raise UsageError(f"{quoted(text)} is not a selector: write name, provider/name or name[parameter=value,...].")
    return provider or None, name, _parse_settings(text, rest[:-1]) if bracket else {}


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return the end of an error message: the closest of the choices, or all of them if none is close."""
    known = sorted(choices)
    close = get_close_matches(word[:_LONGEST_WORD], known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"choose from {', '.join(known)}." if known else "there are none."


def split_selectors(text: str) -> list[str]:
    """Split a comma-separated list, such as an option's value, at the commas outside brackets."""
    if text.count(",") > MOST_SELECTORS:
        raise UsageError(f"{quoted(text)} has more than {MOST_SELECTORS:,} parts.")
    return [part.strip() for part in _split_outside_brackets(text)]


def _parse_settings(text: str, inside: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    for part in _split_outside_brackets(inside):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise UsageError(f"{quoted(part.strip())} in {quoted(text)} is not of the form parameter=value. {QUOTING}")
        if key in settings:
            raise UsageError(f"{quoted(text)} sets {quoted(key)} twice.")
        settings[key] = _unquoted(value)
    return settings


QUOTING = 'A value with commas or brackets is quoted: path="a,b".'

_QUOTED = re.compile(r'=\s*("(?:[^"]|"")*"|\'(?:[^\']|\'\')*\')\s*(?=[,\]]|$)|[][,]')
"""A quoted value, which ends before a comma, a bracket or the end; or what separates values."""


def _split_outside_brackets(text: str) -> Iterator[str]:
    """Yield the parts between the commas that stand neither in brackets nor in a quoted value."""
    depth, begin = 0, 0
    for found in _QUOTED.finditer(text):
        mark = found[0]
        depth += (mark == "[") - (mark == "]")
        if depth < 0:
            break
        if mark == "," and depth == 0:
            yield text[begin : found.start()]
            begin = found.end()
    if depth:
        raise UsageError(f"The brackets in {quoted(text)} do not match. {QUOTING}")
    yield text[begin:]


def _unquoted(value: str) -> str:
    """Return what a value says: itself, or what stands within its quotes, of which doubled ones are one."""
    mark = value[0]
    if mark not in "\"'" or len(value) < 2 or value[-1] != mark:
        return value
    return value[1:-1].replace(2 * mark, mark)


def _quoted(value: str) -> str:
    """Return a value as it is written in a selector, in quotes where it could not be read otherwise."""
    try:
        plain = _parse_settings(value, f"x={value}") == {"x": value}
    except UsageError:
        plain = False
    return value if plain else '"' + value.replace('"', '""') + '"'


def _convert(spec: Spec, key: str, text: str) -> Scalar:
    default = spec.parameters[key]
    if isinstance(default, str):
        return text
    value = _number(text, type(default))
    if value is None:
        kind = {bool: "true or false", int: "a whole number", float: "a finite number"}[type(default)]
        raise UsageError(f"Parameter {key!r} of {spec.name!r} must be {kind}, not {quoted(text)}.")
    return value


def _number(text: str, kind: type) -> bool | int | float | None:
    """Return the value that the text means as ``kind``, or None if it means none."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    try:
        value: int | float = kind(text)
        known = math.isfinite(value) and (kind is float or abs(value) < WHOLE_LIMIT)
    except (ValueError, OverflowError):  # OverflowError: a whole number beyond all floats
        return None
    return value + kind(0) if known else None  # -0 is 0


def _format(value: Scalar) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
