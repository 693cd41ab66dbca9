"""``bnsbench list``."""

from __future__ import annotations

import json

import pytest

from bnsbench.contract import PluginHost

KINDS = ["models", "solvers", "metrics", "suites", "exporters", "executors", "reports"]


@pytest.mark.parametrize("kind", KINDS)
def test_json_has_every_record(bnsbench, kind):
    listed = json.loads(bnsbench("list", kind, "--json").out)
    assert [entry["name"] for entry in listed] == [record.name for record in getattr(PluginHost.load(), kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_pipes_get_one_plain_line_per_record(bnsbench, kind):
    lines = bnsbench("list", kind).out.splitlines()
    records = getattr(PluginHost.load(), kind)
    assert [line.split()[0] for line in lines] == ["name", *(record.name for record in records)]
    assert all(line.isascii() and "\x1b" not in line for line in lines)


def test_without_a_kind_everything_is_listed(bnsbench):
    everything = json.loads(bnsbench("list", "--json").out)
    assert list(everything) == KINDS
    host = PluginHost.load()
    for kind in KINDS:
        assert [entry["name"] for entry in everything[kind]] == [record.name for record in getattr(host, kind)]
    lines = bnsbench("list").out.splitlines()
    assert [line for line in lines if line in KINDS] == KINDS


def test_terminals_get_a_drawn_table(bnsbench, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "─" in bnsbench("list", "metrics").out


@pytest.mark.usefixtures("plugins_allowed")
def test_local_plugin(bnsbench, tmp_path):
    (tmp_path / "bnsbench_local.py").write_text(
        "from bnsbench.contract.hookspecs import hookimpl\nfrom bnsbench.contract.specs import MetricSpec\n"
        "@hookimpl\ndef bnsbench_metrics():\n    yield MetricSpec('mine', ':mine')\n"
    )
    assert "mine" in bnsbench("list", "metrics").out


def test_problems_go_to_stderr(bnsbench, tmp_path):
    (tmp_path / "bad.py").write_text("import nowhere_at_all")
    done = bnsbench("list", "metrics", "--plugin", "bad.py")
    assert done.code == 0
    assert "psnr" in done.out
    assert "Plugin bad has a problem: it could not be loaded: ModuleNotFoundError" in done.err
