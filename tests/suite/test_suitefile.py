from __future__ import annotations

import tomllib

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.suite.plan import make_plan
from bnsbench.suite.suitefile import Suite, find_suite, override, read_suite
from bnsbench.suite.trained import solver_key

MINIMAL = {"name": "s", "nfe": [4], "solvers": ["steps"], "models": ["tiny"]}
OWN = {"name": "own", "samples": 7, "nfe": [2, 6], "solvers": ["euler"], "metrics": []}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nfe = [4", "not valid TOML"),
        ("nfe = [0]\nsolvers = ['a']\nmodels = ['m']", r"nfe\[0\].*greater than or equal to 1.*0"),
        ("nfe = [4]\nsolvers = []\nmodels = ['m']", "solvers"),
        ("nfe = [4]\nmodels = ['m']", "solvers: field required"),
        ("nfe = [4]\nsolver = ['a']\nsolvers = ['a']\nmodels = ['m']", "solver: there is no such key; known keys: batch"),
        (
            "nfe = [4]\nsolvers = ['a']\n[[models]]\nname = 'm'\nguidence = [1]",
            r"models\[0\].guidence: there is no such key.*guidance",
        ),
        ("nfe = [4]\nsolvers = ['a']\n[[models]]\nname = 'm'\nguidance = ['minus one']", r"guidance\[0\].*'minus one'"),
        ("nfe = [4]\nsolvers = ['a']\n[[models]]\nname = 'm'\nguidance = [-1.0]", r"guidance\[0\].*-1.0"),
        ("nfe = [4]\nsolvers = ['a']\n[[models]]\nname = 'm'\nguidance = [nan]", r"guidance\[0\].*finite"),
        ("nfe = [4]\nsolvers = ['a']\n[[models]]\nname = 'm'\ntolerance = 0", "tolerance.*greater than 0"),
        ("nfe = [4]\nsolvers = ['a']\nmodels = ['m']\nname = '../../etc'", "name"),
        ("nfe = [4]\nsolvers = ['a']\nmodels = ['m']\nsamples = 1", "samples"),
    ],
)
def test_malformed_file_is_one_sentence_with_file_and_key(tmp_path, text, said):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        read_suite(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_suite(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_suite(tmp_path / "binary.toml")


def test_toml_round_trip_keeps_everything():
    content = {
        **MINIMAL,
        "summary": 'a "quoted" \\ line\twith ω and \x7f',
        "plugins": ["p"],
        "timeout": 2.5,
        "models": [{"name": "tiny", "guidance": [0.0, 1e-7], "tolerance": 1e-9, "dtype": "float32"}, {"name": "plain"}, OWN],
    }
    suite = Suite.parse(content, "here")
    assert Suite.parse(tomllib.loads(suite.to_toml()), "there") == suite


def test_models_have_the_suite_s_settings_or_their_own():
    suite = Suite.parse({**MINIMAL, "samples": 40, "models": ["plain", {**OWN, "nfe": [6, 2, 6]}]}, "here")
    plain, own = suite.full_entries()
    assert (plain.samples, plain.nfe, plain.solvers, plain.metrics) == (40, suite.nfe, suite.solvers, suite.metrics)
    assert (own.samples, own.nfe, own.solvers, own.metrics) == (7, (2, 6), ("euler",), ())
    changed = override(suite, nfe=[3], samples=9, metrics=["psnr"])
    assert {(model.samples, model.nfe, model.metrics) for model in changed.full_entries()} == {(9, (3,), ("psnr",))}
    assert [model.solvers for model in changed.full_entries()] == [suite.solvers, ("euler",)]


def test_name_defaults_to_the_file_and_nfe_is_sorted(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("nfe = [8, 4, 8]\nsolvers = ['a']\nmodels = ['m']")
    suite = read_suite(file)
    assert (suite.name, suite.nfe) == ("mine", (4, 8))


def test_missing_plugin_is_a_usage_error(host, tmp_path):
    file = tmp_path / "needy.toml"
    file.write_text("plugins = ['bnsbench-warp']\nnfe = [4]\nsolvers = ['steps']\nmodels = ['tiny']")
    with pytest.raises(UsageError, match="'needy' needs the plugin 'bnsbench-warp'"):
        find_suite(str(file), host)


def test_installed_plugin_satisfies_the_suite(host, tmp_path):
    file = tmp_path / "fine.toml"
    file.write_text("plugins = ['tiny_plugin']\nnfe = [4]\nsolvers = ['steps']\nmodels = ['tiny']")
    assert find_suite(str(file), host).name == "fine"


CLASH = """
from pathlib import Path
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import *

@hookimpl
def bnsbench_solvers():
    yield SolverSpec("unipc", ":nothing")
    yield SolverSpec("mine", ":nothing")

@hookimpl
def bnsbench_metrics():
    yield MetricSpec("fid", ":nothing")

@hookimpl
def bnsbench_models():
    yield ModelSpec("digits-gmm", ":nothing", guidable=True)

@hookimpl
def bnsbench_suites():
    yield SuiteSpec("theirs", Path(__file__).with_name("theirs.toml"))
"""
THEIRS = """
nfe = [4]
solvers = ["unipc", "euler", "mine"]
models = ["digits-gmm", { name = "ring8", solvers = ["builtin/unipc[order=3]", "unipc"], metrics = ["fid"] }]
"""


@pytest.fixture
def clashing(tmp_path):
    """A host with a plugin that offers names which built-in components have."""
    (tmp_path / "clash.py").write_text(CLASH)
    (tmp_path / "theirs.toml").write_text(THEIRS)
    return PluginHost.load([tmp_path / "clash.py"])


def test_names_in_a_built_in_suite_are_built_in(clashing):
    suite = find_suite("quick", clashing)
    assert {"builtin/unipc", "euler"} <= set(suite.solvers)
    assert "builtin/fid" in suite.metrics
    assert [model.name for model in suite.models] == ["builtin/digits-gmm", "digits-ot"]
    cells = make_plan(suite, clashing)
    assert {cell.solver.provider for cell in cells} == {cell.model.provider for cell in cells} == {"builtin"}


def test_names_in_a_plugin_s_suite_are_its_own(clashing):
    first, second = make_plan(find_suite("theirs", clashing), clashing)[::3]
    suite = find_suite("theirs", clashing)
    assert suite.solvers == ("clash/unipc", "euler", "mine")
    assert [model.name for model in suite.models] == ["clash/digits-gmm", "ring8"]
    assert suite.models[1].solvers == ("builtin/unipc[order=3]", "clash/unipc")
    assert suite.models[1].metrics == ("clash/fid",)
    assert (first.model.provider, second.model.provider) == ("clash", "builtin")


def test_keys_are_the_same_whatever_plugins_are_installed(clashing):
    """Records, noise and trained solvers of built-in components stay theirs when a plugin takes their names."""
    plain, beside = (make_plan(find_suite("quick", host), host) for host in (PluginHost.load(), clashing))
    assert [cell.key for cell in beside] == [cell.key for cell in plain]
    assert [solver_key(cell) for cell in beside] == [solver_key(cell) for cell in plain]
    assert [cell.model.name for cell in beside] == [cell.model.name for cell in plain]
    assert [metric.shown for metric in beside[0].metrics] == ["psnr", "fid", "fid-gt", "accuracy"]


def test_components_of_one_name_have_keys_of_their_own(clashing):
    suite = Suite.parse({**MINIMAL, "solvers": ["builtin/unipc", "clash/unipc"], "models": ["clash/digits-gmm"]}, "here")
    first, second = make_plan(suite, clashing)
    assert first.key != second.key
    assert [cell.label.split()[2] for cell in (first, second)] == ["unipc", "clash/unipc"]
    assert first.label.startswith("clash/digits-gmm ")
    assert clashing.solver(second.solver.selector).spec.provider == "clash"


def test_elsewhere_such_names_need_their_provider(clashing, tmp_path):
    """In the user's own file and on the command line nobody can know which is meant."""
    with pytest.raises(UsageError, match="write builtin/digits-gmm or clash/digits-gmm"):
        make_plan(find_suite(str(tmp_path / "theirs.toml"), clashing), clashing)
    with pytest.raises(UsageError, match="write builtin/unipc or clash/unipc"):
        make_plan(override(find_suite("quick", clashing), solvers=["unipc"]), clashing)


def test_unknown_suite_is_a_usage_error(host):
    with pytest.raises(UsageError, match="quikc"):
        find_suite("quikc", host)


@pytest.mark.parametrize("name", ["default", "learned", "paper", "quick"])
def test_built_in_suites_are_valid(host, name):
    suite = find_suite(name, host)
    assert suite.name == name
    assert "bns" in suite.solvers


def test_overrides_keep_the_entries_of_known_models():
    suite = Suite.parse({**MINIMAL, "models": [{"name": "tiny", "guidance": [2.0], "tolerance": 1e-4}, "plain"]}, "here")
    changed = override(suite, models=["tiny", "other"], nfe=[6], seed=0, solvers=None)
    assert [(model.name, model.guidance, model.tolerance) for model in changed.models] == [
        ("tiny", (2.0,), 1e-4),
        ("other", (0.0,), 1e-6),
    ]
    assert (changed.nfe, changed.solvers) == ((6,), suite.solvers)


def test_minus_zero_is_zero():
    """They are equal, but their texts, and so the keys of cells, would differ."""
    suite = Suite.parse({**MINIMAL, "models": [{"name": "a", "guidance": [-0.0, 0.0]}]}, "here")
    for found in (suite, override(suite, guidance=[-0.0])):
        assert {str(w) for model in found.models for w in model.guidance} == {"0.0"}


def test_guidance_and_dtype_override_every_model():
    suite = Suite.parse({**MINIMAL, "models": ["a", "b"]}, "here")
    changed = override(suite, guidance=[3.0], dtype="float64")
    assert {(model.guidance, model.dtype) for model in changed.models} == {((3.0,), "float64")}


@pytest.mark.parametrize("wrong", [{"nfe": [0]}, {"samples": 0}, {"seed": -1}, {"guidance": [-0.5]}, {"dtype": "int8"}])
def test_overrides_are_validated(wrong):
    (name, value), *_ = wrong.items()
    said = rf"^The option {name} does not take {value[0] if isinstance(value, list) else value!r}: input should be .*\.$"
    with pytest.raises(UsageError, match=said):
        override(Suite.parse(MINIMAL, "here"), **wrong)
