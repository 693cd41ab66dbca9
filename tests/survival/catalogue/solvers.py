"""Forged solver files, and what records say of solvers."""

from __future__ import annotations

import shutil

from bnsbench.suite.record import Record
from tests.survival.catalogue.forgery import NOTHING, forgery
from tests.survival.forging import Forger, changed


def spoil(forger: Forger) -> Record:
    """Spoil a competitor's table, in the file and in the record's fingerprint."""
    record = forger.record("searched")
    forger.solver(record, lambda content: content["solver"]["a"].__setitem__(-1, 1.3))
    spoilt = changed(record, solver={"fingerprint": forger.table(record)})
    forger.write(spoilt)
    return spoilt


@forgery()
def a_table_is_altered(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content["solver"]["a"].__setitem__(0, 1 + 1e-12))


@forgery()
def a_competitor_s_table_is_spoilt(forger: Forger) -> None:
    spoil(forger)


@forgery(trained=True)
def a_competitor_s_table_is_spoilt_and_measured(forger: Forger) -> None:
    forger.write(forger.run(spoil(forger)))


@forgery()
def a_solver_file_is_for_another_guidance(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content.update(guidance=2.0))


@forgery()
def a_solver_file_is_for_another_path(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content.update(path={"name": "cosine"}))


@forgery()
def a_solver_file_is_for_another_interval(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content.update(interval=[0.0, 0.5]))


@forgery()
def a_solver_file_is_of_another_solver(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content.update(name="bns"))


@forgery()
def a_solver_file_is_of_another_version(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content["training"].update(version="7"))


@forgery()
def a_solver_file_is_of_another_seed(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content["training"].update(seed=5))


@forgery()
def a_solver_file_names_another_model(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content.update(model="ring8"))


@forgery()
def a_solver_file_is_that_of_more_evaluations(forger: Forger) -> None:
    few, many = forger.record("learned", nfe=3), forger.record("learned", nfe=4)
    shutil.copyfile(forger.solver_file(many), forger.solver_file(few))
    forger.write(changed(few, solver={"fingerprint": forger.table(few)}))


@forgery()
def a_solver_file_is_another_solver_s(forger: Forger) -> None:
    record, other = forger.record("learned"), forger.record("searched")
    forger.write(changed(record, solver={"file": other.solver["file"]}))


@forgery()
def a_solver_file_lies_elsewhere(forger: Forger) -> None:
    forger.write(changed(forger.record("learned"), solver={"file": "../environment.json"}))


@forgery()
def a_solver_file_is_missing(forger: Forger) -> None:
    forger.solver_file(forger.record("learned")).unlink()


@forgery()
def a_solver_is_said_to_be_shipped(forger: Forger) -> None:
    forger.change("learned", solver={"shipped": True})


@forgery()
def a_solver_is_said_to_be_shipped_everywhere(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content["training"].update(shipped=True))
    forger.change("learned", solver={"shipped": True})


@forgery()
def a_learned_solver_is_said_to_be_classic(forger: Forger) -> None:
    forger.change("learned", solver={"kind": "classic"})


@forgery()
def a_classic_solver_is_said_to_be_learned(forger: Forger) -> None:
    forger.change("steps", solver={"kind": "learned"})


@forgery()
def a_grid_is_another(forger: Forger) -> None:
    forger.change("searched", solver={"grid": "uniform"})


@forgery()
def a_rule_is_another(forger: Forger) -> None:
    forger.change("searched", solver={"rule": "euler"})


@forgery(trained=True)
def a_grid_is_another_everywhere(forger: Forger) -> None:
    forger.solver(forger.record("searched"), lambda content: content["training"].update(grid="uniform"))
    forger.change("searched", solver={"grid": "uniform"})


@forgery()
def a_validation_psnr_is_raised_in_the_record(forger: Forger) -> None:
    forger.change("learned", solver={"psnr": 60.0})


@forgery(trained=True)
def a_validation_psnr_is_raised_everywhere(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content["training"].update(psnr=60.0))
    forger.change("learned", solver={"psnr": 60.0})


@forgery()
def a_curve_does_not_reach_what_is_told(forger: Forger) -> None:
    record = forger.record("bns", "ring8", 2)
    forger.solver(record, lambda content: [point.update(psnr=1.0) for point in content["training"]["curve"]])


@forgery()
def a_curve_goes_back(forger: Forger) -> None:
    forger.solver(forger.record("bns", "ring8", 2), lambda content: content["training"]["curve"].reverse())


@forgery()
def a_curve_is_longer_than_the_training(forger: Forger) -> None:
    record = forger.record("bns", "ring8", 2)
    forger.solver(record, lambda content: content["training"]["curve"][-1].update(evaluations=10**9))


@forgery()
def a_rung_has_spent_more_than_the_ladder(forger: Forger) -> None:
    record = forger.record("bns", "ring8", 2)
    forger.solver(record, lambda content: content["training"].update(own_forwards={"training": 10**9}))


@forgery(beyond=NOTHING)
def the_fingerprint_of_a_classic_table_is_another(forger: Forger) -> None:
    forger.change("steps", solver={"fingerprint": "0" * 64})
