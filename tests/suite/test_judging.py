from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsbench.contract import PluginHost
from bnsbench.process.machine import cache_folder
from bnsbench.suite.context import CellContext, Job, OverwrittenError
from bnsbench.suite.judging import JudgedSamples, untouched
from bnsbench.suite.plan import make_plan
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import override, read_suite


@pytest.fixture
def context(host, tmp_path):
    return CellContext(Job(host, ResultStore(tmp_path / "out"), cache_folder(), batch=16, threads=1))


@pytest.fixture
def cell(suite_file, host):
    suite = override(read_suite(suite_file), models=["tiny"], guidance=[1.0], solvers=["steps"], nfe=[2])
    return make_plan(suite, host)[0]


def shared(state):
    """Return what can be written into, by what it is called."""
    pairs = state.test_pairs(40)
    return {
        "the model": state.model._means,
        "the initial noise": pairs.x0,
        "the ground truth": pairs.x1,
        "the conditions": pairs.field.condition,
        "the decoded ground truth": state.decoded_truth(40, 16),
    }


SHARED = ["the model", "the initial noise", "the ground truth", "the conditions", "the decoded ground truth"]


def spoil(state, name):
    shared(state)[name].data.mul_(0)
    raise ZeroDivisionError("whatever else happens")


@pytest.mark.parametrize("name", SHARED)
def test_what_has_been_overwritten_is_named_and_made_anew(context, cell, name):
    state = context.field_state(cell)
    before = {key: tensor.clone() for key, tensor in shared(state).items()}
    with untouched(cell, context, state):
        pass
    with pytest.raises(OverwrittenError, match=f"it has overwritten {name}: "), untouched(cell, context, state):
        spoil(state, name)
    assert context.field_state(cell) is not state
    after = shared(context.field_state(cell))
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())


def test_a_model_that_its_plugin_hands_out_again_is_not_used_again(context, cell, monkeypatch):
    state = context.field_state(cell)
    state.test_pairs(cell.samples)
    selection = type("Same", (), {"make": lambda self: state.model, "spec": context.job.host.model("tiny").spec})()
    with pytest.raises(OverwrittenError), untouched(cell, context, state):
        state.model._means.data.mul_(0)
    monkeypatch.setattr(PluginHost, "model", lambda self, name: selection)
    with pytest.raises(Exception, match="an earlier cell of this process has overwritten the model tiny"):
        context.field_state(cell)


def test_metrics_see_the_samples_as_they_are_and_tell_of_their_files(context, cell, tmp_path):
    x = torch.randn(40, 2, dtype=torch.float64)
    judged = JudgedSamples(cell, context, x)
    assert torch.equal(judged.samples.latents, x)
    assert judged.samples.latents.data_ptr() != x.data_ptr()

    def metric():
        return judged.metric(cell.metrics[0])

    assert metric().fingerprint() == ""
    (tmp_path / "data.txt").write_text("2")
    host = PluginHost.load([Path(__file__).parent / "changing_plugin.py"])
    made = host.metric(f"scaled[data={tmp_path / 'data.txt'}]").make()
    context._metrics[cell.metrics[0].selector] = made
    assert metric().fingerprint() == made.fingerprint() != ""
    assert metric()(None).value == pytest.approx(2 * float(x.std()))
