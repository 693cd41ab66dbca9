from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, CorruptFileError, NotApplicableError, UsageError
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.models.scenes.model import scenes
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import midpoint
from bnsbench.suite import trained
from bnsbench.suite.plan import Component, make_plan
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import Suite, read_suite
from bnsbench.suite.trained import TrainedSolvers, solver_key
from bnsbench.training import trainer
from bnsbench.training.listener import Listener
from bnsbench.training.problem import Effort, TrainingStatus
from bnsbench.training.trainer import make_problem, train_solver
from bnsbench.training.tuning.classics import rule_on_grid
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import PairSource

SUITE = """
name = "trained"
samples = 40
nfe = [4, 6]
metrics = ["psnr"]
solvers = ["bns[iterations=3,pairs=24]", "s4s[iterations=2,pairs=24,rule=ab2]"]
models = [{ name = "tiny", guidance = [1.0], tolerance = 1e-4 }]
"""


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(trainer, "effort_in", lambda shape: Effort(validation=32))


@pytest.fixture
def source(host):
    return PairSource(host.model("tiny").make(), "tiny", guidance=1.0, tolerance=1e-4)


@pytest.fixture
def cells(tmp_path, host):
    file = tmp_path / "trained.toml"
    file.write_text(SUITE)
    return {(cell.solver.name.split("[")[0], cell.nfe): cell for cell in make_plan(read_suite(file), host)}


@pytest.fixture
def open_store(tmp_path, host, source):
    """Return a function that opens the trained solvers of one folder, which notices and statuses go to."""

    def open_store(notices=None, told=None, **more):
        listener: Any = Listener()
        listener.training = listener.training if told is None else told
        listener.notice = listener.notice if notices is None else notices.append
        store = ResultStore(tmp_path / "results" / "trained")
        return TrainedSolvers(
            store=store, source=source, locks=tmp_path / "work" / "locks", host=host, listener=listener, **more
        )

    return open_store


def problem(source, host, **more):
    def previous(nfe):
        raise AssertionError("nobody asked for a ladder")

    settings = {"previous": previous, "progress": lambda status: None, "checkpoint": None, **more}
    return make_problem(source, host, **settings)


@pytest.mark.parametrize("selector", ["bns[iterations=1,ladder=none,pairs=16]", "gs[iterations=1,pairs=16]", "learned"])
def test_a_trained_solver_bears_its_selector_s_name(source, host, selector):
    selection = host.solver(selector)
    made = train_solver(selection, problem(source, host), 2)
    assert made.name == selection.name == selector
    assert made.solver.nfe == 2
    assert (made.model, made.guidance, made.fingerprint) == ("tiny", 1.0, source.model.fingerprint())


def test_default_settings_leave_the_plain_name(source, host):
    selection = host.solver("bns[rate=0,pairs=16,ladder=standard,iterations=1]")
    assert train_solver(selection, problem(source, host), 2).name == "bns[iterations=1,pairs=16]"


def test_a_solver_of_another_nfe_is_a_fault(source, host):
    class Greedy:
        name = "greedy"

        def make(self):
            return lambda given, nfe: host.solver("learned").make()(given, nfe + 1)

    with pytest.raises(BnsbenchError, match="greedy trained for 3 evaluations instead of 2"):
        train_solver(Greedy(), problem(source, host), 2)  # type: ignore[arg-type]


def test_the_host_s_solvers_are_at_hand_with_their_parameters(source, host):
    given = problem(source, host)
    assert given.classic("midpoint").stages == 2
    ours = trace(lambda field, x0: given.classic("midpoint").sample(field, x0, 4), source.model.path)
    theirs = trace(lambda field, x0: midpoint(field, x0, 4), source.model.path)
    assert ours.fingerprint() == theirs.fingerprint()
    second, third = (rule_on_grid(given, 6, name)[0] for name in ("unipc", "unipc[order=3]"))
    times = torch.linspace(0, 1, 7, dtype=torch.float64)
    assert not torch.allclose(second(times).rows, third(times).rows)
    bound = rule_on_grid(given, 6, "unipc[grid=logsnr]")[0]  # the grid that is learned takes the place of the named one
    assert torch.equal(bound(times).rows, second(times).rows)


