"""The benchmark of the runner runs, and accounts for all of its time."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.benchmarks import efficiency, speed


def test_a_run_is_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficiency, "SECONDS", 1e-4)
    words = ["--output", str(tmp_path), "--solvers", "euler", "ab2", "--nfe", "2", "--samples", "16"]
    efficiency.main(words)
    frame = pd.read_csv(tmp_path / "efficiency.csv").set_index("phase")
    assert {"truth", "sampling", "metrics", "all"} <= set(frame.index)
    assert frame["seconds"]["all"] == pytest.approx(frame["seconds"].drop("all").sum(), rel=1e-2)
    assert 0 < frame["share"]["all"] < frame["share"]["sampling"] <= 1
    assert frame["processor"]["all"] > 0
    assert "| truth" in speed.efficiency(tmp_path / "efficiency.csv")


def test_the_network_waits_and_is_exact() -> None:
    model = efficiency.Waiting()
    x, t = torch.randn(3, 1, 16, 16), torch.tensor(0.3, dtype=torch.float64)
    h = 1e-4
    spread = [float((at**2 / 4 + (1 - at) ** 2) ** 0.5) for at in (0.3 - h, 0.3, 0.3 + h)]
    expected = (spread[2] - spread[0]) / (2 * h) / spread[1] * x
    torch.testing.assert_close(model.predict(t, x, None), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.predict(t.expand(3), x, None), expected, rtol=1e-5, atol=1e-6)
