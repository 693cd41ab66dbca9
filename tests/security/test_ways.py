"""No file of a stranger runs a program: every way that we know is tried, and every payload is one that works."""

from __future__ import annotations

import contextlib
import pickle
import warnings

import pytest
import torch

from tests.security import payloads
from tests.security.ways import NETWORKS, WAYS, WEIGHTS

PICKLES = [payloads.global_pickle, payloads.pickled, payloads.stack_pickle, payloads.inst_pickle]


@pytest.mark.usefixtures("plugins_allowed")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", WAYS)
def test_nothing_runs(name, tmp_path):
    folder = tmp_path / "way"
    folder.mkdir()
    mark = tmp_path / "mark"
    WAYS[name](folder, mark)
    assert not mark.exists()


def test_there_are_many_ways():
    assert len(WAYS) >= 60


@pytest.mark.parametrize("write", PICKLES, ids=lambda write: write.__name__)
def test_a_careless_reader_runs_the_pickles(write, tmp_path):
    pickle.loads(write(tmp_path / "mark"))  # noqa: S301 (our own)
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name.startswith("torch.save")])
def test_torch_runs_the_weights_if_it_is_asked_to(name, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(WEIGHTS[name](tmp_path / "mark"))
    torch.load(file, weights_only=False)
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "a compiled library"])
def test_torch_runs_what_is_in_exported_networks(name, tmp_path):
    """Which is why they are programs, whatever is looked at in them."""
    file = payloads.exported(tmp_path / "network.pt2")
    NETWORKS[name](file, tmp_path / "mark")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Exception):  # what it ran has run by then
            torch.export.load(file)
    assert (tmp_path / "mark").exists()
