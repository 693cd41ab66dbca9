"""What bnsbench depends on: training and sampling need few packages, and what needs another one says which is missing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bnsbench.errors import PACKAGES, MissingPackageError, needed_for

PYPROJECT: dict[str, Any] = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
DEPENDENCIES: list[str] = PYPROJECT["project"]["dependencies"]
CORE: list[str] = PYPROJECT["dependency-groups"]["core"]

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""

TRAIN = """
from pathlib import Path
import bnsbench

folder = Path(sys.argv[1])
bnsbench.train("ring8", 4, solver="bns[pairs=64,iterations=3]", cache=folder).save(folder / "solver.json")
samples, truth = (bnsbench.sample("ring8", *solver, count=16) for solver in ((folder / "solver.json",), ("rk4", 64)))
print(float((samples - truth).square().mean()))
"""


def run(program: str, *arguments: str, hidden: set[str]) -> subprocess.CompletedProcess[str]:
    """Run a program that cannot import the hidden packages."""
    script = HIDE.format(hidden=hidden) + program
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


def name_of(requirement: str) -> str:
    """Return the name of the package that a requirement is about."""
    return re.split(r"[<>=!~;\[ ]", requirement)[0]


def test_every_dependency_has_the_name_of_its_import() -> None:
    assert set(PACKAGES.values()) == {name_of(requirement) for requirement in DEPENDENCIES}


def test_the_core_is_a_part_of_the_dependencies() -> None:
    assert set(CORE) < set(DEPENDENCIES)


def test_training_and_sampling_need_only_the_core(tmp_path: Path) -> None:
    core = {name_of(requirement) for requirement in CORE}
    done = run(TRAIN, str(tmp_path), hidden={module for module, package in PACKAGES.items() if package not in core})
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1


def test_a_component_says_which_package_it_lacks() -> None:
    program = "from bnsbench.contract import PluginHost\nPluginHost.load().metric('fid').make()"
    done = run(program, hidden={"torch_fidelity"})
    sentence = "The package torch-fidelity, needed for 'fid', is not installed: run `python -m pip install torch-fidelity`."
    assert done.stderr.splitlines()[-1].endswith(f"MissingPackageError: {sentence}")


def test_a_perceptual_objective_needs_no_more(tmp_path: Path) -> None:
    """The features are the model's own."""
    program = TRAIN.replace("ring8", "digits-gmm").replace("iterations=3", "iterations=3,objective=features")
    done = run(program, str(tmp_path), hidden={"torch_fidelity"})
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_says_which_package_it_lacks(tmp_path: Path) -> None:
    program = "from bnsbench.cli import main\nmain(sys.argv[1:])"
    done = run(program, "leaderboard", str(tmp_path), hidden={"pandas", "pydantic"})
    assert done.returncode == 1
    assert re.fullmatch(r"bnsbench: The package \w+, needed for this command, is not installed: run `.*`\.\n", done.stderr)


def test_a_module_that_bnsbench_does_not_depend_on_is_not_advertised() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere_at_all"), needed_for("nothing"):
        import nowhere_at_all  # type: ignore[import-not-found]  # noqa: F401


def test_other_failures_of_an_import_are_passed_on() -> None:
    with pytest.raises(ZeroDivisionError), needed_for("nothing"):
        raise ZeroDivisionError


def test_the_sentence_names_the_package_and_not_the_module() -> None:
    error = ModuleNotFoundError("No module named 'PIL.Image'", name="PIL.Image")
    with (
        pytest.raises(MissingPackageError, match=r"^The package pillow, needed for pictures, is not") as told,
        needed_for("pictures"),
    ):
        raise error
    assert told.value.__cause__ is error
