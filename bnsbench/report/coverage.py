"""How much a verification has looked at, and the chance that it has missed forged cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnsbench.report.choice import FORGED, Stratum, chance_missed, chance_missed_at_random
from bnsbench.suite.record import Record


@dataclass(frozen=True)
class Coverage:
    """How much a verification has looked at.

    files: compared with their hashes. records, solvers: read, and checked by themselves. numbers: in the records of cells
    that were run again. cells: that have a result. chosen: of these, run again. trained: of these, with a trained solver.
    retrained: of these, with their solver trained again. without: cells without a result by status, of which ``retried``
    were run again. strata: what was chosen from.
    """

    files: int = 0
    records: int = 0
    solvers: int = 0
    numbers: int = 0
    cells: int = 0
    chosen: int = 0
    trained: int = 0
    retrained: int = 0
    retried: int = 0
    without: Mapping[str, int] = field(default_factory=dict)
    strata: tuple[Stratum, ...] = ()

    def missed(self, forged: int) -> float:
        """Return the chance that so many forged cells are all missed, if a forger who knows the rule places them best."""
        return chance_missed(self.strata, forged)

    @property
    def chances(self) -> list[dict[str, float]]:
        """For several numbers of forged cells: the chance of missing them all, at most, and if they lie anywhere."""
        population = sum(stratum.size for stratum in self.strata)
        return [
            {
                "forged": forged,
                "missed_at_most": round(self.missed(forged), 6),
                "missed_at_random": round(chance_missed_at_random(population, self.chosen, forged), 6),
            }
            for forged in FORGED
            if forged <= population
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and chances as JSON-like data."""
        counts = ("files", "records", "solvers", "numbers", "cells", "chosen", "trained", "retrained", "retried")
        return {name: getattr(self, name) for name in counts} | {"without": dict(self.without), "chances": self.chances}


def numbers_in(record: Record) -> int:
    """Return how many numbers of a record are compared where its cell is run again."""
    content = record.to_dict()
    facts = [content[name] for name in ("nfe", "forwards", "train_forwards")]
    return _count([*facts, *(content[name] for name in ("metrics", "per_sample", "replicates", "truth"))])


def _count(content: Any) -> int:
    """Return how many numbers there are in plain data."""
    if isinstance(content, dict):
        return sum(map(_count, content.values()))
    if isinstance(content, list):
        return sum(map(_count, content))
    return isinstance(content, int | float) and not isinstance(content, bool)
