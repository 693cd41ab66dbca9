from __future__ import annotations

import re
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
        _ = bnsbench.walk  # type: ignore[attr-defined]


def test_its_names_are_to_be_seen() -> None:
    assert {"run", "load_solver", "Model", "SolverSpec", "paths", "plugin", "testing", "__version__"} <= set(dir(bnsbench))
    assert dir(bnsbench) == sorted(bnsbench.__all__)


def test_paths_are_reached_in_both_ways() -> None:
    from bnsbench.paths import CondOT

    assert bnsbench.paths.CondOT is CondOT
    assert bnsbench.paths.path_from_dict(bnsbench.paths.EDM(0.002, 80.0).to_dict()) == bnsbench.paths.EDM(0.002, 80.0)


def test_versions_agree() -> None:
    root = Path(__file__).parents[1]
    cited = re.search(r"^version: (.+)$", (root / "CITATION.cff").read_text(), flags=re.MULTILINE)
    assert cited is not None
    assert bnsbench.__version__ == version("bnsbench") == cited[1]
    assert "version" in tomllib.loads((root / "pyproject.toml").read_text())["project"]["dynamic"]


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "bnsbench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"bnsbench {bnsbench.__version__}\n"


def imported_by(words: list[str], heavy: set[str]) -> str:
    """Return which of some packages a command imports."""
    program = (
        "import sys; from bnsbench.cli import main\n"
        f"try: main({words!r})\n"
        f"except SystemExit as done: print(done.code or 0, *sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["run", "-h"], ["solver", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    heavy = {"torch", "numpy", "scipy", "pandas", "matplotlib"}
    own = {"pydantic"} if len(words) == 1 else set()  # typer itself may import it for the arguments of one command
    assert imported_by(words, heavy | own) == "0\n"


@pytest.mark.parametrize("kind", ["models", "solvers", "metrics", "suites"])
def test_listing_imports_no_torch(kind: str) -> None:
    assert imported_by(["list", kind], {"torch", "scipy", "pandas", "matplotlib"}) == "0\n"
