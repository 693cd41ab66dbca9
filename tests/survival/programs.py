"""Files that would run a program: each is read as bnsbench reads it, and nothing may run."""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from tests.security.ways import WAYS, Way


def runs(way: Way, place: Path) -> bool:
    """Try a way in a folder of its own; return whether its program has left its mark."""
    folder, mark = place / "way", place / "mark"
    folder.mkdir()
    way(folder, mark)
    return mark.exists()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.survival programs", description=__doc__)
    parser.add_argument("names", nargs="*", help="ways to try (default: all)")
    options = parser.parse_args(arguments)
    ran, wanted = [], {name: way for name, way in WAYS.items() if not options.names or name in options.names}
    for name, way in wanted.items():
        with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(), _own_cache(Path(place)):
            warnings.simplefilter("ignore")
            found = runs(way, Path(place))
        ran += [name] if found else []
        print(f"{name}: {'IT RAN' if found else 'nothing ran'}", flush=True)
    print(f"{len(wanted)} ways to make a file run a program: {len(ran)} did.")
    return 1 if ran else 0


def _own_cache(place: Path) -> mock._patch_dict:
    """Keep what is computed in the folder, and let plugins of the folder be loaded where bnsbench would do so."""
    kept = {name: value for name, value in os.environ.items() if name != "BNSBENCH_PLUGINS"}
    return mock.patch.dict(os.environ, {**kept, "BNSBENCH_CACHE": str(place / "cache")}, clear=True)
