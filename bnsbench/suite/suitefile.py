"""Suite files: models, solvers, NFE and metrics of a comparison, as validated TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bnsbench._text import LONGEST_QUOTE, shown
from bnsbench.contract import PluginHost, split_selectors
from bnsbench.contract.specs import MOST_EVALUATIONS, SuiteSpec
from bnsbench.errors import UsageError, one_line

DType = Literal["float64", "float32", "bfloat16"]
Guidance = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(lambda w: w + 0.0)]  # -0 is 0
Budget = Annotated[int, Field(ge=1, le=MOST_EVALUATIONS)]

MOST_SECONDS = 1_000_000
"""The longest timeout, above eleven days: clocks of the system take no longer ones."""

MOST_SAMPLES = 10**9
LONGEST_SUITE = 2**18
"""Bytes of a suite's file: room for thousands of selectors."""

_DEEP = re.compile(r"""(?:(?:[\w-]{1,100}|"[^"\n]{0,100}"|'[^'\n]{0,100}')[ \t]*\.[ \t]*){32}""")
"""A key of so many parts, separated by dots, as no suite has: they take time with the square of their number."""

OWN = frozenset({"samples", "nfe", "solvers", "metrics"})
"""Settings that a model of a suite may have in place of the suite's."""


def _ascending(budgets: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(budgets)))


class ModelEntry(BaseModel):
    """A model of a suite.

    name: selector, such as "digits-gmm[path=vp]".
    guidance: scales w in (1 + w) u_cond - w u_uncond.
    tolerance: of its ground truth, relative and absolute.
    dtype: precision in which it samples; None for the model's own.
    gflops: 10^9 operations of a network forward of one sample, two for a multiply-add; it serves estimates only.
    samples, nfe, solvers, metrics: of this model, in place of the suite's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    guidance: tuple[Guidance, ...] = Field(default=(0.0,), min_length=1)
    tolerance: float = Field(default=1e-6, gt=0, lt=1)
    dtype: DType | None = None
    gflops: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    samples: int | None = Field(default=None, ge=2, le=MOST_SAMPLES)
    nfe: Annotated[tuple[Budget, ...], AfterValidator(_ascending)] | None = Field(default=None, min_length=1)
    solvers: tuple[str, ...] | None = Field(default=None, min_length=1)
    metrics: tuple[str, ...] | None = None


def _named(entry: Any) -> Any:
    return {"name": entry} if isinstance(entry, str) else entry


Entry = Annotated[ModelEntry, BeforeValidator(_named)]


class Suite(BaseModel):
    """A comparison: every model under every guidance scale, sampled by every solver at every NFE, judged by every metric.

    samples: size of the test split. batch: samples per network evaluation, which does not change results.
    timeout: seconds after which a cell is given up. plugins: those that must be installed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    summary: str = ""
    plugins: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0, lt=2**63)
    samples: int = Field(default=1000, ge=2, le=MOST_SAMPLES)
    batch: int = Field(default=250, ge=1, le=MOST_SAMPLES)
    timeout: float | None = Field(default=None, gt=0, le=MOST_SECONDS, allow_inf_nan=False)
    nfe: Annotated[tuple[Budget, ...], AfterValidator(_ascending)] = Field(min_length=1)
    solvers: tuple[str, ...] = Field(min_length=1)
    metrics: tuple[str, ...] = ("psnr",)
    models: tuple[Entry, ...] = Field(min_length=1)

    def full_entries(self) -> tuple[ModelEntry, ...]:
        """Return the models, each with the suite's samples, NFE, solvers and metrics where it has none of its own."""
        shared = {name: getattr(self, name) for name in OWN}
        return tuple(
            entry.model_copy(update={name: value for name, value in shared.items() if getattr(entry, name) is None})
            for entry in self.models
        )

    @classmethod
    def parse(cls, content: Mapping[str, Any], origin: str) -> Self:
        """Return the validated suite; UsageError names ``origin`` (a file) and the first key at fault."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UsageError(_sentence(error, origin)) from error

    def to_toml(self) -> str:
        """Return the suite as a TOML document that `parse` reads back."""
        plain = self.model_dump(mode="json", exclude_none=True)
        models = plain.pop("models")
        tables = ["[[models]]\n" + _toml_lines(model) for model in models]
        return "\n".join([_toml_lines(plain), *tables])


def read_suite(file: Path) -> Suite:
    """Return the suite in a TOML file; UsageError says where it is malformed."""
    try:
        with file.open("rb") as stream:
            text = stream.read(LONGEST_SUITE + 1).decode("utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a name that no file has
        raise UsageError(f"The suite file {file} cannot be read: {one_line(error)}.") from error
    return Suite.parse({"name": file.stem, **_parsed(text, file)}, f"the suite file {file}")


def _parsed(text: str, file: Path) -> dict[str, Any]:
    """Return the content of a TOML document; UsageError if it is none, or larger or deeper than any suite."""
    if len(text) > LONGEST_SUITE:
        raise UsageError(f"The suite file {file} has more than {LONGEST_SUITE:,} bytes, so it is no suite.")
    if _DEEP.search(text):
        raise UsageError(f"The suite file {file} is nested too deeply: it has a key of more than 32 parts.")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"The suite file {file} is nested too deeply.") from error
    except ValueError as error:  # a number of thousands of digits among them
        raise UsageError(f"The suite file {file} is not valid TOML: {one_line(error)}.") from error


def folder_beside(suite: Path | str) -> Path | None:
    """Return where a suite's ``bnsbench_local.py`` may lie: beside its file; None for a suite by name."""
    file = Path(suite)
    return file.parent if file.suffix == ".toml" else None


