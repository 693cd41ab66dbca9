"""The same mixture told on every path: which paths there are, and that solvers and training work on them all."""

from __future__ import annotations

import importlib
import pickle
from functools import cache, partial

import pytest
import torch

from bnsbench.contract.host import PluginHost
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP
from bnsbench.models.mixtures import MixtureModel, aniso5, mixture_path, ring8
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.dpm_solver_pp import dpm_solver_pp_2m
from bnsbench.solvers.edm import edm_heun
from bnsbench.solvers.specs import SOLVERS
from bnsbench.training.problem import Effort, Problem
from bnsbench.training.recipes.bns import train_bns
from bnsbench.truth.pairs import Pairs, PairSource
from bnsbench.truth.psnr import psnr_per_sample

VARIANCE_EXPLODING = ["edm", "ve"]


@pytest.mark.parametrize(
    ("text", "path", "end"),
    [
        ("condot", CondOT(), 1.0),
        ("cosine", Cosine(), 1.0),
        ("vp", VP(), 0.999),
        ("vp:0.2", VP(0.2, 20.0), 0.999464447),
        ("vp:10:10", VP(10.0, 10.0), 0.999989005),
        ("discrete-vp", DiscreteVP.linear(), 1.0),
        ("discrete-vp:0.001:0.03:100", DiscreteVP.linear(1e-3, 0.03, 100), 1.0),
        ("edm", EDM(0.002, 80.0), 1.0),
        ("edm:0.01:40", EDM(0.01, 40.0), 1.0),
        ("ve", VE(0.01, 50.0), 1.0),
        ("ve:0.002:80", VE(0.002, 80.0), 1.0),
    ],
)
def test_a_text_means_a_path_and_its_end(text, path, end):
    found, interval = mixture_path(text)
    assert found == path
    assert interval == pytest.approx((0.0, end), abs=1e-7)


@pytest.mark.parametrize("rates", ["vp", "vp:0.2", "vp:10:10", "vp:0.05:3"])
def test_variance_preserving_paths_all_end_at_one_level_of_noise(rates):
    path, (_, end) = mixture_path(rates)
    assert float(path.sigma(end)) == pytest.approx(float(VP().sigma(0.999)), rel=1e-4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("spiral", "not offered on the path 'spiral'; choose from condot, cosine, vp, discrete-vp, edm, ve"),
        ("condot:2", "'condot:2' has 1 numbers after its name, but condot takes none"),
        ("edm:1:2:3", "'edm:1:2:3' has 3 numbers after its name, but edm takes sigma_min and sigma_max"),
        ("ve:small", "'ve:small' has 'small' where a number is meant"),
        ("edm::80", "'edm::80' has '' where a number is meant"),
        ("edm:80:0.002", "0 <= sigma_min < sigma_max"),
        ("ve:0", "sigma_min above 0"),
        ("vp:20:0.1", "0 < beta_min <= beta_max"),
        ("vp:nan", "0 < beta_min <= beta_max"),
        ("discrete-vp:0.0001:0.02:10.5", "'discrete-vp:0.0001:0.02:10.5' cannot be made"),
        ("discrete-vp:0.0001:0.02:-3", "cannot be made"),
        ("discrete-vp:0.0001:0.02:1", "at least two"),
    ],
)
def test_a_text_that_means_no_path_is_one_clear_sentence(text, sentence):
    with pytest.raises(UsageError, match=sentence):
        ring8(text)


def test_a_selector_chooses_the_path():
    made = PluginHost.load().model("ring8[path=edm:0.01:40]").make()
    assert made.path == EDM(0.01, 40.0)


def told_as_condot(model: MixtureModel) -> MixtureModel:
    """Return the same mixture on CondOT from 1 / (1 + sigma_max) to 1 / (1 + sigma_min), where x = t y for y on the path."""
    other = MixtureModel(model.mixture, CondOT(), model.shape)
    begin, end = ((1 / (1 + model.path.sigma(t))).item() for t in model.interval)
    other.interval = begin, end
    return other


