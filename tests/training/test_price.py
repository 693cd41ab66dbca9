"""Prices of decibels, on curves whose shape is known."""

from __future__ import annotations

import math

import pytest

from bnsbench.training.price import Price, price_of, rounded


def curve(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"forwards": forwards, "psnr": psnr} for forwards, psnr in points]


def test_on_a_straight_curve_every_tenth_costs_the_same() -> None:
    line = curve(*((1000 * k, 40 + 0.05 * k) for k in range(30)))
    assert price_of(line) == Price(2000, 2000)


def test_where_gains_get_dearer_the_next_continues_the_last_two() -> None:
    """PSNR = 40 + log2(f / 1000): a tenth of a decibel multiplies the forwards by 2^0.1, and so its own price."""
    steps = [1000 * 2 ** (k / 50) for k in range(101)]
    price = price_of(curve(*((f, 40 + math.log2(f / 1000)) for f in steps)))
    end, growth = steps[-1], 2**0.1
    assert price is not None
    assert price.last == pytest.approx(end * (1 - 1 / growth), rel=0.01)
    assert price.following == pytest.approx(end * (growth - 1), rel=0.02)


def test_checks_in_vain_count_for_the_last_tenth() -> None:
    line = [(1000 * k, 40 + 0.05 * k) for k in range(30)]
    price = price_of(curve(*line, (30_000, 41.4), (33_000, 41.3)))
    assert price == Price(6000, round(6000 * 6000 / 2000))


def test_a_fall_is_no_gain() -> None:
    rough = curve((0, 40.0), (1000, 40.1), (2000, 39.0), (3000, 40.2), (4000, 40.0), (5000, 40.3))
    assert price_of(rough) == Price(2000, 2000)


@pytest.mark.parametrize(
    "points",
    [
        curve(),
        curve((1000, 40.0)),
        curve((1000, 40.0), (2000, 39.0)),
        curve((1000, 40.0), (2000, 40.05)),
        curve((1000, -math.inf), (2000, 40.0)),
        [{"evaluations": 1000, "psnr": 40.0}, {"evaluations": 2000, "psnr": 41.0}],
    ],
    ids=["nothing", "one check", "no rise", "less than a tenth", "not finite before", "of an older record"],
)
def test_a_curve_that_cannot_say_says_nothing(points) -> None:
    assert price_of(points) is None


def test_one_rise_over_both_tenths_says_nothing_of_the_next() -> None:
    assert price_of(curve((0, 40.0), (1000, 45.0))) == Price(20, None)
    assert price_of(curve((0, 40.0), (500, 40.05), (1000, 40.15))) == Price(500, None)  # the curve begins too late


def test_a_price_that_explodes_is_not_continued() -> None:
    sudden = curve((0, 40.0), (100, 40.1), (200, 40.2), (50_000, 40.3))
    assert price_of(sudden) == Price(49_800, None)


def test_words() -> None:
    assert Price(14_321, 39_900).in_words == "the last 0.1 dB took about 14 k forwards; another 0.1 dB would take about 40 k"
    assert Price(431, None).in_words == "the last 0.1 dB took about 430 forwards"
    assert [rounded(count) for count in (7, 99, 994, 996, 1234, 99_600, 999_999, 2_340_000)] == [
        *("7", "99", "990", "1 k", "1.2 k", "100 k", "1 M", "2.3 M")
    ]
    assert Price.of(Price(3, None).to_dict()) == Price(3, None)
