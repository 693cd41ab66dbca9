"""What a run's time went to: the seconds of all its processes by phase, and those in which a network computed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bnsbench.process.clock import Clock
from bnsbench.suite.record import Record

RUNNING = "cells"
"""The phase of a run in which its executor works; its cells tell what of."""

PLANNING = "planning"
WRITING = "records"
STARTING = "start-up"
REPORTING = "tables and pictures"
IDLE = "idle"
"""What no phase and no process accounts for: workers that start or have nothing left to do, and messages."""


@dataclass(frozen=True)
class Timings:
    """The seconds of a run.

    wall: from its beginning to its end. processes: that worked at once. spent: seconds of all processes by phase, which come
    to ``wall`` times ``processes`` while cells ran, and to ``wall`` otherwise. network: the part of each phase in which a
    network computed.
    """

    wall: float
    processes: int = 1
    spent: Mapping[str, float] = field(default_factory=dict)
    network: Mapping[str, float] = field(default_factory=dict)

    @property
    def efficiency(self) -> float:
        """The share of the processes' seconds in which a network computed."""
        return sum(self.network.values()) / max(sum(self.spent.values()), 1e-9)

    def and_then(self, phase: str, seconds: float) -> Timings:
        """Return the timings of a run after which one process has done something more."""
        spent = {**self.spent, phase: self.spent.get(phase, 0.0) + seconds}
        return replace(self, wall=self.wall + seconds, spent=spent)

    @property
    def line(self) -> str:
        """One line on it, with the three phases that took longest outside of a network."""
        outside = {phase: seconds - self.network.get(phase, 0.0) for phase, seconds in self.spent.items()}
        longest = sorted(outside.items(), key=lambda each: -each[1])[:3]
        told = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in longest if seconds >= 0.05)
        where = f" of {self.processes} processes" if self.processes > 1 else ""
        return f"{self.wall:.1f} s{where}, {self.efficiency:.0%} in the network" + (
            f"; outside of it {told}" if told else ""
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the timings as JSON-like data, phases by their seconds, longest first."""
        by_length = sorted(self.spent.items(), key=lambda each: -each[1])
        return {
            "wall": round(self.wall, 3),
            "processes": self.processes,
            "efficiency": round(self.efficiency, 4),
            "spent": {phase: round(seconds, 3) for phase, seconds in by_length},
            "network": {phase: round(self.network[phase], 3) for phase, _ in by_length if phase in self.network},
        }

    def to_json(self) -> str:
        """Return the content of timings.json."""
        return json.dumps(self.to_dict(), indent=1) + "\n"


def timings_of(clock: Clock, records: Iterable[Record]) -> Timings:
    """Return the timings of a run.

    Args:
        clock: Of the process that ran it, which marks the executor's work as RUNNING; stopped.
        records: Of the cells that it ran.
    """
    own = dict(clock.seconds)
    wall, running = sum(own.values()), own.pop(RUNNING, 0.0)
    if clock.workers:  # they go on while this process writes
        running += own.pop(WRITING, 0.0)
    spent, network = dict[str, float](), dict[str, float]()
    for record in records:
        _add(spent, record.seconds.get("spent", {}))
        _add(network, record.seconds.get("network", {}))
    _add(spent, clock.others)
    spent[IDLE] = max(0.0, running * max(clock.workers, 1) - sum(spent.values()))
    _add(spent, own)
    return Timings(wall, max(clock.workers, 1), {name: seconds for name, seconds in spent.items() if seconds > 0}, network)


def _add(to: dict[str, float], more: Mapping[str, float]) -> None:
    for name, seconds in more.items():
        to[name] = to.get(name, 0.0) + seconds
