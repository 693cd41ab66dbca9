"""Every kind of new package: in a fresh environment it passes its own tests, is listed, and takes part in a run."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

RUNS = {
    "solver": "--model ring8 --solver euler,my-solver --metric psnr",
    "model": "--model my-model --solver euler --metric psnr",
    "metric": "--model ring8 --solver euler --metric psnr,my-metric",
}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BNSBENCH_CACHE": str(folder / "cache")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def python(tmp_path: Path) -> str:
    """The interpreter of a new environment, which sees what the tests' environment has."""
    folder = tmp_path / "environment"
    run(tmp_path, sys.executable, "-m", "uv", "venv", "--python", sys.executable, str(folder))
    scheme = {"base": str(folder), "platbase": str(folder)}
    place = Path(sysconfig.get_path("purelib", "venv", scheme))
    place.joinpath("outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return str(Path(sysconfig.get_path("scripts", "venv", scheme)) / "python")


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", RUNS)
def test_a_new_package_works_as_it_is(tmp_path: Path, python: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"my-{kind}"
    monkeypatch.setenv("BNSBENCH_PLUGINS", name)
    package = tmp_path / "package"
    run(tmp_path, python, "-m", "bnsbench", "new", kind, name, "--output", str(package))
    run(tmp_path, sys.executable, "-m", "uv", "pip", "install", "--no-deps", "--python", python, "-e", str(package))

    tested = run(package, python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert "2 passed" in tested.stdout

    listed = json.loads(run(tmp_path, python, "-m", "bnsbench", "list", f"{kind}s", "--json").stdout)
    assert [record["provider"] for record in listed if record["name"] == name] == [name]

    words = f"run quick --guidance 0 --nfe 4 --samples 8 --executor local --quiet {RUNS[kind]}"
    run(tmp_path, python, "-m", "bnsbench", *words.split())
    rows = list(csv.DictReader((tmp_path / "runs/quick/leaderboard.csv").read_text().splitlines()))
    assert {row["status"] for row in rows} == {"ok"}
    shown = run(tmp_path, python, "-m", "bnsbench", "leaderboard", "runs/quick", "--format", "csv").stdout
    assert name in shown
