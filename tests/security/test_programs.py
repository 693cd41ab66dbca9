"""Exported networks run only where the very file has been allowed, and local plugins only where somebody is told."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from pathlib import Path

import pytest

import bnsbench
from bnsbench.contract import PluginHost
from bnsbench.contract.programs import allowed_programs, digests_of, programs_allowed, read_program
from bnsbench.errors import UsageError
from tests.security.payloads import LENGTH, exported, saved
from tests.security.ways import command, results

PLUGIN = f"""
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import ModelSpec

@hookimpl
def bnsbench_models():
    yield ModelSpec("sounds", ":make", "Sounds that a mixture makes.", modality="audio")

def make():
    from bnsbench import Model
    from bnsbench.paths import CondOT

    class Sounds(Model):
        path, shape, sample_rate = CondOT(), ({LENGTH},), 16_000

        def predict(self, t, x, condition):
            return -x

        def fingerprint(self):
            return "sounds"

    return Sounds()
"""


def test_a_program_is_read_only_if_its_content_is_allowed(tmp_path):
    file = tmp_path / "network.pt2"
    file.write_bytes(b"one")
    allowed = digests_of([file])
    assert read_program(file, allowed).read() == b"one"
    assert read_program(file, None).read() == b"one"
    file.write_bytes(b"two")
    for digests in (allowed, frozenset()):
        with pytest.raises(UsageError, match=r"network\.pt2' is a program, which may do anything .* --allow-program FILE"):
            read_program(file, digests)
    with pytest.raises(UsageError, match=r"absent\.pt2' cannot be read: No such file"):
        digests_of([tmp_path / "absent.pt2"])


def test_components_take_what_is_allowed_from_their_host_alone(tmp_path):
    file = exported(tmp_path / "network.pt2")
    selector = f"fad[network={file},minimum=2]"
    digests = digests_of([file])
    assert allowed_programs() is None
    with programs_allowed(digests), pytest.raises(UsageError, match="is a program"):
        PluginHost.load().metric(selector).make()
    host = PluginHost.load(programs=digests)
    assert host.metric(selector).make().weights == str(file)
    again = pickle.loads(pickle.dumps(host))  # noqa: S301 (as worker processes get it)
    assert again.metric(selector).make().weights == str(file)
    assert allowed_programs() is None
    file.write_bytes(saved({}))
    for each in (host, again):
        with pytest.raises(UsageError, match="is a program"):
            each.metric(selector).make()


@pytest.fixture
def suite(tmp_path):
    """A suite with a network, in a folder of its own."""
    exported(tmp_path / "network.pt2")
    (tmp_path / "sounds.py").write_text(PLUGIN)
    text = 'nfe = [1]\nsamples = 4\nsolvers = ["euler", "ab2"]\nmetrics = ["fad-gt[network=network.pt2,minimum=4]"]\n'
    (tmp_path / "s.toml").write_text(f'{text}[[models]]\nname = "sounds"\ntolerance = 1e-2\n')
    return tmp_path


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_a_run_may_be_allowed_a_program(suite, executor):
    words = ["run", "s.toml", "--plugin", "sounds.py", "--executor", executor, "--results", ".", "--quiet"]
    refused = command(suite, *words)
    assert "network.pt2' is a program" in refused
    assert not (suite / "s" / "cells").exists()
    allowed = command(suite, *words, "--allow-program", "network.pt2")
    assert "s: 2 ok" in allowed, allowed
    left = command(suite, "verify", "s", "--plugin", "sounds.py", "--quiet")
    assert "The results name 'network.pt2'" in left
    assert "--allow-file network.pt2" in left
    only_read = command(suite, "verify", "s", "--plugin", "sounds.py", "--quiet", "--allow-file", "network.pt2")
    assert "is a program" in only_read
    run = command(suite, "verify", "s", "--plugin", "sounds.py", "--quiet", "--allow-program", "network.pt2")
    assert "2 cells run again agree" in run, run


def test_python_allows_it_by_name(suite):
    with contextlib.chdir(suite):
        with pytest.raises(UsageError, match="allow_programs="):
            bnsbench.run("s.toml", plugins=["sounds.py"], results=".")
        frame = bnsbench.run("s.toml", plugins=["sounds.py"], results=".", allow_programs=["network.pt2"])
    assert frame["status"].tolist() == ["ok", "ok"]


LOCAL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"


@pytest.mark.usefixtures("plugins_allowed")
@pytest.mark.parametrize("line", ["list metrics", "plugins", "doctor", "solver show euler --nfe 2", "run quick --dry-run"])
def test_one_line_says_which_local_plugin_is_loaded(tmp_path, line, capfd):
    (tmp_path / "bnsbench_local.py").write_text(LOCAL)
    told = command(tmp_path, *line.split())
    assert told.count(f"Loading the local plugin {tmp_path / 'bnsbench_local.py'}.\n") == 1
    assert (tmp_path / "ran").exists()


@pytest.mark.usefixtures("plugins_allowed")
def test_nothing_is_said_where_there_is_none_or_it_is_not_allowed(tmp_path, monkeypatch):
    assert "Loading" not in command(tmp_path, "plugins")
    (tmp_path / "bnsbench_local.py").write_text(LOCAL)
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")
    assert "Loading" not in command(tmp_path, "plugins")
    assert not (tmp_path / "ran").exists()


@pytest.mark.usefixtures("plugins_allowed")
def test_python_logs_which_local_plugin_is_loaded(tmp_path, caplog):
    (tmp_path / "bnsbench_local.py").write_text(LOCAL)
    with contextlib.chdir(tmp_path), caplog.at_level(logging.WARNING, "bnsbench"):
        bnsbench.solver("euler", nfe=2)
    assert caplog.messages == [f"Loading the local plugin {tmp_path / 'bnsbench_local.py'}."]


@pytest.mark.usefixtures("plugins_allowed")
def test_results_are_read_with_a_local_plugin_that_is_given(tmp_path):
    store = results(tmp_path)
    (store / "bnsbench_local.py").write_text(LOCAL)
    command(tmp_path, "leaderboard", "s", "--format", "markdown", "--plugin", "s/bnsbench_local.py")
    assert (store / "ran").exists()


ASKS = """
import os
from pathlib import Path
from bnsbench.plugin import MetricSpec, hookimpl

