"""Find out which changes of the mathematics no test notices: ``python -m tests.mutations flows statistics.py``.

One operator, comparison, constant or returned value at a time is changed, and the tests of the module's room are run: first
those of the module itself, up to the first failure. What no test notices is printed as FILE:LINE old -> new. What has been
tried is kept: an interrupted run goes on, a larger sample adds to a smaller one, and a file that was edited starts anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.mutations.mutants import Mutant, mutants
from tests.mutations.trial import Changed, preload, run

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bnsbench"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("places", nargs="+", help="files and folders of bnsbench/, such as flows or solvers/deis.py")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each file (default: 20; 0 for all)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--results", type=Path, default=ROOT / "out" / "mutations.json", help="what has been tried")
    options = parser.parse_args()
    results = Results(options.results)
    preload()
    for file in _files(options.places):
        _try_file(file, _sample(file, options.sample, options.seed), results)
    _report(results, [str(file.relative_to(PACKAGE)) for file in _files(options.places)])


class Results:
    """What has been tried, in a file: by module, the hash of its source and the outcome of each mutant."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def of(self, name: str, source: str) -> dict[str, Any]:
        """Return the outcomes for a module; none if it was edited since."""
        digest = hashlib.sha256(source.encode()).hexdigest()[:16]
        if self.content.get(name, {}).get("source") != digest:
            self.content[name] = {"source": digest, "outcomes": {}}
        found: dict[str, Any] = self.content[name]["outcomes"]
        return found

    def save(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.content, indent=1) + "\n")


def _files(places: Sequence[str]) -> list[Path]:
    found = []
    for place in places:
        path = PACKAGE / place
        if not path.exists():
            sys.exit(f"There is no {path.relative_to(ROOT)}.")
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


def _sample(file: Path, size: int, seed: int) -> list[Mutant]:
    """Return some mutants of a file, the first ones of a larger sample being those of a smaller one."""
    every = mutants(file.read_text())
    random.Random(f"{seed} {file.relative_to(PACKAGE)}").shuffle(every)  # noqa: S311 (a choice, no secret)
    return every[:size] if size else every


def tests_of(file: Path) -> list[Path]:
    """Return the tests of a module, the closest first: its own file, its folder's and those of its room."""
    inside = file.relative_to(PACKAGE)
    folder = ROOT / "tests" / inside.parent
    closest = dict.fromkeys([folder / f"test_{inside.name}", folder, ROOT / "tests" / inside.parts[0]])
    return [path for path in closest if path.exists() and path != ROOT / "tests"]


@cache
def seconds_of(room: Path) -> float:
    """Return how long the tests of a room take when nothing is changed; they have to pass."""
    outcome, seconds = run(None, [room], 3600.0)
    if outcome != "survived":
        sys.exit(f"The tests in {room.relative_to(ROOT)} fail as they are.")
    return seconds


def _try_file(file: Path, chosen: Sequence[Mutant], results: Results) -> None:
    """Try the mutants of a file that have not been tried."""
    name, tests = str(file.relative_to(PACKAGE)), tests_of(file)
    outcomes = results.of(name, file.read_text())
    left = [mutant for mutant in chosen if _key(mutant) not in outcomes]
    if not left:
        return
    seconds = seconds_of(tests[-1])
    limit = 3.0 * seconds + 10.0
    module = ".".join(("bnsbench", *Path(name).with_suffix("").parts)).removesuffix(".__init__")
    print(f"{name}: {len(left)} mutants, its tests take {seconds:.0f} s", flush=True)
    for mutant in left:
        outcome, seconds = run(Changed(module, file, mutant.source), tests, limit)
        outcomes[_key(mutant)] = {"outcome": outcome, "seconds": round(seconds, 1)}
        results.save()
        if outcome == "survived":
            print(f"  bnsbench/{name}:{mutant.line} {mutant.old} -> {mutant.new}", flush=True)


def _key(mutant: Mutant) -> str:
    return f"{mutant.line}:{mutant.column} {mutant.old} -> {mutant.new}"


def _report(results: Results, names: Sequence[str]) -> None:
    counts = {"killed": 0, "timeout": 0, "survived": 0}
    for _, found in _outcomes(results, names):
        counts[found] += 1
    print(f"{counts['survived']} of {sum(counts.values())} mutants survive ({counts['timeout']} ended by the time limit):")
    for where, found in _outcomes(results, names):
        if found == "survived":
            print(f"  {where}")


def _outcomes(results: Results, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        for key, found in results.content.get(name, {}).get("outcomes", {}).items():
            yield f"bnsbench/{name}:{key}", found["outcome"]


if __name__ == "__main__":
    main()
