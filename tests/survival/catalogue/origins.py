"""Forged origins and costs: of the model, the ground truth and the environment, evaluations and times."""

from __future__ import annotations

from dataclasses import replace

from tests.survival.catalogue.forgery import TIME, TRUST, forgery
from tests.survival.forging import Forger, changed


def training(forger: Forger, forwards: dict[str, int]) -> None:
    """Change what a training has cost, in the solver file and in the record."""
    forger.solver(forger.record("learned"), lambda content: content["training"].update(forwards=forwards))
    forger.change("learned", solver={"forwards": forwards}, train_forwards=sum(forwards.values()))


@forgery()
def fewer_evaluations_are_told(forger: Forger) -> None:
    forger.write(replace(forger.record(), nfe=2, forwards=2))


@forgery()
def a_guided_evaluation_costs_one_forward(forger: Forger) -> None:
    forger.write(replace(forger.record(model="tiny"), forwards=4))


@forgery()
def training_is_told_to_be_free_in_the_record(forger: Forger) -> None:
    forger.change("learned", train_forwards=0)


@forgery()
def purposes_of_forwards_are_others_in_the_record(forger: Forger) -> None:
    forger.change("learned", solver={"forwards": {"teacher": 0, "training": 80, "validation": 0}})


@forgery(trained=True)
def training_is_told_to_be_cheap_everywhere(forger: Forger) -> None:
    training(forger, forwards={"teacher": 4, "training": 4, "validation": 0})


@forgery(trained=True)
def a_teacher_is_told_to_be_cheap_everywhere(forger: Forger) -> None:
    training(forger, forwards={"teacher": 0, "training": 80, "validation": 0})


@forgery()
def forwards_below_zero_pay_for_others(forger: Forger) -> None:
    training(forger, forwards={"teacher": -40, "training": 40, "validation": 0})


@forgery()
def a_record_is_of_another_model(forger: Forger) -> None:
    forger.model(fingerprint="0" * 64)


@forgery()
def all_records_are_of_another_model(forger: Forger) -> None:
    for record in [record for record in forger.store.records() if record.cell["model"]["name"] == "plain"]:
        if record.model:
            forger.write(changed(record, model={"fingerprint": "0" * 64}))
        if "file" in record.solver:
            forger.solver(record, lambda content: content.update(fingerprint="0" * 64))


@forgery()
def a_precision_promises_a_wider_tolerance(forger: Forger) -> None:
    """0.08 dB are allowed in float32."""
    forger.samples(lambda values: values + 0.08)
    forger.model(dtype="float32")


@forgery()
def the_truth_resolves_more(forger: Forger) -> None:
    forger.change(truth={"ceiling": 200.0})


@forgery()
def the_truth_took_more_evaluations(forger: Forger) -> None:
    forger.change(truth={"nfe": 900.0})


@forgery()
def the_truth_was_finer(forger: Forger) -> None:
    forger.change(truth={"tolerance": 1e-12})


@forgery()
def the_environment_is_missing(forger: Forger) -> None:
    forger.store.environment_file.unlink()


@forgery()
def the_environment_is_damaged(forger: Forger) -> None:
    forger.store.environment_file.write_text("[" * 10**5, encoding="utf-8")


@forgery()
def the_environment_hides_a_plugin(forger: Forger) -> None:
    forger.json(forger.store.environment_file, lambda found: found["plugins"].pop("tiny_plugin"))


@forgery()
def a_record_is_silent_about_its_environment(forger: Forger) -> None:
    forger.write(replace(forger.record(), environment={}))


@forgery(beyond=TRUST)
def the_environment_is_another(forger: Forger) -> None:
    forger.json(forger.store.environment_file, lambda found: found.update(processor="abacus"))


@forgery()
def seconds_are_below_zero(forger: Forger) -> None:
    forger.change(seconds={"sampling": -1.0})


@forgery()
def sampling_took_longer_than_the_cell(forger: Forger) -> None:
    forger.change(seconds={"sampling": 1e3})


@forgery()
def training_took_no_time_in_the_record(forger: Forger) -> None:
    forger.change("learned", seconds={"training": 0.0})


@forgery(beyond=TIME)
def sampling_was_ten_times_as_fast(forger: Forger) -> None:
    forger.change(seconds={"sampling": forger.record().seconds["sampling"] / 10})


@forgery(beyond=TIME)
def training_took_no_time_everywhere(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content["training"].update(seconds=0.0))
    forger.change("learned", seconds={"training": 0.0})
