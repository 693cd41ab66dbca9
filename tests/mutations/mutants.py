"""Mutants of a source file: copies in which one operator, comparison, constant or returned value is another."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
ANNOTATIONS = ("annotation", "returns", "decorator_list", "type_comment")
"""Parts of the tree that compute nothing; decorators are caches and properties."""
SILENT = (ast.JoinedStr, ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)
"""Words rather than mathematics."""


@dataclass(frozen=True)
class Mutant:
    """A source in which ``old`` at a line and column (from 1 and 0) is ``new``."""

    line: int
    column: int
    old: str
    new: str
    source: str


def mutants(source: str) -> list[Mutant]:
    """Return every mutant of a source, in the order of its lines."""
    found = []
    for node, changed in _changes(ast.parse(source)):
        old = ast.get_source_segment(source, node)
        new = ast.unparse(changed)
        if old is None or new == old:
            continue
        atom = isinstance(changed, ast.stmt | ast.Constant | ast.Name | ast.Attribute)
        mutated = _replaced(source, node, new if atom else f"({new})")
        found.append(Mutant(node.lineno, node.col_offset, old, new, mutated))
    return sorted(found, key=lambda each: (each.line, each.column, each.new))


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST]]:
    """Yield nodes with what may stand in their place."""
    for name, value in ast.iter_fields(tree):
        if name in ANNOTATIONS:
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, SILENT) or _says_nothing(node):
                continue
            if isinstance(node, ast.expr | ast.stmt):
                yield from ((node, changed) for changed in (*_operations(node), *_values(node)))
            yield from _changes(node)


def _operations(node: ast.expr | ast.stmt) -> Iterator[ast.AST]:
    """Yield a node with another operator or comparison."""
    match node:
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in OPERATORS and not _is_annotation(node):
            yield _with(node, op=OPERATORS[type(op)]())
        case ast.Compare(ops=ops):
            for place, comparison in enumerate(ops):
                yield _with(node, ops=[*ops[:place], COMPARISONS[type(comparison)](), *ops[place + 1 :]])
        case ast.BoolOp(op=op):
            yield _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            yield operand


def _values(node: ast.expr | ast.stmt) -> Iterator[ast.AST]:
    """Yield what a node becomes with another constant, function or returned value."""
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(value * 1.5 if value else 1.0)
        case ast.Name(id=name) if name in NAMES:
            yield _with(node, id=NAMES[name])
        case ast.Attribute(attr=name) if name in NAMES:
            yield _with(node, attr=NAMES[name])
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):  # those are mutated themselves
            yield _with(node, value=ast.Constant(None))


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """Return a copy of a node with other fields."""
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _says_nothing(node: ast.AST) -> bool:
    """Whether a node is a docstring, or the ``strict`` of a zip, which only watches over lengths."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())) | ast.keyword(arg="strict"):
            return True
    return False


def _is_annotation(node: ast.expr | ast.stmt) -> bool:
    """Whether an expression is a union of types, such as ``int | None``."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)


def _replaced(source: str, node: ast.expr | ast.stmt, new: str) -> str:
    """Return the source with ``new`` in place of a node."""
    lines = source.encode().splitlines(keepends=True)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before = b"".join(lines[:first]) + lines[first][: node.col_offset]
    after = lines[last][node.end_col_offset :] + b"".join(lines[last + 1 :])
    return (before + new.encode() + after).decode()
