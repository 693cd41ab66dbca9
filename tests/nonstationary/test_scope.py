"""The sentence on what differs between where a table was trained and where it is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bnsbench.errors import UsageError
from bnsbench.flows.network_state import NetworkState
from bnsbench.nonstationary.scope import HINT, MEASURED, Scope, differences, remark, with_measured

HOME = Scope("scenes", "ab", (2.0,), NetworkState((3, 32, 32), "float32", "", ()))


def at(**changes: Any) -> Scope:
    """The home, but for some facts of its network."""
    return replace(HOME, network=replace(HOME.network, **changes))


def entry(used: Scope, **more: Any) -> dict[str, Any]:
    return {"scope": used.to_dict(), "samples": 64, "psnr": 28.25, **more}


@pytest.mark.parametrize(
    ("used", "end"),
    [
        (replace(HOME, guidance=(6.5,)), "in float32, and is used at w = 6.5."),
        (replace(HOME, fingerprint="cd"), "in float32, and is used on other weights (scenes)."),
        (at(shape=(3, 64, 64)), "and is used with samples of 3x64x64."),
        (at(dtype="bfloat16"), "and is used in bfloat16."),
        (at(quantisation="torchao Int8Tensor"), "without quantisation, and is used quantised (torchao Int8Tensor)."),
        (at(adapters=("style x 0.8",)), "without adapters, and is used with the adapter style x 0.8."),
        (at(adapters=("a x 1", "b x 2"), dtype="float16"), "and is used in float16 with the adapters a x 1, b x 2."),
    ],
)
def test_one_sentence_says_what_differs(used: Scope, end: str) -> None:
    sentence = differences(HOME, used)
    assert sentence.startswith("The table was made for scenes at w = 2 with samples of 3x32x32 in float32")
    assert sentence.endswith(end)


@pytest.mark.parametrize("used", [HOME, Scope(), replace(HOME, fingerprint=""), at(adapters=None, dtype=None)])
def test_what_is_not_known_differs_from_nothing(used: Scope) -> None:
    assert differences(HOME, used) == differences(used, HOME) == ""


def test_an_old_file_says_what_it_knows_and_nothing_else() -> None:
    old = Scope("scenes", "ab", (0.0, 2.0))
    assert differences(old, replace(HOME, guidance=(2.0,))) == ""
    assert (
        differences(old, replace(HOME, guidance=(1.0,)))
        == "The table was made for scenes at w = 0, 2, and is used at w = 1."
    )


def test_strict_refuses_and_else_it_is_told_how_to_measure() -> None:
    there = at(dtype="bfloat16")
    assert remark(HOME, there, {}) == f"{differences(HOME, there)} {HINT}"
    assert remark(HOME, HOME, {}, strict=True) == ""
    with pytest.raises(UsageError, match=r"used in bfloat16\. Train one there"):
        remark(HOME, there, {}, strict=True)


def test_what_was_measured_there_is_told() -> None:
    there, further = replace(HOME, guidance=(6.5,)), at(dtype="bfloat16")
    other = {"difference": -3.1, "low": -3.5, "high": -2.75}
    record = with_measured(
        {"seed": 0}, [entry(there, specialist=other), entry(further, classic={**other, "difference": 1.0})]
    )
    told = remark(HOME, there, record)
    assert told.endswith("There it was measured 3.1 dB below a table trained there (95 % interval 2.8 to 3.5, 64 samples).")
    assert "1.0 dB above the best tuned classic there" in remark(HOME, further, record)
    # What is not known of the place is as at home; a place in between was not measured.
    assert "3.1 dB below" in remark(HOME, Scope(guidance=(6.5,)), record)
    assert remark(HOME, replace(HOME, guidance=(4.0,)), record).endswith(HINT)


def test_a_place_that_is_measured_again_is_replaced() -> None:
    there = replace(HOME, guidance=(6.5,))
    record = with_measured(with_measured({}, [entry(there), entry(HOME)]), [entry(there, psnr=30.0)])
    assert [(each["scope"]["guidance"], each["psnr"]) for each in record[MEASURED]] == [([2.0], 28.25), ([6.5], 30.0)]
    assert remark(HOME, there, record).endswith("There it was measured at 30.0 dB (64 samples).")


@pytest.mark.parametrize(
    "odd", [None, 3, "text", {}, [3], [{}], [{"scope": 3}], [{"scope": {"model": 1, "fingerprint": "ab", "guidance": 2}}]]
)
def test_an_odd_record_is_not_believed(odd: object) -> None:
    there = replace(HOME, guidance=(6.5,))
    assert remark(HOME, there, {MEASURED: odd}).endswith(HINT)
    assert with_measured({MEASURED: odd}, [entry(there)])[MEASURED][-1] == entry(there)


@pytest.mark.parametrize("damage", [{"psnr": None}, {"samples": "x"}, {"specialist": {"difference": []}}])
def test_a_damaged_entry_is_not_believed(damage: dict[str, Any]) -> None:
    there = replace(HOME, guidance=(6.5,))
    assert remark(HOME, there, {MEASURED: [{**entry(there), **damage}]}).endswith(HINT)