@hookimpl
def bnsbench_metrics():
    yield MetricSpec("asks", ":make", "Asks for a checkpoint of the hub.")

def make():
    from bnsbench.metrics.image import Psnr

    Path(__file__).with_name("asked").write_text(str(os.environ.get("HF_HUB_OFFLINE")))
    return Psnr()
"""


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("0", "0")])
def test_verify_fetches_nothing_unless_the_environment_says_so(tmp_path, monkeypatch, given, found):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if given is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", given)
    (tmp_path / "asks.py").write_text(ASKS)
    text = 'nfe = [1]\nsamples = 2\nsolvers = ["euler"]\nmetrics = ["asks"]\n[[models]]\nname = "ring8"\ntolerance = 1e-2\n'
    (tmp_path / "s.toml").write_text(text)
    command(tmp_path, "run", "s.toml", "--plugin", "asks.py", "--executor", "local", "--results", ".", "--quiet")
    assert (tmp_path / "asked").read_text() == str(given)
    assert "1 cells run again agree" in command(tmp_path, "verify", "s", "--plugin", "asks.py", "--quiet")
    assert (tmp_path / "asked").read_text() == found
    assert os.environ.get("HF_HUB_OFFLINE") == given


def test_verify_reads_what_is_allowed_and_nothing_else(tmp_path):
    (tmp_path / "data").mkdir()
    results(tmp_path, "fid[data=data/real.npz,minimum=2]", "textures")
    (tmp_path / "data" / "real.npz").write_bytes(b"no archive")
    told = command(tmp_path, "verify", "s", "--cells", "1", "--quiet")
    assert "The results name 'data/real.npz' (data of fid[data=data/real.npz,minimum=2])" in told
    for allowed in ("data/real.npz", "data", str(tmp_path), str(Path(tmp_path, "data"))):
        assert "The results name" not in command(tmp_path, "verify", "s", "--cells", "1", "--quiet", "--allow-file", allowed)
    assert "The results name" not in command(tmp_path, "verify", "s", "--cells", "0")
