"""The nodes against a stand-in of ComfyUI's interface, on exact models."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import bnsbench
from bnsbench.export.files import plain_json
from bnsbench.flows.predictions import to_data
from bnsbench.models.mixtures import Mixture, MixtureModel
from bnsbench.paths import EDM, VP, CondOT, Cosine

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
def _comfy(monkeypatch):
    samplers = ModuleType("comfy.samplers")
    samplers.KSAMPLER = KSampler
    comfy = ModuleType("comfy")
    comfy.samplers = samplers
    monkeypatch.setitem(sys.modules, "comfy", comfy)
    monkeypatch.setitem(sys.modules, "comfy.samplers", samplers)


def exact(path):
    places = torch.tensor([[0.5, -0.5], [-0.7, 0.1]], dtype=torch.float64)
    widths = 0.3 * torch.eye(2).double().expand(2, -1, -1)
    return MixtureModel(Mixture(torch.tensor([0.5, 0.5], dtype=torch.float64), places, widths), path, (2,))


def artefact(path, interval=(0.0, 1.0), nfe=5):
    table = bnsbench.solver("dpm++2m", nfe, path=path, interval=interval)
    return bnsbench.SolverArtefact(table, path, interval, "mine", "abc", 2.0, "bns")


def exported(folder, *words, **more):
    return plain_json(artefact(*words, **more), folder)


@pytest.mark.parametrize(
    ("path", "interval"),
    [(CondOT(), (0.0, 1.0)), (VP(), (0.0, 0.999)), (EDM(0.01, 20), (0.0, 1.0))],
    ids=lambda each: str(each)[:3],
)
@pytest.mark.parametrize("pasted", [True, False])
def test_a_table_samples_as_the_engine_does(nodes, path, interval, pasted, tmp_path):
    made, model, flow = artefact(path, interval), exact(path), isinstance(path, CondOT)
    file = plain_json(made, tmp_path)
    sampler, sigmas = nodes["BNSTable"]().load(file.read_text() if pasted else str(file))
    steps = []

    def denoiser(y, sigma, model_options, seed, denoise_mask):
        del model_options, seed, denoise_mask
        t = 1 - sigma[0].double() if flow else path.time(-math.log(float(sigma[0])))
        x = y if flow else y * path.alpha(t)
        return to_data(path, t, x, model.predict(t, x, None))

    noise = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = sampler.sample(denoiser, sigmas.double(), noise, Sampling(flow), steps.append)
    x0 = noise * float(path.sigma(interval[0]))
    expected = made.solver(model.field(None), x0) / (1 if flow else float(path.alpha(interval[1])))
    # ComfyUI's full noise is sqrt(1 + sigma^2) wide, and ours sigma.
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)
    assert [step["i"] for step in steps] == list(range(5))
    assert {"x", "sigma", "sigma_hat", "denoised"} <= set(steps[0])


def test_what_it_is_for(nodes, tmp_path):
    about, steps, cfg = nodes["BNSInfo"]().tell(exported(tmp_path, CondOT()).read_text())
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
def test_what_it_cannot_do_is_told(nodes, sigmas, mask, said, tmp_path):
    sampler, _ = nodes["BNSTable"]().load(exported(tmp_path, CondOT()).read_text())
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


def test_a_path_without_such_numbers_says_why(nodes, tmp_path):
    file = exported(tmp_path, Cosine(), (0.0, 0.999), 4)
    assert json.loads(file.read_text())["denoised"] is None
    with pytest.raises(ValueError, match="no data at all"):
        nodes["BNSTable"]().load(file.read_text())


def test_nothing_but_torch_is_imported():
    text = (FOLDER / "nodes.py").read_text() + (FOLDER / "__init__.py").read_text()
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.strip().startswith(("import ", "from "))}
    assert imported <= {"json", "math", "pathlib", "torch", "comfy", ""}
