"""What may be wrong with a plugin's record: every field has its type and range, so that no use of a record fails later."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from bnsbench._text import shown
from bnsbench.contract.specs import AnySpec, Budgets, Scalar, SolverKind, Spec, SuiteSpec

MOST = 2**31 - 1
"""The largest budget, step, order or number of stages that a record may have."""

_NAME = re.compile(r"[a-z0-9][a-z0-9+._-]*")
_TARGET = re.compile(r"[\w.]+:[\w.]+")
_PARAMETER = re.compile(r"[^\W\d]\w*")


def fault_of(record: AnySpec) -> str | None:
    """Return what is wrong with a record, as the end of a sentence that names it; None if nothing is."""
    if not (isinstance(record.name, str) and _NAME.fullmatch(record.name)):
        return "a name that is not made of lower-case letters, digits and + . _ - alone."
    for field in fields(record):
        expected = _EXPECTED.get(field.name)
        value = getattr(record, field.name)
        if expected is not None and not expected[0](value):
            return f"whose {field.name} is {shown(value)}, but must be {expected[1]}."
    return _fault_of_suite(record) if isinstance(record, SuiteSpec) else _fault_of_spec(record)


def _fault_of_suite(record: SuiteSpec) -> str | None:
    return None if Path(record.file).is_file() else f"whose file {str(record.file)!r} does not exist."


def _fault_of_spec(record: Spec) -> str | None:
    if not _TARGET.fullmatch(record.target):
        return f"whose target {record.target!r} is not of the form 'package.module:attribute'."
    parameters: Mapping[Any, Any] = record.parameters
    for key, value in parameters.items():
        if not (isinstance(key, str) and _PARAMETER.fullmatch(key)):
            return f"with a parameter {shown(key)}, which is no keyword."
        if not isinstance(value, Scalar):
            return f"whose default of {key!r} is not a bool, int, float or str."
        if not _in_range(value):
            return f"whose default of {key!r} is no finite number of 64 bits."
    unknown = [name for name in record.later if name not in record.parameters]
    return f"whose later parameter {shown(unknown[0])} is not among its parameters." if unknown else None


def _in_range(value: Scalar) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**63


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike) and bool(str(value)) and "\0" not in str(value)


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(each, str) for each in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST


def _is_order(value: object) -> bool:
    return value is None or _is_count(value)


def _are_budgets(value: object) -> bool:
    return isinstance(value, Budgets) and _is_count(value.minimum) and _is_count(value.step)


def _one_of(choices: tuple[str, ...]) -> tuple[Callable[[object], bool], str]:
    return lambda value: isinstance(value, str) and value in choices, f"one of {', '.join(choices)}"


_TEXT = (_is_text, "text")
_EXPECTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "target": _TEXT,
    "summary": _TEXT,
    "version": _TEXT,
    "provider": _TEXT,
    "modality": _TEXT,
    "reference": _TEXT,
    "unit": _TEXT,
    "suffix": _TEXT,
    "parameters": (_is_mapping, "a mapping from names to defaults"),
    "later": (_are_texts, "a tuple of names"),
    "known_as": (_are_texts, "a tuple of names"),
    "guidable": (_is_flag, "True or False"),
    "file": (_is_path, "a path"),
    "stages": (_is_count, "a whole number of at least 1"),
    "order": (_is_order, "a whole number of at least 1, or None"),
    "budgets": (_are_budgets, "Budgets of a minimum and a step of at least 1"),
    "kind": _one_of(get_args(SolverKind)),
    "direction": _one_of(("higher", "lower")),
}
"""By field: whether a value of it is in order, and what it must be."""
