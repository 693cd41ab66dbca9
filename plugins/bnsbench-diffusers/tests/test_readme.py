"""The README's first section, command by command as it is printed, and what its scheduler makes in the pipeline."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from bnsbench.plugin import SolverArtefact
from bnsbench_diffusers.models.registry import diffusers_model
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## From a pipeline to a better scheduler")[2].partition("\n## ")[0]


def programs() -> list[list[str]]:
    """The indented commands and the fenced program, in their order."""
    found = []
    for block in re.finditer(r"((?:^    [^\n]*\n)+)|```python\n(.*?)```", SECTION, re.M | re.S):
        if block[2]:
            found.append([sys.executable, "-c", block[2]])
        else:
            lines = block[1].replace("\\\n", " ").splitlines()
            found += [_with_this_python(shlex.split(line)) for line in lines]
    return found


def _with_this_python(words: list[str]) -> list[str]:
    return [sys.executable, *({"python": [], "bnsbench": ["-m", "bnsbench"]}[words[0]]), *words[1:]]


@pytest.mark.timeout(900)
def test_the_first_section(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path / "cache"))
    printed = []
    for words in programs():
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert len(printed) == 5
    assert "5 ok; 5 run now" in printed[1]
    assert (tmp_path / "image.png").stat().st_size > 0
    pipe, noise = DiffusionPipeline.from_pretrained("PIPELINE"), torch.Generator().manual_seed(3)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = NonStationaryScheduler.from_pretrained("SCHEDULER")
    images = pipe(batch_size=2, generator=noise, num_inference_steps=5, output_type="np").images
    model, artefact = diffusers_model("PIPELINE"), SolverArtefact.load(tmp_path / "bns5.json")
    with torch.no_grad():
        end = artefact.solver(model.field(None), torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3)))
    expected = (model.decode(end) / 2 + 0.5).permute(0, 2, 3, 1)
    torch.testing.assert_close(torch.from_numpy(images), expected, rtol=0, atol=1e-5)
