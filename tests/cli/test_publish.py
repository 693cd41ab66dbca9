from __future__ import annotations

from pathlib import Path

import pytest

TINY = Path(__file__).parent.parent / "suite" / "tiny_plugin.py"


@pytest.fixture
def run(bnsbench, tmp_path):
    file = tmp_path / "small.toml"
    file.write_text('samples = 20\nnfe = [2, 4]\nsolvers = ["steps"]\nmodels = [{ name = "tiny", tolerance = 1e-4 }]\n')
    return lambda *arguments: bnsbench("run", file, "--plugin", TINY, "--device", "cpu", *arguments)


def test_a_run_becomes_results(run, bnsbench, tmp_path):
    assert "runs/small: 2 ok; 2 run now." in run().out
    done = bnsbench("publish", "runs/small", "--plugin", TINY)
    assert (done.code, done.err) == (0, "")
    assert done.out == "results/small: 2 records published (2 new).\n"
    assert bnsbench("verify", "results/small", "--plugin", TINY, "--device", "cpu", "--quiet").code == 0
    again = bnsbench("publish", "runs", "--output", "results", "--plugin", TINY)
    assert again.out == "results/small: 2 records published, in place of 2 (2 as before).\n"
    assert {path.name for path in tmp_path.iterdir()} >= {"runs", "results"}


def test_a_clone_computes_whatever_is_published(run, bnsbench):
    """Published results answer no cell of a run."""
    run()
    bnsbench("publish", "runs/small", "--plugin", TINY)
    assert "other/small: 2 ok; 2 run now." in run("--results", "other").out


def test_what_cannot_be_published_is_one_sentence(run, bnsbench, tmp_path):
    run("--solver", "steps,raises")
    done = bnsbench("publish", "runs/small", "--plugin", TINY)
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "has 2 cells without a result, such as tiny_w0_raises_nfe2" in done.err
    assert not (tmp_path / "results").exists()
    assert bnsbench("publish", "runs/small", "--plugin", TINY, "--allow-failed").code == 0
    run()
    refused = bnsbench("publish", "runs/small", "--plugin", TINY)
    assert (refused.code, "results/small holds 2 records that runs/small does not" in refused.err) == (2, True)
    done = bnsbench("publish", "runs/small", "--plugin", TINY, "--replace")
    assert done.out == "results/small: 2 records published, in place of 4 (2 as before, 2 dropped).\n"
