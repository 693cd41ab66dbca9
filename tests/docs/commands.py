"""The command line as its functions declare it: every command with its options, and commands as pages show them."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from bnsbench.cli.app import app

PROGRAM = "bnsbench"
ANYWHERE = frozenset({"-h", "--help", "--debug"})
"""Options that every command takes."""
FIRST = frozenset({"--version", "--install-completion", "--show-completion"})
"""Options that stand in the place of a command."""


@dataclass(frozen=True)
class Parameter:
    """An argument or option: its names (none for an argument), what it takes, its help and its default."""

    names: tuple[str, ...]
    value: str
    help: str
    default: Any

    @property
    def required(self) -> bool:
        return self.default in (inspect.Parameter.empty, ...)

    @property
    def spelled(self) -> str:
        """The parameter as it is typed, such as "--seed INTEGER"."""
        if not self.names:
            return self.value if self.required else f"[{self.value}]"
        return " ".join([", ".join(self.names), self.value]).strip()

    @property
    def row(self) -> str:
        value = getattr(self.default, "value", self.default)
        plain = self.required or value is None or value is False or value == ""
        default = "required" if self.required else "" if plain else f"`{value}`"
        return f"| `{_escaped(self.spelled)}` | {_escaped(self.help)} | {default} |"


@dataclass(frozen=True)
class Command:
    """A command: its help text and its parameters, arguments first."""

    help: str
    parameters: tuple[Parameter, ...]

    @property
    def summary(self) -> str:
        return _escaped(self.help.split("\n\n")[0])


def all_commands() -> dict[str, Command]:
    """Return every command by its words, such as "solver show"."""
    return {words: _command(function) for words, function in _functions(app)}


def _functions(group: typer.Typer, words: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    for each in group.registered_commands:
        if each.callback is not None and not each.hidden:
            name = each.name or each.callback.__name__.replace("_", "-")
            yield f"{words} {name}".strip(), each.callback
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            yield from _functions(inner.typer_instance, f"{words} {inner.name}".strip())


def _command(function: Callable[..., Any]) -> Command:
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    made = [_parameter(name, hints[name], each.default) for name, each in signature.parameters.items()]
    found = [each for each in made if each is not None]
    return Command(inspect.getdoc(function) or "", tuple(sorted(found, key=lambda each: bool(each.names))))


def _parameter(name: str, hint: Any, default: Any) -> Parameter | None:
    kind, *more = get_args(hint) if get_origin(hint) is not None and hasattr(hint, "__metadata__") else (hint,)
    info = next((each for each in more if isinstance(each, ArgumentInfo | OptionInfo)), OptionInfo())
    if info.hidden:
        return None
    plain = _plain(kind)
    if isinstance(plain, type) and issubclass(plain, typer.Context):  # which nobody types
        return None
    if isinstance(info, ArgumentInfo):
        return Parameter((), info.metavar or _choices(plain) or name.upper(), info.help or "", default)
    dashed = f"--{name.replace('_', '-')}"
    # In an annotation, the first name stands where typer's older form has the default.
    declared = [each for each in (info.default, *(info.param_decls or ())) if isinstance(each, str) and each[:1] == "-"]
    names = tuple(declared or ((dashed,) if plain is not bool else (f"{dashed}", f"--no-{dashed[2:]}")))
    value = "" if plain is bool else info.metavar or _choices(plain) or _TYPES.get(plain, "TEXT")
    return Parameter(names, value, info.help or "", default)


_TYPES = {int: "INTEGER", float: "NUMBER", str: "TEXT"}


def _plain(kind: Any) -> Any:
    """Return the type of one value: X for X | None and for list[X]."""
    while get_origin(kind) in (Union, UnionType, list):
        kind = next(each for each in get_args(kind) if each is not type(None))
    return kind


def _choices(kind: Any) -> str:
    return "|".join(str(each.value) for each in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ""


def overview() -> str:
    """Return a table of the commands with the first sentence of their help."""
    rows = [f"| [`{PROGRAM} {words}`](#{_anchor(words)}) | {each.summary} |" for words, each in all_commands().items()]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows])


def reference() -> str:
    """Return a section for every command: usage, help, arguments and options."""
    return "\n\n".join(_section(words, command) for words, command in all_commands().items())


def _section(words: str, command: Command) -> str:
    given = [each for each in command.parameters if not each.names or each.required]
    usage = " ".join(
        [PROGRAM, words, *(" ".join([*each.names[:1], each.value]) if each.names else each.spelled for each in given)]
    )
    parts = [f"## {PROGRAM} {words}", f"    {usage}", _paragraphs(command.help)]
    if command.parameters:
        head = ["| argument or option | meaning | default |", "| --- | --- | --- |"]
        parts.append("\n".join([*head, *(each.row for each in command.parameters)]))
    return "\n\n".join(parts)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _anchor(words: str) -> str:
    return f"{PROGRAM} {words}".replace(" ", "-")


_CODE = re.compile(r"^(?: {4,}|\$ )(\S.*)$|`(bnsbench [^`\n]+)`", re.MULTILINE)


def shown(page: str) -> Iterator[list[str]]:
    """Yield the words of every bnsbench command that a page shows, in code blocks and between words."""
    for block, inline in _CODE.findall(re.sub(r" *\\\n +", " ", page)):
        for part in re.split(r"&&|\|\||;", block or inline):
            words = _words(part.strip())
            if words[:1] == [PROGRAM] and len(words) > 1:
                yield words


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []


def fault(words: list[str]) -> str:
    """Return what is wrong with a command as a page shows it, "" if nothing is: an unknown command or option."""
    known, rest = all_commands(), words[1:]
    path = next((name for name in (" ".join(rest[:2]), rest[0]) if name in known), None)
    if path is None:
        groups = {name.split()[0] for name in known}
        return "" if rest[0] in FIRST | ANYWHERE | groups else f"there is no command {rest[0]!r}"
    options = {name for each in known[path].parameters for name in each.names} | ANYWHERE
    given = [word.split("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)]
    unknown = [word for word in given if word not in options]
    return f"{path} has no option {', '.join(unknown)}" if unknown else ""
