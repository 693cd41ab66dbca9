"""Faulty components beside sound ones: ``python -m tests.survival components``.

A run has to come to its end whatever its components raise, print, change, return or do for ever; the sound cells have to
have the results that they have alone, to the last bit; a faulty cell has to name the component; stdout has to hold JSON and
nothing else; and every other command has to be able to read the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.survival.faulty_plugin import CATALOGUE, CHANGES, EXITS, HANGS, PRINTS

HERE = Path(__file__).parent
PLUGIN = HERE / "faulty_plugin.py"
ROOT = HERE.parents[1]

LETTERS = {"solver": "s", "trainer": "t", "metric": "q", "model": "m"}
"""How the names of components begin, by their kinds."""

SOUND = ("psnr", "width")
NOT_TOLD = {("solver", "write", "input"), ("solver", "write", "one-buffer")}
"""What a component may do: its input is its own, and what it returns is copied at once."""

DIVERGED = {("solver", "return", "not-finite")}


LEADERBOARD = ("leaderboard", "--format", "json")  # knows no plugin
VERIFY = ("verify", "--cells", "0", "--plugin", str(PLUGIN), "--json", "--quiet")


@dataclass(frozen=True)
class Fault:
    """A fault of a component: its kind, where it happens, and what it is."""

    kind: str
    place: str
    name: str

    @property
    def component(self) -> str:
        """The name of the component."""
        return f"{LETTERS[self.kind]}-{self.place}-{self.name}"

    @property
    def hangs(self) -> bool:
        return self.name in HANGS

    @property
    def status(self) -> str:
        """What the cell has to become."""
        return "diverged" if (self.kind, self.place, self.name) in DIVERGED else "timeout" if self.hangs else "failed"

    @property
    def harmless(self) -> bool:
        """Whether its own cell has to come out well, too, because everything is put back."""
        return self.name in (*CHANGES, *PRINTS) or (self.kind, self.place, self.name) in NOT_TOLD


def catalogue() -> tuple[Fault, ...]:
    """Return all faults but the observer's, which is one component that has them all."""
    return tuple(
        Fault(kind, place, name)
        for kind, places in CATALOGUE.items()
        if kind != "observer"
        for place, names in places.items()
        for name in names
    )


@dataclass
class Findings:
    """What has gone wrong, by what it is; and how many faults were tried."""

    tried: int = 0
    runs: int = 0
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, where: str) -> None:
        self.wrong.setdefault(what, []).append(where)


def suite(faults: Sequence[Fault]) -> str:
    """Return a suite with the faults' components among sound ones, which come before, among and after them."""
    solvers = [fault.component for fault in faults if fault.kind in ("solver", "trainer")]
    models = [fault.component for fault in faults if fault.kind == "model"]
    metrics = [fault for fault in faults if fault.kind == "metric"]
    alone = _alone(faults)
    together = [fault.component for fault in metrics if fault.component not in alone]
    half = len(solvers) // 2
    entries = [
        _entry("calm", ["steady", *solvers[:half], "learned", *solvers[half:], "steadier"], SOUND),
        _entry("measured", ["steady"], ("psnr", *together, "width")),
        *(_entry(f"alone-{k}", ["steady"], (name,)) for k, name in enumerate(alone)),
        *(_entry(name, ["steady"], SOUND) for name in models),
        _entry("last", ["steady", "learned"], SOUND),
    ]
    return 'name = "faulty"\nsamples = 24\nbatch = 16\nnfe = [2]\nsolvers = ["steady"]\nmetrics = ["psnr"]\n' + "\n".join(
        entries
    )


def _alone(faults: Sequence[Fault]) -> list[str]:
    """Return the metrics that end their process, or their cell's time, and others with it: each has a cell for itself."""
    return [fault.component for fault in faults if fault.kind == "metric" and (fault.name in EXITS or fault.hangs)]


