"""Forged values: of metrics, their intervals, and their values by sample."""

from __future__ import annotations

from dataclasses import replace

from bnsbench.suite.record import Score
from tests.survival.catalogue.forgery import forgery
from tests.survival.forging import Forger


@forgery()
def a_value_alone_is_raised(forger: Forger) -> None:
    forger.score(value=forger.number("psnr") + 0.2)


@forgery()
def every_sample_is_raised(forger: Forger) -> None:
    forger.samples(lambda values: values + 0.3)


@forgery()
def every_sample_is_raised_by_20_db(forger: Forger) -> None:
    forger.samples(lambda values: values + 20)


@forgery()
def a_value_is_raised_with_the_truth_s_ceiling_lowered(forger: Forger) -> None:
    forger.samples(lambda values: values + 20)
    forger.change(truth={"ceiling": 20.0})


@forgery()
def a_competitor_is_lowered(forger: Forger) -> None:
    forger.samples(lambda values: values - 1, solver="learned")


@forgery()
def the_best_samples_stand_for_all(forger: Forger) -> None:
    forger.samples(lambda values: values.repeat(2)[-len(values) :])


@forgery()
def one_sample_is_raised_by_30_db(forger: Forger) -> None:
    forger.samples(lambda values: values + 30 * (values == values.min()))


@forgery()
def the_worst_samples_are_left_out(forger: Forger) -> None:
    forger.samples(lambda values: values[values.argsort()][10:])


@forgery()
def samples_are_in_another_order(forger: Forger) -> None:
    forger.samples(lambda values: values[::-1])


@forgery()
def samples_vary_less_around_the_same_mean(forger: Forger) -> None:
    forger.samples(lambda values: values.mean() + 0.2 * (values - values.mean()))


@forgery()
def values_by_sample_are_removed(forger: Forger) -> None:
    forger.write(replace(forger.record(), per_sample={}))


@forgery()
def values_by_sample_alone_are_raised(forger: Forger) -> None:
    record = forger.record()
    forger.write(replace(record, per_sample={"psnr": tuple(value + 1 for value in record.per_sample["psnr"])}))


@forgery()
def a_lower_end_is_raised(forger: Forger) -> None:
    forger.score(low=forger.number("psnr", "low") + 0.5)


@forgery()
def an_upper_end_is_raised(forger: Forger) -> None:
    forger.score(high=forger.number("psnr", "high") + 0.5)


@forgery()
def an_interval_is_removed(forger: Forger) -> None:
    forger.score(low=None, high=None)


@forgery()
def a_median_is_raised(forger: Forger) -> None:
    forger.details(median=70.0)


@forgery()
def a_quantile_is_raised(forger: Forger) -> None:
    forger.details(p05=forger.number("psnr"))


@forgery()
def a_quantile_is_removed(forger: Forger) -> None:
    forger.details(p05=None)


@forgery()
def there_are_said_to_be_more_samples(forger: Forger) -> None:
    forger.details(n=41.0)


@forgery()
def the_data_range_is_another(forger: Forger) -> None:
    forger.details(data_range=2.1)


@forgery()
def a_detail_is_made_up(forger: Forger) -> None:
    forger.details(judges=12.0)


@forgery()
def a_text_among_the_details_is_made_up(forger: Forger) -> None:
    forger.details(classifier="f" * 64)


@forgery()
def another_metric_is_improved(forger: Forger) -> None:
    forger.score("width", value=forger.number("width") / 2)


@forgery()
def replicates_are_narrowed(forger: Forger) -> None:
    record = forger.record()
    value = forger.number("spread")
    narrow = tuple(value + (each - value) / 10 for each in record.replicates["spread"])
    forger.write(replace(record, replicates={"spread": narrow}))


@forgery()
def replicates_are_removed(forger: Forger) -> None:
    forger.write(replace(forger.record(), replicates={}))


@forgery()
def replicates_are_made_up(forger: Forger) -> None:
    forger.change(replicates={"width": (1.0, 1.1)})


@forgery()
def a_ranking_is_turned_around(forger: Forger) -> None:
    forger.score("width", direction="higher")


@forgery()
def a_unit_is_another(forger: Forger) -> None:
    forger.score(unit="points")


@forgery()
def a_unit_promises_a_wider_tolerance(forger: Forger) -> None:
    """0.2 dB are less than 1 %."""
    forger.samples(lambda values: values + 0.2)
    forger.score(unit="")


@forgery()
def a_metric_is_of_another_version(forger: Forger) -> None:
    forger.score("width", version="2")


@forgery()
def a_metric_is_said_not_to_apply(forger: Forger) -> None:
    forger.score("width", value=None, reason="points have no width")


@forgery()
def the_reason_of_a_metric_is_another(forger: Forger) -> None:
    forger.score("never", reason="it was perfect")


@forgery()
def a_metric_that_does_not_apply_has_a_value(forger: Forger) -> None:
    forger.score("never", value=1.0, reason="")


@forgery()
def a_metric_is_left_out(forger: Forger) -> None:
    record = forger.record()
    forger.write(replace(record, metrics={name: score for name, score in record.metrics.items() if name != "width"}))


@forgery()
def a_metric_is_added_that_nobody_offers(forger: Forger) -> None:
    forger.change(metrics={"human-preference": Score("1", value=0.99)})


@forgery()
def a_metric_is_added_that_is_installed(forger: Forger) -> None:
    forger.change(metrics={"snr": Score("1", unit="dB", value=60.0)})


@forgery()
def a_metric_is_added_that_reads_a_file(forger: Forger) -> None:
    """No record may have a file opened, so that the value is not measured again, and is told as unchecked."""
    forger.change(metrics={"fid[data=.]": Score("1", "lower", value=0.1)})


@forgery()
def values_of_two_solvers_are_exchanged(forger: Forger) -> None:
    one, other = forger.record("steps"), forger.record("pairs")
    for record, source in ((one, other), (other, one)):
        forger.write(replace(record, metrics=source.metrics, per_sample=source.per_sample))


@forgery()
def values_are_those_of_more_evaluations(forger: Forger) -> None:
    few, many = forger.record(nfe=3), forger.record(nfe=4)
    forger.write(replace(few, metrics=many.metrics, per_sample=many.per_sample, replicates=many.replicates))
