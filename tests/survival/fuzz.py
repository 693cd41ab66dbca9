"""Give every parser thousands of damaged inputs: each has to end in a value or in one sentence, soon and in little memory.

Inputs are mutations of valid ones, the same ones for the same seed. They are read in forks of this process, so that one that
crashes costs its own input only, and the system tells how much memory each has taken.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import random
import resource
import signal
import struct
import tempfile
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from bnsbench.errors import BnsbenchError
from tests.survival.fuzz_targets import TARGETS, Target

SECONDS = 5.0
"""That an input may take, of the processor's time, so that a busy machine changes nothing."""

TIMES, BESIDE = 20, 50 * 2**20
"""Bytes that an input may take: so many times its size, and so many more."""

CHUNK = 250
CEILING = 4 * 2**30
"""Bytes of address space on top of what a fork begins with."""


class HangError(BaseException):
    """An input that takes too long; no reader catches this."""


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    names = options.only or list(TARGETS)
    total: Counter[str] = Counter()
    for name in names:
        counts, faults = fuzz(TARGETS[name], max(1, round(options.share * TARGETS[name].count)), options.seed)
        total.update(counts)
        print(f"{name}: {_words(counts)}", flush=True)
        for fault in faults[: options.shown]:
            print(f"    {fault}", flush=True)
    bad = total["unexpected"] + total["hangs"] + total["memory"] + total["crashes"]
    print(f"all: {_words(total)}")
    return 1 if bad else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.survival fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs, which are more than 100,000")
    parser.add_argument("--only", action="append", choices=sorted(TARGETS))
    parser.add_argument("--shown", type=int, default=5, help="faults of each parser that are listed")
    return parser.parse_args(arguments)


def _words(counts: Counter[str]) -> str:
    names = ("inputs", "values", "sentences", "unexpected", "hangs", "memory", "crashes")
    return ", ".join(f"{counts[name]:,} {name}" for name in names)


def fuzz(target: Target, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Give a parser so many inputs; return the outcomes, and a line for every fault."""
    counts: Counter[str] = Counter(inputs=count)
    faults: list[str] = []
    _read_valid(target)
    begin = 0
    while begin < count:
        end = min(begin + CHUNK, count)
        reached, outcomes, found = _in_fork(target, seed, begin, end)
        counts.update(outcomes)
        faults += found
        begin = end if reached is None else reached + 1
    return counts, faults


def _read_valid(target: Target) -> None:
    """Read what is valid, so that forks share what is loaded for it; an input that is no longer read is an error."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = [_outcome(target, content, Path(folder), valid=True)[0] for content in target.valid()[:3]]
    if "values" not in read:
        raise AssertionError(f"no valid input of {target.name} is read: {read}")


def input_of(target: Target, seed: int, number: int) -> bytes:
    return target.mutate(random.Random(f"{target.name} {seed} {number}"))  # noqa: S311


def _in_fork(target: Target, seed: int, begin: int, end: int) -> tuple[int | None, Counter[str], list[str]]:
    """Read the inputs of a chunk in a fork; if it dies, return the number of the input that it died of."""
    place = mmap.mmap(-1, 8)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as answers:
        child = os.fork()
        if child == 0:
            _read_all(target, seed, range(begin, end), Path(folder), place, answers)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answers.seek(0)
        lines = [json.loads(line) for line in answers.read().splitlines()]
    outcomes = Counter(kind for _, kind, _ in lines)
    found = [f"{kind}: input {number}: {text}" for number, kind, text in lines if kind not in ("values", "sentences")]
    if status == 0:
        return None, outcomes, found
    died = struct.unpack("q", place[:8])[0]
    outcomes["crashes"] += 1
    return died, outcomes, [*found, f"crashes: input {died}: the process ended with {status}"]


def _read_all(target: Target, seed: int, numbers: range, folder: Path, place: mmap.mmap, answers: Any) -> None:
    """Read the inputs, write a line on each, and end this process."""
    code = 70
    try:
        here = _memory("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (here + CEILING, here + CEILING))
        warnings.simplefilter("ignore")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # libraries have their say on many inputs
            os.dup2(nowhere, stream)
        for number in numbers:
            place[:8] = struct.pack("q", number)
            content = input_of(target, seed, number)
            kind, text = _outcome(target, content, folder)
            print(json.dumps([number, kind, text]), file=answers, flush=True)
        code = 0
    finally:
        os._exit(code)


def _hangs(number: int, frame: Any) -> None:
    raise HangError


def _outcome(target: Target, content: bytes, folder: Path, valid: bool = False) -> tuple[str, str]:
    file = folder / target.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    before = _reset_peak()
    signal.signal(signal.SIGPROF, _hangs)
    signal.setitimer(signal.ITIMER_PROF, 10 * SECONDS if valid else SECONDS)
    try:
        target.read(file)
        kind, text = "values", ""
    except BnsbenchError as error:
        sentence = str(error)
        kind, text = ("sentences", "") if sentence.strip() else ("unexpected", "an error without a sentence")
    except HangError:
        kind, text = "hangs", repr(content[:80])
    except BaseException as error:  # noqa: BLE001 (which is what is looked for)
        kind, text = "unexpected", f"{type(error).__name__}: {str(error)[:100]!r} for {content[:80]!r}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    taken = _memory("VmHWM") - before
    if not valid and kind in ("values", "sentences") and taken > TIMES * len(content) + BESIDE:
        return "memory", f"{taken:,} bytes for {len(content):,}: {content[:80]!r}"
    return kind, text


def _reset_peak() -> int:
    """Let the system forget the most memory that this process has had, and return what it has now.

    What has been freed is given back first: an input that takes it again would seem to take none.
    """
    with suppress(AttributeError, OSError, TypeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    """Return a number of bytes that Linux tells of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return 0
