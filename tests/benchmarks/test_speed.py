"""The benchmark of steps runs, and every sampler in it spends what the others do."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from bnsbench.api import speed as measuring
from tests.benchmarks import speed


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "ROUND", 1e-4)
    monkeypatch.setattr(measuring, "SHAPES", ((2, 3, 4, 4),))


@pytest.mark.filterwarnings("ignore")  # of other libraries
def test_it_is_measured_in_one_command(tmp_path: Path) -> None:
    speed.main(["--output", str(tmp_path), "--rounds", "2"])
    frame = pd.read_csv(tmp_path / "steps.csv")
    assert {"-", "bnsbench", "torchdiffeq"} <= set(frame["package"])
    assert (frame["microseconds"] > 0).all()
    assert frame["times the loop"].iloc[0] == 1.0
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "take turns" in page
    assert "torch" in page


@pytest.mark.filterwarnings("ignore")
def test_euler_is_euler_in_every_library() -> None:
    x0, velocity = torch.randn(2, 3), torch.randn(2, 3)
    found = {name: sampler(x0.clone()) for _, name, sampler in speed.samplers(velocity)}
    for name in ("a loop of x + h u", "table of euler", "odeint, euler"):
        torch.testing.assert_close(found[name], x0 + velocity)