def test_a_classic_that_two_plugins_offer_is_that_of_the_trainer_s(source, tmp_path):
    (tmp_path / "clash.py").write_text(
        "from bnsbench.contract.hookspecs import hookimpl\nfrom bnsbench.contract.specs import SolverSpec\n\n@hookimpl\n"
        "def bnsbench_solvers():\n    yield SolverSpec('midpoint', 'bnsbench.solvers.runge_kutta:euler', stages=1)\n"
    )
    clashing = PluginHost.load([tmp_path / "clash.py"])
    assert problem(source, clashing).classic("midpoint").stages == 2
    assert problem(source, clashing, provider="clash").classic("midpoint").stages == 0


def test_solvers_without_a_grid_have_no_times_to_learn(source, host):
    given = problem(source, host)
    assert given.classic("steps").stages == 0
    with pytest.raises(NotApplicableError, match="'steps' takes no time grid"):
        rule_on_grid(given, 4, "steps")
    started = train_solver(host.solver("bns[init=steps,iterations=1,pairs=16]"), given, 4)
    assert started.training["start"]["name"] == "steps"


def test_trained_solvers_are_nothing_to_learn_from(source, host):
    with pytest.raises(UsageError, match=r"'bns' is itself trained"):
        problem(source, host).classic("bns")
    with pytest.raises(UsageError, match="unipcc"):
        problem(source, host).classic("unipcc")


def test_features_are_there_for_images_alone(source, host):
    assert problem(source, host).features is None
    model = digits_gmm()
    features = problem(PairSource(model, "digits-gmm"), host).features
    states = torch.rand(3, *model.shape, dtype=torch.float64, requires_grad=True)
    found = features(states)
    assert found.shape[0] == 3
    found.square().sum().backward()
    assert states.grad is not None
    assert states.grad.abs().max() > 0


def test_a_mixture_is_a_source_too(source, host):
    mixed = MixedSource.of(source, (0.0, 2.0))
    made = train_solver(host.solver("bns[iterations=1,pairs=16]"), problem(mixed, host), 2)
    assert made.guidance == (0.0, 2.0)


def test_a_solver_is_trained_once_with_the_rungs_that_it_stands_on(cells, open_store):
    told: list[TrainingStatus] = []
    solvers, selection = open_store(told=told.append), cells["bns", 6]
    made = solvers.get(selection, solvers.host.solver(selection.solver.name))
    assert {status.nfe for status in told} == {4, 6}
    count = len(told)
    again = open_store(told=told.append)
    for nfe in (4, 6):
        cell = cells["bns", nfe]
        found = again.get(cell, again.host.solver(cell.solver.name))
        assert found.solver.nfe == nfe
    assert len(told) == count
    assert found.solver.fingerprint() == made.solver.fingerprint()
    assert found.name == made.name == selection.solver.name
    assert {"greedy on those of 4 NFE", "4 NFE and idle evaluations"} < set(made.training["start"]["tried"])
    other = cells["s4s", 4]
    assert solver_key(other) != solver_key(cells["bns", 4])
    assert again.get(other, again.host.solver(other.solver.name)).name == other.solver.name


