"""``python -m bnsbench_diffusers.testing KIND FOLDER``: a tiny pipeline, or a network that metrics use, in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from bnsbench_diffusers.testing import CHECKPOINTS, KINDS, make_tiny_checkpoint, make_tiny_pipeline


def main() -> None:
    """Write a tiny pipeline, or a network that metrics use, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bnsbench_diffusers.testing", description=main.__doc__)
    parser.add_argument("kind", choices=[*KINDS, *CHECKPOINTS], help="what pipeline, or what network")
    parser.add_argument("folder", type=Path, help="where to")
    chosen = parser.parse_args()
    write, what = (make_tiny_checkpoint, "checkpoint") if chosen.kind in CHECKPOINTS else (make_tiny_pipeline, "pipeline")
    folder = write(chosen.kind, chosen.folder)
    print(f"A {chosen.kind} {what} with random weights is in {folder}.")  # noqa: T201 (a command)


if __name__ == "__main__":
    main()
