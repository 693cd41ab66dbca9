"""Forged plans and suites: cells that are hidden, added or told twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bnsbench.suite.record import Record
from tests.survival.catalogue.forgery import SUITE, forgery
from tests.survival.forging import Forger


def without_values(record: Record, status: Any) -> Record:
    return replace(record, status=status, reason="it says so", metrics={}, per_sample={}, replicates={})


def add(forger: Forger, **cell: Any) -> None:
    """Add a record to the plan that is made up from another."""
    record = forger.record(nfe=cell.get("nfe", 4) if "solver" in cell else 4)
    made = forger.relabel(record, {**record.cell, **cell})
    forger.write(replace(made, nfe=made.cell["nfe"], forwards=made.cell["nfe"]))
    forger.json(forger.store.plan_file, lambda plan: plan["cells"].append(made.key))


@forgery()
def a_competitor_has_failed(forger: Forger) -> None:
    forger.write(without_values(forger.record(), "failed"))


@forgery()
def a_competitor_has_been_skipped(forger: Forger) -> None:
    forger.write(without_values(forger.record(), "skipped"))


@forgery()
def a_competitor_took_too_long(forger: Forger) -> None:
    forger.write(without_values(forger.record(), "timeout"))


@forgery()
def a_competitor_has_diverged(forger: Forger) -> None:
    forger.write(without_values(forger.record(), "diverged"))


@forgery()
def a_good_cell_has_a_reason_against_it(forger: Forger) -> None:
    forger.change(reason="see the paper")


@forgery()
def a_cell_that_diverged_has_values(forger: Forger) -> None:
    good = forger.record()
    forger.write(replace(forger.record("nan"), status="ok", reason="", metrics=good.metrics, per_sample=good.per_sample))


@forgery()
def a_cell_that_cannot_be_run_has_values(forger: Forger) -> None:
    good = forger.record(nfe=3)
    record = forger.record("pairs", nfe=3)
    forger.write(replace(good, key=record.key, cell=record.cell))


@forgery()
def the_reason_of_a_skipped_cell_is_another(forger: Forger) -> None:
    forger.write(replace(forger.record("pairs", nfe=3), reason="it is known to be bad"))


@forgery()
def a_competitor_is_left_out_of_the_plan(forger: Forger) -> None:
    key = forger.record().key
    forger.unplan(key)
    forger.store.forget(key)


@forgery()
def a_competitor_is_left_out_of_the_plan_alone(forger: Forger) -> None:
    forger.unplan(forger.record().key)


@forgery()
def a_record_is_removed(forger: Forger) -> None:
    forger.store.forget(forger.record().key)


@forgery()
def the_plan_is_empty(forger: Forger) -> None:
    forger.json(forger.store.plan_file, lambda plan: plan.update(cells=[]))


@forgery()
def the_plan_has_a_cell_twice(forger: Forger) -> None:
    key = forger.record().key
    forger.json(forger.store.plan_file, lambda plan: plan["cells"].append(key))


@forgery()
def a_cell_of_another_seed_is_added(forger: Forger) -> None:
    add(forger, seed=1)


@forgery()
def a_cell_of_more_evaluations_is_added(forger: Forger) -> None:
    add(forger, nfe=5)


@forgery()
def a_solver_of_a_plugin_that_nobody_has_is_added(forger: Forger) -> None:
    forger.suite('"steps", "pairs"', '"ghost/steps", "steps", "pairs"')
    for nfe in (3, 4):
        record = forger.record(nfe=nfe)
        add(forger, nfe=nfe, solver={**record.cell["solver"], "provider": "ghost"})


@forgery()
def a_record_stands_for_another_cell(forger: Forger) -> None:
    forger.write(replace(forger.record(nfe=4), key=forger.record(nfe=3).key))


@forgery()
def the_plan_names_a_record_elsewhere(forger: Forger) -> None:
    forger.json(forger.store.plan_file, lambda plan: plan["cells"].append("../environment"))


@forgery()
def versions_hide_a_model(forger: Forger) -> None:
    forger.json(forger.store.plan_file, lambda plan: plan.update(versions={"model tiny_plugin/plain model": "0" * 64}))


@forgery()
def versions_hide_a_metric(forger: Forger) -> None:
    forger.json(forger.store.plan_file, lambda plan: plan.update(versions={"metric width": "0" * 64}))


@forgery()
def a_solver_is_left_out_of_the_suite(forger: Forger) -> None:
    forger.suite('"steps", "pairs"', '"pairs"')


@forgery()
def the_suite_has_another_seed(forger: Forger) -> None:
    forger.suite("seed = 0", "seed = 1")


@forgery()
def the_suite_has_more_samples(forger: Forger) -> None:
    forger.suite("samples = 40", "samples = 4000")


@forgery()
def the_suite_has_a_finer_truth(forger: Forger) -> None:
    forger.suite("tolerance = 1e-05", "tolerance = 1e-09")


@forgery()
def the_suite_has_another_metric(forger: Forger) -> None:
    forger.suite('metrics = ["psnr", "width"', 'metrics = ["psnr", "ssim", "width"')


@forgery()
def the_suite_has_another_name(forger: Forger) -> None:
    forger.suite('name = "small"', 'name = "large"')


@forgery(beyond=SUITE)
def a_solver_is_left_out_of_everything(forger: Forger) -> None:
    for record in [record for record in forger.store.records() if record.cell["solver"]["name"] == "pairs"]:
        forger.unplan(record.key)
        forger.store.forget(record.key)
    forger.suite('"steps", "pairs"', '"steps"')
