"""The command that a run is: its options as ``bnsbench run`` takes them, for whoever wants to run it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnsbench.errors import CorruptFileError
from bnsbench.storage.strict_json import read_json

if TYPE_CHECKING:
    from bnsbench.suite.run import RunOptions

REPEATED: Mapping[str, str] = {"models": "--model", "solvers": "--solver", "metrics": "--metric"}
"""Options that are given once for each of their values."""

ELSEWHERE = frozenset({"suite", "results", "shard"})
"""Fields that are no options here: the suite is an argument, and neither place nor shard says what results are."""

DEFAULTS: Mapping[str, Any] = {"executor": "auto", "device": "auto"}
"""What the command line takes where nothing is said; every other option is left out where it is None or False."""


def command_of(options: RunOptions) -> str:
    """Return the command line that means the same run: without the folder of results, and files by their names alone."""
    suite = str(options.suite)
    words = ["bnsbench", "run", Path(suite).name if suite.endswith(".toml") else suite]
    for entry in fields(options):
        value = getattr(options, entry.name)
        unsaid = value is None or value is False or value == DEFAULTS.get(entry.name)
        if entry.name not in ELSEWHERE and not unsaid:
            words += _words(entry.name, value)
    return shlex.join(words)


def _words(name: str, value: Any) -> Iterator[str]:
    many = not isinstance(value, str) and isinstance(value, Sequence)
    values = [f"{each:g}" if isinstance(each, float) else str(each) for each in (value if many else [value])]
    if name in REPEATED:
        for each in values:
            yield from (REPEATED[name], each)
        return
    yield f"--{name.replace('_', '-')}"
    if value is not True:
        yield ",".join(values)


def commands_with(command: str, environment_file: Path) -> list[str]:
    """Return the commands that environment.json tells of and this one, each once, in the order in which they came.

    Args:
        command: Of the run that begins.
        environment_file: Of its folder; absent or damaged, it tells of none.
    """
    try:
        found = read_json(environment_file)
    except (CorruptFileError, OSError):
        found = None
    before = found.get("commands") if isinstance(found, dict) else None
    told = [each for each in before if isinstance(each, str)] if isinstance(before, list) else []
    return list(dict.fromkeys([*told, command]))