def find_suite(name: str, host: PluginHost) -> Suite:
    """Return the suite of that name (of bnsbench or a plugin) or in that TOML file, its plugins checked.

    In a suite that a plugin ships, names that several plugins offer are the plugin's own.
    """
    file = Path(name)
    suite = read_suite(file) if file.suffix == ".toml" else _shipped(host.suite(name), host)
    installed = {plugin.name for plugin in host.plugins}
    missing = sorted(set(suite.plugins) - installed)
    if missing:
        raise UsageError(
            f"The suite {suite.name!r} needs the plugin {missing[0]!r}; 'bnsbench plugins' lists those that are installed."
        )
    return suite


def _shipped(record: SuiteSpec, host: PluginHost) -> Suite:
    """Return a plugin's suite with its own components named in full wherever another plugin has the name as well."""
    suite = read_suite(record.file)
    own = partial(_own, host=host, provider=record.provider)
    models = tuple(
        entry.model_copy(
            update={
                "name": host.settled("model", entry.name, record.provider),
                "solvers": own("solver", entry.solvers),
                "metrics": own("metric", entry.metrics),
            }
        )
        for entry in suite.models
    )
    return suite.model_copy(
        update={"models": models, "solvers": own("solver", suite.solvers), "metrics": own("metric", suite.metrics)}
    )


def _own(
    kind: Literal["solver", "metric"], names: tuple[str, ...] | None, host: PluginHost, provider: str
) -> tuple[str, ...] | None:
    return None if names is None else tuple(host.settled(kind, name, provider) for name in names)


OVERRIDABLE = Suite.model_fields.keys() - {"name", "summary", "plugins"} | {"guidance", "dtype"}
"""The options of a run that replace settings of a suite: its own fields, and guidance and dtype of every model."""

_OF_MODELS = frozenset({"guidance", "dtype"})
_LISTS = frozenset({"models", "solvers", "metrics", "nfe", "guidance"})


def override(suite: Suite, **options: Any) -> Suite:
    """Return the suite with fields replaced by options of the same names (`OVERRIDABLE`).

    Args:
        suite: The suite.
        options: By name; None keeps what the suite says. Lists may be single values, and texts with commas. The models are
            selectors, and those that the suite has keep their entries; guidance and dtype are for all models; samples, nfe,
            solvers and metrics also replace what single models have of their own.

    Raises:
        UsageError: If an option has a value that it cannot take; the message names it.
    """
    given = {name: _value(name, option) for name, option in options.items() if option is not None}
    content = suite.model_dump()
    entries = {entry["name"]: entry for entry in content["models"]}
    if "models" in given:
        content["models"] = [entries.get(name, {"name": name}) for name in given.pop("models")]
    of_models = {name: given.pop(name) for name in _OF_MODELS & given.keys()} | dict.fromkeys(OWN & given.keys())
    content["models"] = [{**entry, **of_models} for entry in content["models"]]
    try:
        return Suite.model_validate({**content, **given})
    except ValidationError as error:
        raise UsageError(_option_sentence(error, options)) from error


def _value(name: str, option: Any) -> Any:
    """Return an option as a suite file would have it: a list where it may be one, of plain numbers and texts."""
    plain = option.tolist() if hasattr(option, "tolist") else option  # of NumPy and torch
    if name not in _LISTS:
        return plain
    if isinstance(plain, str):
        return split_selectors(plain)
    return [each for item in plain for each in _items(item)] if isinstance(plain, Iterable) else [plain]


def _items(item: Any) -> list[Any]:
    """Return an item of a list as what it stands for: a text may name several, and numbers of NumPy and torch are plain."""
    if isinstance(item, str):
        return split_selectors(item)
    return [item.item() if hasattr(item, "item") else item]


def _option_sentence(error: ValidationError, options: Mapping[str, Any]) -> str:
    """Return a sentence that names the option and the value that it cannot take."""
    first = error.errors()[0]
    name = next((part for part in reversed(first["loc"]) if part in options), first["loc"][0])
    return f"The option {name} does not take {shown(first['input'])}: {_lower(first['msg'])}."


def _sentence(error: ValidationError, origin: str) -> str:
    first = error.errors()[0]
    parts = (part if isinstance(part, int) else part[:LONGEST_QUOTE] for part in first["loc"])
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    message = _lower(first["msg"])
    given = "" if first["type"] == "missing" else f" (given: {shown(first['input'])})"
    if first["type"] == "extra_forbidden":
        message, given = f"there is no such key; known keys: {', '.join(_known_keys(first['loc']))}", ""
    return f"In {origin}, {key or 'the document'}: {message}{given}."


def _lower(message: str) -> str:
    return message[0].lower() + message[1:]


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model = ModelEntry if len(location) > 1 else Suite
    return sorted(model.model_fields)


def _toml_lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in table.items())


def _toml_value(value: Any) -> str:
    if isinstance(value, str):
        # TOML's basic strings know JSON's escapes; DEL is the one further character that they forbid.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return repr(value)