@pytest.mark.parametrize("path", VARIANCE_EXPLODING)
@pytest.mark.parametrize("nfe", [8, 18])
@pytest.mark.parametrize("rule", [partial(edm_heun, grid="edm"), partial(dpm_solver_pp_2m, grid="edm")], ids=["heun", "2m"])
def test_the_same_field_told_as_condot_has_the_same_samples(path, nfe, rule):
    model = ring8(path)
    other = told_as_condot(model)
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = []
    for told in (model, other):
        begin, end = told.interval
        found = rule(told.field(None), told.path.sigma(begin) * noise, nfe)
        ends.append(found / told.path.alpha(end))
    # Where the few steps overshoot, the samples lie far out, so that rounding is relative to them.
    torch.testing.assert_close(*ends, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", VARIANCE_EXPLODING)
def test_the_same_field_told_as_condot_has_the_same_truth(path):
    found = []
    for told in (ring8(path), told_as_condot(ring8(path))):
        pairs = PairSource(told, "ring8", tolerance=1e-9).pairs("test", 16)
        begin, end = told.interval
        found.append((pairs.x0 / told.path.alpha(begin), pairs.x1 / told.path.alpha(end)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-7)


def sampled(spec: SolverSpec, pairs: Pairs, nfe: int, grid: str) -> float:
    """Return the PSNR in dB of a solver by its table."""
    module, attribute = spec.target.split(":")
    rule = partial(getattr(importlib.import_module(module), attribute), **{**spec.parameters, "grid": grid})
    table = trace(lambda field, x0: rule(field, x0, nfe), pairs.field.path, pairs.field.interval)
    return float(psnr_per_sample(table(pairs.field, pairs.x0), pairs.x1, 2.0).mean())


@pytest.fixture(scope="module")
def pairs_on():
    """Pairs of the pinwheel on a path."""
    return cache(lambda path: PairSource(aniso5(path), "aniso5", tolerance=1e-6).pairs("test", 32))


@pytest.mark.parametrize("path", [*VARIANCE_EXPLODING, "vp:10:10"])
@pytest.mark.parametrize("spec", SOLVERS, ids=lambda spec: spec.name)
def test_every_solver_converges(pairs_on, spec, path):
    # Four times the steps give a rule of first order 12 dB, from where its first order shows.
    few, many = (sampled(spec, pairs_on(path), nfe, "logsnr") for nfe in ((96, 384) if spec.order == 1 else (24, 96)))
    assert many > max(few + 10, 25)


@pytest.mark.parametrize("path", VARIANCE_EXPLODING)
def test_the_noise_has_the_path_s_largest_level(pairs_on, path):
    pairs = pairs_on(path)
    assert float(pairs.x0.std()) == pytest.approx(float(pairs.field.path.sigma(0.0)), rel=0.3)
    assert float(pairs.x1.std()) == pytest.approx(float(aniso5().reference().samples.std()), rel=0.2)


@pytest.mark.parametrize("path", VARIANCE_EXPLODING)
def test_the_truth_is_far_more_exact_than_solvers_are(path):
    assert PairSource(ring8(path), "ring8", tolerance=1e-6).ceiling() > 110


@pytest.mark.parametrize("path", VARIANCE_EXPLODING)
def test_bns_trains_there_beyond_the_best_classic(pairs_on, path):
    source = PairSource(aniso5(path), "aniso5", tolerance=1e-5)
    table = train_bns(Problem(source, effort=Effort(validation=128)), 6, pairs=128, iterations=8, ladder="none").solver
    pairs = pairs_on(path)
    found = float(psnr_per_sample(table(pairs.field, pairs.x0), pairs.x1, 2.0).mean())
    able = [spec for spec in SOLVERS if spec.budgets.reason_against(6) is None]
    assert len(able) > 15
    assert found > 3 + max(sampled(spec, pairs, 6, grid) for spec in able for grid in ("edm", "logsnr", "uniform"))


def test_guidance_on_a_mixture_without_classes_is_refused_on_every_path():
    with pytest.raises(NotApplicableError, match="unconditional"):
        ring8("edm").field(None, 2.0)(torch.tensor(0.5, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))


OFFERED = """
from bnsbench.plugin import PathSpec, hookimpl


@hookimpl
def bnsbench_paths():
    yield PathSpec("power", ":power", "Begun more slowly.", parameters={"p": 2.0})
    yield PathSpec("vp", ":power", "One that hides no other.", parameters={"p": 2.0})
    yield PathSpec("backwards", ":backwards", "No path.")


def power(p):
    return lambda t: t**p, lambda t: 1 - t**p


def backwards():
    return lambda t: 1 - t, lambda t: t
"""


@pytest.fixture
def host(tmp_path):
    (tmp_path / "offered.py").write_text(OFFERED)
    return PluginHost.load([tmp_path / "offered.py"])


def test_a_path_that_a_plugin_offers(host):
    """The same mixture on alpha = t^3: its states are those of alpha = s at s = t^3."""
    model, plain = host.model("ring8[path=power:3]").make(), host.model("ring8").make()
    t, x = torch.tensor(0.6, dtype=torch.float64), torch.tensor([[0.3, -0.8]], dtype=torch.float64)
    moved, expected = model.field(None)(t, x), plain.field(None)(t**3, x) * 3 * t**2
    torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-8)
    assert model.interval == pytest.approx((1e-4 ** (1 / 3), 1.0), rel=1e-3)


def test_paths_of_plugins_stand_beside_the_built_in_ones(host):
    assert host.model("ring8[path=vp]").make().path == VP()
    assert pickle.loads(pickle.dumps(host)).paths == host.paths  # noqa: S301 (our own)
    with pytest.raises(UsageError, match=r"choose from condot, .* ve, backwards, power"):
        host.model("ring8[path=spiral]").make()
    with pytest.raises(UsageError, match="takes p"):
        host.model("ring8[path=power:1:2]").make()
    with pytest.raises(UsageError, match="run the other way"):
        host.model("ring8[path=backwards]").make()
    with pytest.raises(UsageError, match="not offered on the path 'power'"):
        mixture_path("power:3")