def test_a_damaged_or_foreign_file_is_trained_anew_with_a_notice(cells, open_store):
    cell = cells["s4s", 4]
    notices: list[str] = []
    solvers = open_store(notices)
    first = solvers.get(cell, solvers.host.solver(cell.solver.name))
    file = solvers.store.solver_file(solver_key(cell))
    file.write_text(file.read_text()[:100])
    assert solvers.get(cell, solvers.host.solver(cell.solver.name)).solver.fingerprint() == first.solver.fingerprint()
    assert ["is damaged" in text for text in notices] == [True] * len(notices)
    assert notices
    notices.clear()
    text = file.read_text()
    file.write_text(text.replace(first.fingerprint, "0" * 64))
    solvers.get(cell, solvers.host.solver(cell.solver.name))
    assert "another version of tiny" in notices[0]
    assert SolverArtefact.load(file).fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("guidance", 0.0, "guidance 0 in place of 1"),
        ("guidance", [0.0, 1.0], "guidance 0, 1 in place of 1"),
        ("name", "bns", "the solver bns in place of s4s"),
        ("path", {"name": "cosine"}, "the path cosine"),
        ("interval", [0.0, 0.9], "the path condot on [0.0, 0.9]"),
        ("solver", None, "6 evaluations in place of 4"),
    ],
)
def test_a_file_that_is_another_solver_s_is_trained_anew_with_a_notice(cells, open_store, key, value, said):
    cell = cells["s4s", 4]
    notices: list[str] = []
    solvers = open_store(notices)
    right = solvers.get(cell, solvers.host.solver(cell.solver.name))
    file = solvers.store.solver_file(solver_key(cell))
    if value is None:
        value = trace(lambda field, x0: midpoint(field, x0, 6), right.path).to_dict()
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(CorruptFileError, match="made for something else"):
        open_store(train=False).get(cell, solvers.host.solver(cell.solver.name))
    found = solvers.get(cell, solvers.host.solver(cell.solver.name))
    assert found.solver.fingerprint() == right.solver.fingerprint()
    assert (found.guidance, found.name, found.interval) == (1.0, cell.solver.name, right.interval)
    assert notices
    assert all(f"was made for {said}" in text for text in notices)
    assert SolverArtefact.load(file).to_dict() == found.to_dict()


def test_where_nothing_may_be_trained_a_missing_file_is_a_fault(cells, open_store):
    cell = cells["s4s", 4]
    solvers = open_store(train=False)
    with pytest.raises(CorruptFileError, match="missing or damaged"):
        solvers.get(cell, solvers.host.solver(cell.solver.name))


def test_an_interrupted_training_goes_on_and_leaves_no_state(cells, open_store, tmp_path):
    cell = cells["bns", 4]

    def stop(status: TrainingStatus):
        if status.iteration == 2:
            raise KeyboardInterrupt

    solvers = open_store(told=stop)
    with pytest.raises(KeyboardInterrupt):
        solvers.get(cell, solvers.host.solver(cell.solver.name))
    states = list(Path(tmp_path / "work" / "training").glob("*.pt"))
    assert [state.stem for state in states] == [solvers.store.solver_file(solver_key(cell)).stem]
    told: list[TrainingStatus] = []
    resumed = open_store(told=told.append)
    made = resumed.get(cell, resumed.host.solver(cell.solver.name))
    assert [status.iteration for status in told] == [2, 3, 4]  # the step of the race is the first
    assert not states[0].exists()
    whole = train_solver(resumed.host.solver(cell.solver.name), problem(resumed.source, resumed.host), 4)
    assert made.solver.fingerprint() == whole.solver.fingerprint()


def test_shipped_solvers_are_taken_unless_they_are_to_be_trained(cells, open_store, host, source, monkeypatch):
    cell = cells["bns", 4]
    selection = host.solver(cell.solver.name)
    asked = []

    def shipped(name, model, guidance, solver, nfe, version):
        asked.append((name, guidance, solver, nfe, version))
        table = trace(lambda field, x0: midpoint(field, x0, nfe), model.path)
        training = {"shipped": True, "forwards": {"teacher": 7}}
        return SolverArtefact(
            solver=table,
            path=model.path,
            interval=model.interval,
            model=name,
            fingerprint=model.fingerprint(),
            guidance=guidance,
            name=solver,
            training=training,
        )

    monkeypatch.setattr(trained, "shipped_solver", shipped)
    taken = open_store().get(cell, selection)
    assert taken.training["shipped"]
    assert open_store().get(cell, selection).solver.fingerprint() == taken.solver.fingerprint()
    assert asked == [("tiny", 1.0, cell.solver.name, 4, selection.spec.version)]
    told: list[TrainingStatus] = []
    made = open_store(told=told.append, retrain=True).get(cell, selection)
    assert "shipped" not in made.training
    assert told
    assert made.solver.fingerprint() != taken.solver.fingerprint()
    assert open_store(retrain=True).get(cell, selection).solver.fingerprint() == made.solver.fingerprint()
    assert len(asked) == 1


