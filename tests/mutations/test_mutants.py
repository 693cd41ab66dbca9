"""The mutants of a source, and what a trial says of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutations.mutants import mutants
from tests.mutations.trial import Changed, run

SOURCE = '''"""Of 1 + 1."""

import math

FIRST: int = 3


def area(r: float, *, whole: bool = True) -> float | None:
    """Return pi r**2 / 2."""
    if r < 0 and not whole:
        raise ValueError(f"r is {r + 1}")
    return math.pi * r**2 if whole else max(r, -r)
'''


def changes(source: str) -> set[tuple[str, str]]:
    return {(mutant.old, mutant.new) for mutant in mutants(source)}


def test_operators_comparisons_constants_functions_and_returns_are_changed() -> None:
    assert {
        ("3", "4"),
        ("True", "False"),
        ("r < 0", "r <= 0"),
        ("not whole", "whole"),
        ("r < 0 and not whole", "r < 0 or not whole"),
        ("math.pi * r**2", "math.pi / r ** 2"),
        ("r**2", "r * 2"),
        ("max", "min"),
        ("-r", "r"),
    } <= changes(SOURCE)
    assert ("return math.pi * r**2 if whole else max(r, -r)", "return None") in changes(SOURCE)


def test_words_and_types_are_left_alone() -> None:
    assert not {old for old, _ in changes(SOURCE)} & {"1 + 1", "r + 1", "float | None", '"""Of 1 + 1."""'}
    assert changes("zip(a, b, strict=True)\n") == set()


def test_every_mutant_differs_from_the_source_in_one_place() -> None:
    for mutant in mutants(SOURCE):
        assert ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse(SOURCE))
        changed = [line for line, old in zip(mutant.source.splitlines(), SOURCE.splitlines(), strict=True) if line != old]
        assert len(changed) == 1


@pytest.mark.parametrize(
    ("value", "outcome"), [("2", "survived"), ("3", "killed"), ("__import__('time').sleep(60)", "timeout")]
)
def test_a_trial_puts_the_mutant_in_the_place_of_its_module(tmp_path: Path, value: str, outcome: str) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("def test_it():\n    from mutated_module import value\n    assert value == 2\n")
    limit = 3.0 if outcome == "timeout" else 60.0
    found, _ = run(Changed("mutated_module", tmp_path / "mutated_module.py", f"value = {value}\n"), [file], limit)
    assert found == outcome
