from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import bnsbench
from bnsbench.nonstationary.artefact import load_solver


def test_importing_the_package_is_light() -> None:
    program = "import sys, bnsbench; sys.exit(sorted({'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)) != [])"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_python_interface_is_reached_from_the_package() -> None:
    assert bnsbench.load_solver is load_solver
    assert callable(bnsbench.run)
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        _ = bnsbench.walk


def test_its_names_are_to_be_seen() -> None:
    assert {"run", "load_solver", "Model", "SolverSpec", "paths", "plugin", "testing", "__version__"} <= set(dir(bnsbench))
    assert dir(bnsbench) == sorted(bnsbench.__all__)


def test_paths_are_reached_in_both_ways() -> None:
    from bnsbench.paths import CondOT

    assert bnsbench.paths.CondOT is CondOT
    assert bnsbench.paths.path_from_dict(bnsbench.paths.EDM(0.002, 80.0).to_dict()) == bnsbench.paths.EDM(0.002, 80.0)


def test_versions_agree() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert bnsbench.__version__ == project["version"] == version("bnsbench")


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "bnsbench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"bnsbench {bnsbench.__version__}\n"
