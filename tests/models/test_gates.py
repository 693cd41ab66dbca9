from __future__ import annotations

import math

import pytest

from bnsbench.errors import BnsbenchError
from bnsbench.models.digits_data import split_digits
from bnsbench.models.gates import check_gates, measure, nearest_ratio
from bnsbench.models.weights import read_manifest


def test_nearest_ratio_is_zero_for_copies_and_one_for_held_out_digits():
    kept, held = split_digits()
    assert nearest_ratio(kept.images[:50]) == pytest.approx(0, abs=1e-3)
    assert nearest_ratio(held.images) == pytest.approx(1)


@pytest.mark.parametrize("name", ["digits-classifier", "digits-gmm"])
def test_shipped_weights_pass_their_gate(name):
    check_gates(name, measure(name))


def test_shipped_record_passes_every_gate():
    for name, entry in read_manifest().items():
        check_gates(name, entry["training"]["figures"])


def test_missed_gate_names_the_figure():
    with pytest.raises(BnsbenchError, match=r"accuracy 0\.500 < 0\.99"):
        check_gates("digits-classifier", {"accuracy": 0.5})
    with pytest.raises(BnsbenchError, match="nan"):
        check_gates("digits-classifier", {"accuracy": math.nan})
