"""The survey of schedulers, of which the README shows the output."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsbench_diffusers.schedulers.survey import rows

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["DDIM", "CosineDPMSolverMultistep", "FlowMatchHeunDiscrete", "DDPM", "IPNDM", "DDIMInverse"]
)
def test_the_readme_says_what_it_finds(name):
    [(_, diffusion, flow)] = rows([name])
    assert f"| `{name}` | {diffusion} | {flow} |" in README