CLASH = """
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import ModelSpec, SolverSpec

@hookimpl
def bnsbench_models():
    yield ModelSpec("scenes", ":nothing", guidable=True)

@hookimpl
def bnsbench_solvers():
    yield SolverSpec("bns", ":trained", kind="trained")

def trained(problem, nfe):
    raise ZeroDivisionError("this is not the solver that the package ships")
"""


def test_shipped_solvers_are_those_of_the_package_whatever_names_plugins_take(tmp_path):
    (tmp_path / "clash.py").write_text(CLASH)
    host = PluginHost.load([tmp_path / "clash.py"])
    content = {"name": "s", "nfe": [8], "models": [{"name": "builtin/scenes", "guidance": [2.0]}]}
    own, other = make_plan(Suite.parse({**content, "solvers": ["builtin/bns", "clash/bns"]}, "here"), host)
    source = PairSource(scenes(), own.model.name, guidance=2.0)
    store, locks = ResultStore(tmp_path / "results"), tmp_path / "work" / "locks"
    solvers = TrainedSolvers(store=store, source=source, locks=locks, host=host)
    assert solvers.get(own, host.solver(own.solver.selector)).training["shipped"]
    with pytest.raises(ZeroDivisionError):
        solvers.get(other, host.solver(other.solver.selector))


def test_a_shipped_solver_in_another_precision_is_told(tmp_path):
    host = PluginHost.load()
    content = {"name": "s", "nfe": [8], "models": [{"name": "scenes", "guidance": [2.0]}], "solvers": ["bns"]}
    (cell,) = make_plan(Suite.parse(content, "here"), host)
    for dtype, told in ((torch.float32, 0), (torch.bfloat16, 1)):
        heard: list[str] = []

        class Hears(Listener):
            """Keeps what the user should read."""

            def notice(self, text: str, heard: list[str] = heard) -> None:
                heard.append(text)

        source = PairSource(scenes().to("cpu", dtype), cell.model.name, guidance=2.0)
        store, locks = ResultStore(tmp_path / str(dtype)), tmp_path / "work" / "locks"
        solvers = TrainedSolvers(store=store, source=source, locks=locks, host=host, listener=Hears())
        assert solvers.get(cell, host.solver(cell.solver.selector)).training["shipped"]
        assert len(heard) == told
    assert heard[0].endswith("with samples of 3x32x32 in float32, and is used in bfloat16.")


def test_split_columns_go_on_from_the_cell_of_velocities_which_is_trained_once(cells, open_store, host):
    told: list[TrainingStatus] = []
    solvers, guided = open_store(told=told.append), cells["bns", 4]
    selection = host.solver("bns[columns=split,iterations=3,pairs=24]")
    split = replace(guided, solver=Component.of(selection))
    made = solvers.get(split, selection)
    assert made.name == "bns[columns=split,iterations=3,pairs=24]"
    assert (made.solver.nfe, made.solver.guidance) == (4, 1.0)
    count = len(told)
    # The table of velocities is that of its own cell, and both are there from now on.
    plain = solvers.get(guided, host.solver(guided.solver.name))
    assert len(told) == count
    start = made.training["start"]["table"]
    assert start == plain.solver.split(1.0).to_dict()
    again = open_store(told=told.append).get(split, selection)
    assert (again.solver.fingerprint(), len(told)) == (made.solver.fingerprint(), count)
    assert solver_key(split) != solver_key(guided)
