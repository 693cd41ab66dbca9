"""Check what would be released: ``python -m tests.tools.release dist`` looks into wheel and sdist, and uses the wheel.

The wheel is installed into a fresh environment and used in an empty folder, so that nothing of the repository can help it.
`tox -e release` builds both and runs this.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """\
import bnsbench

reveal_type(bnsbench.load_solver)
"""
SAMPLE = """\
import bnsbench, torch

solver = bnsbench.load_solver("ring8.json")
print(solver(lambda t, x: -x, torch.ones(2, 2)))
"""
SDIST_ALONE = ("tests/", "docs/", "plugins/", "pyproject.toml", "tox.ini", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff")
"""What the sdist has and the wheel has not."""


def main() -> None:
    folder = Path(sys.argv[1]).resolve()  # commands run elsewhere
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    with tempfile.TemporaryDirectory() as place:
        use(wheel, Path(place))
    print(f"{wheel.name} and {sdist.name} can be released.")


def check_wheel(wheel: Path) -> None:
    """See that a wheel has the whole package, its data and its licence, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    package = {name for name in names if name.startswith("bnsbench/")}
    _same("the wheel's package", package, _package())
    for needed in ("py.typed", ".template", ".toml", ".safetensors", "manifest.json"):
        _see(any(name.endswith(needed) for name in package), f"the wheel has no {needed}")
    others = {name.partition("/")[0] for name in names - package}
    _see(len(others) == 1 and others.pop().endswith(".dist-info"), "the wheel has more than the package")
    for needed in ("licenses/LICENSE", "entry_points.txt", "METADATA"):
        _see(any(name.endswith(f".dist-info/{needed}") for name in names), f"the wheel has no {needed}")


def check_sdist(sdist: Path) -> None:
    """See that an sdist has the whole package, its tests, documents and plugins."""
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    _same("the sdist's package", {name for name in names if name.startswith("bnsbench/")}, _package())
    for needed in SDIST_ALONE:
        _see(any(name.startswith(needed) for name in names), f"the sdist has no {needed}")


def use(wheel: Path, place: Path) -> None:
    """Install a wheel into a fresh environment and use it in an empty folder."""
    environment, work = place / "environment", place / "work"
    work.mkdir()
    run(["uv", "venv", "--python", sys.executable, str(environment)], place)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    python = str(programs / "python")
    run(["uv", "pip", "install", "--python", python, str(wheel), "mypy"], place)
    bnsbench = str(programs / "bnsbench")
    shown = run([bnsbench, "--version"], work).split()
    _see(wheel.name.startswith(f"bnsbench-{shown[1]}-"), f"{wheel.name} is of version {shown[1]}")
    where = run([python, "-c", "import bnsbench; print(bnsbench.__file__)"], work).strip()
    _see(Path(where).is_relative_to(environment), f"bnsbench was imported from {where}")
    run([bnsbench, "doctor"], work)
    run([bnsbench, "run", "quick", "--dry-run"], work)
    run([bnsbench, "train", "ring8", "--nfe", "2", "--solver", "bns[pairs=64,iterations=2]", "--output", "ring8.json"], work)
    run([python, "-c", SAMPLE], work)
    (work / "script.py").write_text(SCRIPT)
    told = run([python, "-m", "mypy", "--strict", "script.py"], work)
    _see("Revealed type" in told and "Any" not in told and "NonStationarySolver" in told, f"the types are not seen: {told}")


def run(command: Sequence[str], folder: Path) -> str:
    """Return what a command prints in a folder, with a cache of its own and without the caller's Python paths."""
    print("+", " ".join(command), flush=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BNSBENCH", "VIRTUAL_ENV"))}
    environment = {**kept, "BNSBENCH_CACHE": str(folder / "cache")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    _see(done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _package() -> set[str]:
    """Return the files of the package in the repository."""
    files = (path for path in (ROOT / "bnsbench").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


def _same(what: str, found: set[str], expected: set[str]) -> None:
    _see(found == expected, f"{what} lacks {sorted(expected - found)} and has {sorted(found - expected)} besides")


def _see(condition: bool, otherwise: str) -> None:
    if not condition:
        sys.exit(f"release: {otherwise}.")


if __name__ == "__main__":
    main()
