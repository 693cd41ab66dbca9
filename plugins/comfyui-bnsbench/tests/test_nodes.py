"""The nodes against a stand-in of ComfyUI's interface, on exact models."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import bnsbench
from bnsbench.paths import EDM, VP, CondOT, Cosine
from bnsbench.plugin import to_velocity

FOLDER = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def nodes():
    """The folder, loaded as ComfyUI loads those in custom_nodes: by its path."""
    name = "custom_nodes_bns"
    spec = importlib.util.spec_from_file_location(name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module.NODE_CLASS_MAPPINGS
    for each in [each for each in sys.modules if each.startswith(name)]:
        del sys.modules[each]


class Sampling:
    """How a kind of models scales noise: flows, and data + sigma noise with its full noise at the start."""

    def __init__(self, flow):
        self.flow = flow

    def scaled(self, sigma, noise):
        return sigma * noise if self.flow else noise * (1 + sigma**2) ** 0.5

    def unscaled(self, sigma, x):
        return x / (1 - sigma) if self.flow else x


class KSampler:
    """What is called in ComfyUI: it scales noise, runs the function, and undoes the scale."""

    def __init__(self, function):
        self.function = function

    def sample(self, denoiser, sigmas, noise, sampling, callback=None, mask=None):
        x = sampling.scaled(sigmas[0], noise)
        more = {"model_options": {}, "seed": 0, "denoise_mask": mask}
        found = self.function(denoiser, x, sigmas, extra_args=more, callback=callback, disable=True)
        return sampling.unscaled(sigmas[-1], found)


@pytest.fixture(autouse=True)
def _without_plugins(monkeypatch):
    """Other plugins may be broken, as one that is installed for tests is."""
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")


@pytest.fixture(autouse=True)
def _comfy(monkeypatch):
    samplers = ModuleType("comfy.samplers")
    samplers.KSAMPLER = KSampler
    comfy = ModuleType("comfy")
    comfy.samplers = samplers
    monkeypatch.setitem(sys.modules, "comfy", comfy)
    monkeypatch.setitem(sys.modules, "comfy.samplers", samplers)


PLACES = torch.tensor([[0.5, -0.5], [-0.7, 0.1]], dtype=torch.float64)
WIDTH = 0.3


def denoised(x, alpha, sigma):
    """The mean of the data given x = alpha data + sigma noise, for two round Gaussians: the mean of each, weighed."""
    variance = (alpha * WIDTH) ** 2 + sigma**2
    gaps = x[:, None] - alpha * PLACES
    weights = (-gaps.square().sum(-1) / (2 * variance)).softmax(1)
    return (weights[..., None] * (PLACES + alpha * WIDTH**2 / variance * gaps)).sum(1)


def velocity(path, t, x):
    return to_velocity(path, "x", t, x, denoised(x, path.alpha(t), path.sigma(t)))


def artefact(path, interval=(0.0, 1.0), nfe=5):
    table = bnsbench.solver("dpm++2m", nfe, path=path, interval=interval)
    return bnsbench.SolverArtefact(table, path, interval, "mine", "abc", 2.0, "bns")


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """Write a solver as JSON by the command, and return the file."""

    def write(made):
        made.save(tmp_path / "solver.json")
        monkeypatch.setattr(
            sys, "argv", ["bnsbench", "solver", "export", str(tmp_path / "solver.json"), str(tmp_path / "out")]
        )
        sys.argv += ["--to", "json"]
        with pytest.raises(SystemExit) as end:
            runpy.run_module("bnsbench", run_name="__main__")
        assert not end.value.code
        (file,) = (tmp_path / "out").iterdir()
        return file

    return write


@pytest.mark.parametrize(
    ("path", "interval"),
    [(CondOT(), (0.0, 1.0)), (VP(), (0.0, 0.999)), (EDM(0.01, 20), (0.0, 1.0))],
    ids=lambda each: str(each)[:3],
)
@pytest.mark.parametrize("pasted", [True, False])
def test_a_table_samples_as_the_engine_does(nodes, path, interval, pasted, exported):
    made, flow = artefact(path, interval), isinstance(path, CondOT)
    file = exported(made)
    sampler, sigmas = nodes["BNSTable"]().load(file.read_text() if pasted else str(file))
    steps = []

    def denoiser(y, sigma, model_options, seed, denoise_mask):
        del model_options, seed, denoise_mask
        # Of a flow y = (1 - sigma) data + sigma noise, else y = data + sigma noise.
        level = sigma[0].double()
        return denoised(y, 1 - level if flow else 1.0, level)

    noise = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = sampler.sample(denoiser, sigmas.double(), noise, Sampling(flow), steps.append)
    x0 = noise * float(path.sigma(interval[0]))
    expected = made.solver(lambda t, x: velocity(path, t, x), x0) / (1 if flow else float(path.alpha(interval[1])))
    # ComfyUI's full noise is sqrt(1 + sigma^2) wide, and ours sigma.
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)
    assert [step["i"] for step in steps] == list(range(5))
    assert {"x", "sigma", "sigma_hat", "denoised"} <= set(steps[0])


def test_what_it_is_for(nodes, exported):
    about, steps, cfg = nodes["BNSInfo"]().tell(exported(artefact(CondOT())).read_text())
    assert about.startswith("bns at 5 NFE for mine, on the path condot.")
    assert (steps, cfg) == (5, 3.0)


@pytest.mark.parametrize(
    ("sigmas", "mask", "said"),
    [
        (torch.linspace(1, 0, 9), None, "takes exactly 5 steps, not 8"),
        (torch.linspace(0.6, 0, 6), None, "begins at pure noise, sigma = 1, not at 0.6"),
        (torch.linspace(1, 0, 6), torch.ones(1), "fills no gaps"),
    ],
)
def test_what_it_cannot_do_is_told(nodes, sigmas, mask, said, exported):
    sampler, _ = nodes["BNSTable"]().load(exported(artefact(CondOT())).read_text())
    with pytest.raises(ValueError, match=said):
        sampler.sample(None, sigmas, torch.zeros(1, 2), Sampling(True), mask=mask)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Paste a table"),
        ("{", "This is no JSON"),
        ("{" * 5000, "This is no JSON"),
        ("nowhere.json", "cannot be read"),
        ("{}", "no table for a denoiser. Write one by"),
        (json.dumps({"denoised": {"sigmas": [1, 0], "rows": []}}), "one sigma more than it has rows"),
        (json.dumps({"denoised": {"sigmas": [1, 0], "rows": [[1]]}}), "row i needs i"),
        (json.dumps({"denoised": {"sigmas": [1, True], "rows": [[1, 2]]}}), "one sigma more"),
        ('{"denoised": {"sigmas": [1, NaN], "rows": [[1, 2]]}}', "one sigma more"),
        ("{" + " " * 2_000_000 + "}", "too long"),
    ],
)
def test_texts_that_are_no_table(nodes, text, said):
    with pytest.raises(ValueError, match=said):
        nodes["BNSTable"]().load(text)


def test_a_path_without_such_numbers_says_why(nodes, exported):
    file = exported(artefact(Cosine(), (0.0, 0.999), 4))
    assert json.loads(file.read_text())["denoised"] is None
    with pytest.raises(ValueError, match="no data at all"):
        nodes["BNSTable"]().load(file.read_text())


def test_nothing_but_torch_is_imported():
    text = (FOLDER / "nodes.py").read_text() + (FOLDER / "__init__.py").read_text()
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.strip().startswith(("import ", "from "))}
    assert imported <= {"json", "math", "pathlib", "torch", "comfy", ""}
