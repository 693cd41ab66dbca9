"""The checks of metrics: each finds its own fault and nothing else, and built-in metrics pass all."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsbench.plugins import PluginHost
from bnsbench.testing import check_metric

FAULTS = {
    "unit": ("unit", "Its unit ' dB' cannot be shown."),
    "runs": ("runs", "It returns a float."),
    "never": ("runs", "It applies to no model that it was tried on. ring8: it is for something else digits-gmm: "),
    "infinite": ("finite", "For perfect samples its value is -inf."),
    "interval": ("finite", "lies outside of its interval"),
    "direction": ("direction", "Perfect samples score 0, noisy ones "),
    "deterministic": ("deterministic", "Two runs on the same input differ."),
    "per-sample": ("per sample", "It has 255 values for 256 samples."),
    "no-mean": ("per sample", "the mean of its values per sample"),
    "batch-size": ("batch size", "A sample's value depends on the other samples."),
    "not-finite": ("not finite", "Samples that are not finite get the value nan."),
    "another-error": ("not finite", "Samples that are not finite are refused by UsageError, not DivergedError."),
    "input": ("input", "It overwrites the samples that it judges."),
    "moves-state": ("random state", "It moves the global random state of torch."),
    "needs-state": ("random state", "Its results depend on the global random state."),
}


@pytest.fixture(autouse=True)
def _quick(in_this_process):
    pass


@pytest.fixture(scope="module")
def host():
    return PluginHost.load([Path(__file__).parent / "faulty_metrics.py"])


@pytest.mark.parametrize("metric", FAULTS)
def test_each_fault_is_found_by_its_check_alone(host, metric):
    name, said = FAULTS[metric]
    [fault] = check_metric(metric, host=host).failures
    assert fault.name == name
    assert said in fault.finding
    assert fault.remedy.endswith(".")


def test_a_direction_that_there_is_not(host):
    assert "unit" in [fault.name for fault in check_metric("units", host=host).failures]


@pytest.mark.parametrize("metric", ["sound", "images"])
def test_sound_metrics_pass(host, metric):
    assert {result.status for result in check_metric(metric, host=host).results} == {"passed"}


def test_the_model_can_be_named(host):
    [fault] = check_metric("images", on="ring8", host=host).failures
    assert (fault.name, fault.finding) == (
        "runs",
        "It applies to no model that it was tried on. ring8: it is for something else",
    )


def test_a_measure_of_variety_may_like_noise(host):
    found = {result.name: result for result in check_metric("variety", host=host).results}
    assert found["direction"].status == "hint"
    assert {result.status for name, result in found.items() if name not in ("direction", "per sample", "batch size")} == {
        "passed"
    }


@pytest.mark.parametrize("metric", ["psnr", "ssim", "fid-gt", "accuracy", "word-accuracy", "snr"])
def test_built_in_metrics_pass(host, metric):
    found = check_metric(metric, host=host)
    assert {result.status for result in found.results} <= {"passed", "not applicable"}
    assert [result.name for result in found.results if result.status == "not applicable"] == (
        ["per sample", "batch size"] if metric == "fid-gt" else []
    )
