"""The benchmark of a GPU runs, on small networks and a CPU."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.benchmarks import gpu
from tests.benchmarks.training import memory


def test_everything_is_measured_in_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--tiny", "--output", str(tmp_path)]) == 0
    assert "No fault found." in capsys.readouterr().out
    tables = {name: pd.read_csv(tmp_path / f"{name}.csv") for name in gpu.PARTS}
    assert (tables["engine"]["microseconds"] > 0).all()
    assert tables["synchronisation"]["waited"].isna().all()
    assert not tables["synchronisation"]["checked"].any()  # there is nothing to wait for
    assert list(tables["large"]["derivative"]) == list(memory.KINDS)
    assert (tables["large"][["milliseconds", "iteration", "peak", "hours"]] > 0).all(axis=None)
    assert "note" not in tables["large"]
    assert (tables["agreement"]["difference"] == 0).all()
    assert tables["agreement"]["close"].all()
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert all(f"## {name}" in page for name in gpu.PARTS)


def test_devices_that_disagree_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"model": "ring8", "guidance": 0.0, "nfe": 4}
    cells = [("euler", 30.0, 30.06), ("ab2", 30.0, 30.04), ("bns", 40.0, 41.0)]

    def run(suite: str, *, device: str, **more: object) -> pd.DataFrame:
        return pd.DataFrame(
            [{**keys, "solver": name, "psnr": cpu if device == "cpu" else other} for name, cpu, other in cells]
        )

    monkeypatch.setattr("bnsbench.run", run)
    frame = gpu.agreement(gpu.Job("cuda", tiny=True, output=tmp_path))
    assert list(frame["close"]) == [False, True, "trained on each"]
    monkeypatch.setattr(gpu, "PARTS", {"agreement": lambda job: frame})
    assert gpu.main(["--device", "cpu", "--tiny", "--output", str(tmp_path)]) == 1


def test_what_is_over_the_time_says_so(tmp_path: Path) -> None:
    job = gpu.Job("cpu", tiny=True, output=tmp_path, began=-1e9)
    assert list(gpu.large(job)["note"]) == ["left out for want of time"]