def _entry(model: str, solvers: Sequence[str], metrics: Sequence[str]) -> str:
    listed = {"solvers": json.dumps(list(solvers)), "metrics": json.dumps(list(metrics))}
    lines = [f'name = "{model}"', "guidance = [0.0]", *(f"{name} = {text}" for name, text in listed.items())]
    return "\n".join(["[[models]]", *lines, ""])


@dataclass(frozen=True)
class Place:
    """A folder in which suites are run, each in a process of its own, as a user does."""

    folder: Path

    @cached_property
    def sound(self) -> Outcome:
        """The sound components alone."""
        return self.run("sound", (), "local")

    def run(self, name: str, faults: Sequence[Fault], executor: str, timeout: float | None = None) -> Outcome:
        """Run a suite with the faults' components by ``bnsbench run``."""
        file = self.folder / f"{name}.toml"
        file.write_text(suite(faults))
        words = ["run", str(file), "--plugin", str(PLUGIN), "--executor", executor, "--results", name, "--json"]
        words += ["--workers", "2"] if executor == "processes" else []
        done = self.bnsbench(*words, *(() if timeout is None else ("--timeout", str(timeout))))
        records = {}
        for record in (self.folder / name / "faulty" / "cells").glob("*.json"):
            content = json.loads(record.read_text())
            records[content["cell"]["model"]["name"], content["cell"]["solver"]["name"]] = content
        return Outcome(done.returncode, done.stdout, done.stderr, records)

    def bnsbench(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command, with nothing installed but bnsbench itself."""
        environment = {**os.environ, "BNSBENCH_PLUGINS": "", "BNSBENCH_CACHE": "cache"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "bnsbench", *words]
        return subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, errors="replace", check=False
        )


@dataclass(frozen=True)
class Outcome:
    """What a run has left: exit code, streams, and records by model and solver."""

    code: int
    out: str
    err: str
    records: Mapping[tuple[str, str], dict[str, Any]]


def try_out(
    place: Place,
    faults: Sequence[Fault],
    executor: str,
    findings: Findings,
    timeout: float | None = None,
    commands: Sequence[Sequence[str]] = (LEADERBOARD, VERIFY),
) -> None:
    """Run the faults' components beside sound ones, read the folder by commands, and add what has gone wrong."""
    alone = place.sound
    name = f"{executor}-{'hanging' if timeout else 'faulty'}"
    found = place.run(name, faults, executor, timeout)
    findings.tried, findings.runs = findings.tried + len(faults), findings.runs + 1
    _judge_run(found, executor, findings)
    for key, record in alone.records.items():
        if key not in found.records or _results(found.records[key]) != _results(record):
            findings.add("sound cells changed", f"{executor}: {'/'.join(key)}")
    for fault in faults:
        wrong = _fault_of(fault, _record_of(fault, found.records, faults), alone.records, executor)
        if wrong:
            findings.add(wrong, f"{executor}: {fault.component}")
    for words in commands:
        _judge_command(place, [words[0], name, *words[1:]], findings)


def _judge_run(found: Outcome, executor: str, findings: Findings) -> None:
    try:
        whole = json.loads(found.out)["exit_code"] == found.code
    except (ValueError, KeyError, TypeError):
        whole = False
    if found.code not in (0, 1) or "Unexpected" in found.err or "Traceback" in found.err.split("bnsbench: ")[-1]:
        findings.add("runs ended", f"{executor}: exit code {found.code}: {found.err[-400:]}")
    elif not whole:
        findings.add("stdout not JSON", f"{executor}: {found.out[:200]!r}")


def _results(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a sound cell's record says, but for times, and for what faulty metrics have added."""
    kept: dict[str, Any] = {
        key: record[key] for key in ("nfe", "forwards", "train_forwards", "solver", "truth", "model", "cell")
    }
    for part in ("metrics", "per_sample", "replicates"):
        kept[part] = {name: value for name, value in record[part].items() if name in SOUND}
    return kept


def _fault_of(fault: Fault, record: dict[str, Any] | None, alone: Mapping[tuple[str, str], Any], executor: str) -> str:
    """Return what is wrong with how a fault has come out, "" if nothing is."""
    if record is None:
        return "cells without a record"
    if fault.harmless:
        return _fault_of_harmless(fault, record, alone)
    if record["status"] != fault.status:
        return f"cells that are not {fault.status}"
    kind = "solver" if fault.kind == "trainer" else fault.kind
    told = f"the {kind} {fault.component} of the plugin faulty_plugin"
    if executor == "processes" and fault.name in EXITS:
        told = "its worker process died"  # and with it whoever could tell
    return "" if told in record["reason"] or fault.status != "failed" else "reasons without the component"


def _record_of(
    fault: Fault, records: Mapping[tuple[str, str], dict[str, Any]], faults: Sequence[Fault]
) -> dict[str, Any] | None:
    """Return the record of the cell in which a fault's component is."""
    if fault.kind in ("solver", "trainer"):
        return records.get(("calm", fault.component))
    if fault.kind == "model":
        return records.get((fault.component, "steady"))
    alone = _alone(faults)
    model = f"alone-{alone.index(fault.component)}" if fault.component in alone else "measured"
    return records.get((model, "steady"))


def _fault_of_harmless(fault: Fault, record: Mapping[str, Any], alone: Mapping[tuple[str, str], Any]) -> str:
    """Return what is wrong with a cell whose component does its work and something else that is put back."""
    if fault.kind == "metric":
        value = record["metrics"].get(fault.component, {}).get("value")
        return "" if value == record["metrics"]["width"]["value"] else "changes that were not contained"
    if record["status"] != "ok":
        return "changes that were not contained"
    like = {"solver": "steady", "trainer": "learned"}.get(fault.kind)
    if like is not None and record["per_sample"] != alone["calm", like]["per_sample"]:
        return "changes that were not contained"
    return ""


def _judge_command(place: Place, words: Sequence[str], findings: Findings) -> None:
    """Read the folder by another command."""
    done = place.bnsbench(*words)
    try:
        json.loads(done.stdout)
        readable = done.returncode in (0, 1) and "Unexpected" not in done.stderr
    except ValueError:
        readable = False
    if not readable:
        findings.add("folders unreadable", f"{' '.join(words[:2])}: {done.stderr[-300:]}")


def main(arguments: Sequence[str]) -> int:
    """Try every fault with both executors; exit code 1 if anything has gone wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.survival components", description=__doc__)
    parser.add_argument("--executor", choices=("local", "processes"), action="append", help="one of them alone")
    parser.add_argument("--only", default="", help="faults whose names hold this text")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds that hanging components get")
    parser.add_argument("--no-hangs", action="store_true", help="leave out what hangs")
    options = parser.parse_args(arguments)
    faults = [fault for fault in catalogue() if options.only in fault.component]
    findings, began = Findings(), time.monotonic()
    for executor in options.executor or ("local", "processes"):
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder))
            try_out(place, [fault for fault in faults if not fault.hangs], executor, findings)
            hanging = [fault for fault in faults if fault.hangs and not options.no_hangs]
            if hanging:
                try_out(place, hanging, executor, findings, options.timeout)
    return report(findings, time.monotonic() - began)


def report(findings: Findings, seconds: float) -> int:
    """Print what was tried and what has gone wrong, and return the exit code."""
    observed = len(CATALOGUE["observer"]["call"])
    print(f"{findings.tried} faulty components and {observed} faults of an observer, {findings.runs} runs, {seconds:.0f} s")
    kinds = ("runs ended", "sound cells changed", "stdout not JSON", "folders unreadable", "reasons without the component")
    for what in dict.fromkeys((*kinds, *findings.wrong)):
        places = findings.wrong.get(what, [])
        print(f"{what}: {len(places)}")
        for place in places:
            print(f"  {place}")
    return 1 if findings.wrong else 0
