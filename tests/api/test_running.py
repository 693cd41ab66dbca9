"""`bnsbench.run` and `bnsbench.publish` from Python."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import bnsbench
from bnsbench.errors import UsageError


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(
        'samples = 8\nbatch = 8\nnfe = [2]\nmetrics = ["psnr"]\nsolvers = ["euler"]\n'
        'models = [{ name = "ring8", tolerance = 1e-3 }]\n'
    )
    return file


def test_strings_and_single_values_are_taken(suite: Path, tmp_path: Path) -> None:
    board = bnsbench.run(suite, solvers="euler,midpoint", nfe=2, results="out", models="ring8")
    assert isinstance(board, pd.DataFrame)
    assert sorted(board.solver) == ["euler", "midpoint"]
    assert (tmp_path / "out" / "small" / "leaderboard.csv").is_file()


def test_finished_cells_are_not_run_again_and_a_listener_hears_of_the_others(suite: Path) -> None:
    class Hears(bnsbench.Listener):
        """Counts stages."""

        stages = 0

        def stage(self, text: str) -> None:
            del text
            self.stages += 1

    first, second = Hears(), Hears()
    one, two = bnsbench.run(suite, listener=first), bnsbench.run(suite, listener=second)
    assert list(one.psnr) == list(two.psnr)
    assert first.stages > 0
    assert second.stages == 0


@pytest.mark.usefixtures("plugins_allowed")
def test_a_plugin_beside_the_suite_file_is_loaded_as_by_the_command(suite: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "bnsbench_local.py").write_text(
        "from bnsbench.plugin import SolverSpec, hookimpl\n\n\n@hookimpl\ndef bnsbench_solvers():\n"
        "    yield SolverSpec('steps', 'bnsbench.solvers.runge_kutta:euler', 'As Euler.')\n"
    )
    file = folder / "steps.toml"
    file.write_text(suite.read_text().replace('"euler"', '"euler", "steps"'))
    board = bnsbench.run(file)
    assert board.set_index("solver").psnr.to_dict().keys() == {"euler", "steps"}
    assert board.psnr.nunique() == 1


def test_a_run_is_published(suite: Path, tmp_path: Path) -> None:
    bnsbench.run(suite)
    folder = bnsbench.publish("runs/small", output="published")
    assert folder.resolve() == tmp_path / "published" / "small"
    assert (folder / "leaderboard.csv").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"nfe": 0}, "nfe"),
        ({"solvers": "eulr"}, "did you mean 'euler'"),
        ({"executor": "everywhere"}, "everywhere"),
        ({"device": "tpu"}, "There is no device 'tpu'"),
    ],
)
def test_misuse_is_one_sentence_about_the_option(suite: Path, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        bnsbench.run(suite, **options)  # type: ignore[arg-type]
    assert sentence in str(error.value)
    assert "command line" not in str(error.value)
