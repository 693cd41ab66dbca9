"""The host: finding components by name, observers, cheap loading."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from tests.contract.offers import GOOD, HEADER, write


class TestNames:
    @pytest.fixture
    def host(self, tmp_path):
        return PluginHost.load([write(tmp_path, "zebra", GOOD), write(tmp_path, "acme", GOOD), write(tmp_path, "pad", "")])

    def test_order_is_built_ins_first_then_names(self, host):
        keys = [(spec.provider != "builtin", spec.name, spec.provider) for spec in host.solvers]
        assert keys == sorted(keys)
        assert [key[1:] for key in keys[-4:]] == [("alpha", "acme"), ("alpha", "zebra"), ("zeta", "acme"), ("zeta", "zebra")]

    def test_unqualified_name_of_two_providers(self, host):
        with pytest.raises(UsageError, match="write acme/alpha or zebra/alpha"):
            host.solver("alpha")

    def test_qualified_name(self, host):
        selection = host.solver("zebra/alpha")
        assert selection.spec.provider == "zebra"
        assert selection.name == "zebra/alpha"

    def test_needless_provider_is_dropped(self, host):
        assert host.metric("builtin/psnr").name == "psnr"

    def test_unknown_name(self, host):
        with pytest.raises(UsageError, match=r"There is no solver 'zetta'; did you mean 'zeta'\?"):
            host.solver("zetta")

    @pytest.mark.parametrize(
        ("theirs", "hint"),
        [
            ("dpm_2", r"'dpm-solver-2' \(k-diffusion's dpm_2\)"),
            ("sample_dpm_2", r"'dpm-solver-2' \(k-diffusion's dpm_2\)"),
            ("DPM++ 2M", r"'dpm\+\+2m\[lower_order_final=false\]' \(k-diffusion's dpmpp_2m\)"),
            ("dpmpp_3m_sde", r"'dpm\+\+3m-k' \(k-diffusion's dpmpp_3m_sde at eta 0\)"),
            ("lms[grid=edm]", r"'deis\[order=4,variable=rho\]' \(k-diffusion's lms\)"),
            ("DPMSolverMultistep", r"'dpm\+\+2m' \(diffusers' DPMSolverMultistepScheduler\)"),
            ("builtin/exp_heun_2_x0", r"'etd2rk' \(ComfyUI's exp_heun_2_x0\)"),
        ],
    )
    def test_other_software_s_name(self, host, theirs, hint):
        with pytest.raises(UsageError, match=rf"There is no solver '.*'; did you mean {hint}\?$"):
            host.solver(theirs)

    def test_other_software_s_name_is_only_a_hint(self, host):
        with pytest.raises(UsageError, match=r"There is no metric 'dpm_2'; choose from"):
            host.metric("dpm_2")
        with pytest.raises(UsageError, match=r"There is no solver 'dpm_2'; choose from|did you mean '[^(]*$"):
            host.solver("acme/dpm_2")
        assert host.solver("heun").canonical == "heun"

    def test_unknown_provider(self, host):
        with pytest.raises(UsageError, match=r"No plugin 'zebraa' offers a solver; did you mean 'zebra'\?"):
            host.solver("zebraa/alpha")

    def test_provider_without_this_kind(self, host):
        with pytest.raises(UsageError, match="No plugin 'pad' offers a solver"):
            host.solver("pad/alpha")

    def test_unknown_suite(self, host):
        with pytest.raises(UsageError, match=r"There is no suite 'quik'; did you mean 'quick'\?"):
            host.suite("quik")

    def test_suite_with_parameters(self, host):
        with pytest.raises(UsageError, match="Suites have no parameters"):
            host.suite("quick[samples=3]")

    def test_suite(self, host):
        assert host.suite("builtin/quick").file.is_file()


EXPORTER = f"""{HEADER}
@hookimpl
def bnsbench_exporters():
    yield ExporterSpec("ledger", ":write", parameters={{"ink": "black"}})

def write(artefact, folder, ink):
    return artefact, folder, ink
"""


class TestExporters:
    @pytest.fixture
    def host(self, tmp_path):
        return PluginHost.load([write(tmp_path, "acme", EXPORTER)])

    def test_parameters_are_bound_to_the_target(self, host):
        assert host.exporter("ledger[ink=red]").make()("artefact", "folder") == ("artefact", "folder", "red")

    def test_unknown_name(self, host):
        with pytest.raises(UsageError, match=r"There is no exporter 'legder'; did you mean 'ledger'\?"):
            host.exporter("legder")

    def test_are_counted(self, host):
        assert {plugin.name: plugin.counts for plugin in host.plugins}["acme"] == {"exporters": 1}


OBSERVERS = {
    "meddler": "record['scores']['psnr'] = -1",
    "raising": "raise ValueError('boom')",
    "sound": "print('seen', record['status'])",
}


def observer(folder, name):
    text = f"{HEADER}\n@hookimpl\ndef bnsbench_cell_finished(record):\n    {OBSERVERS[name]}\n"
    return write(folder, name, text)


class TestObservers:
    def test_see_a_copy(self, tmp_path):
        record = {"scores": {"psnr": 30.0}}
        PluginHost.load([observer(tmp_path, "meddler")]).cell_finished(record)
        assert record == {"scores": {"psnr": 30.0}}

    def test_raising_one_is_reported_once_and_stops_nobody(self, tmp_path, caplog, capsys):
        host = PluginHost.load([observer(tmp_path, "raising"), observer(tmp_path, "sound")])
        host.cell_finished({"status": "ok"})
        host.cell_finished({"status": "failed"})
        assert capsys.readouterr().out == "seen ok\nseen failed\n"
        messages = [record.getMessage() for record in caplog.records]
        assert messages == ["bnsbench_cell_finished of raising raised ValueError: boom"]


def test_loading_imports_nothing_heavy():
    program = (
        "import json, sys\nfrom bnsbench.contract import PluginHost\nPluginHost.load()\nprint(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "matplotlib", "scipy", "numpy"} & set(json.loads(done.stdout))
