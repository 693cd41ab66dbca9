"""How long the command line and the package take to start: ``python tests/benchmarks/start_up.py [REPEATS]``.

Medians over fresh processes; that of an empty Python program is told beside them. Goals: `bnsbench --help` within 0.4 s,
`import bnsbench` within 0.02 s beyond an empty program.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

PROGRAMS = {
    "an empty program": ("-c", ""),
    "import bnsbench": ("-c", "import bnsbench"),
    "bnsbench --version": ("-m", "bnsbench", "--version"),
    "bnsbench --help": ("-m", "bnsbench", "--help"),
    "bnsbench train --help": ("-m", "bnsbench", "train", "--help"),
    "bnsbench list solvers": ("-m", "bnsbench", "list", "solvers"),
}


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    rounds = [{name: seconds(words) for name, words in PROGRAMS.items()} for _ in range(repeats + 1)][1:]  # one to warm up
    for name in PROGRAMS:
        print(f"{name:24} {median(each[name] for each in rounds):7.3f} s")
    beyond = median(each["import bnsbench"] - each["an empty program"] for each in rounds)
    print(f"{'the import alone':24} {1e3 * beyond:7.1f} ms")


def seconds(words: Sequence[str]) -> float:
    """Return how long a fresh interpreter takes for a program."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
