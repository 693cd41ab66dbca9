from __future__ import annotations

from pathlib import Path

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.suite.plan import make_plan
from bnsbench.suite.suitefile import Suite, override
from bnsbench.suite.union import joined

CONTENT = {
    "name": "made",
    "samples": 40,
    "nfe": [2, 4],
    "solvers": ["euler", "ddim"],
    "models": [
        {"name": "ring8", "tolerance": 1e-5},
        {"name": "digits-ot", "guidance": [0.0, 2.0], "solvers": ["euler", "heun"]},
    ],
}
WHOLE = Suite.parse(CONTENT, "here")


def parts(**options):
    """Return the suite once for every value of the options, which have equally many."""
    each = zip(*options.values(), strict=True)
    return {
        Path(f"{k}/suite.toml"): override(WHOLE, **dict(zip(options, values, strict=True))) for k, values in enumerate(each)
    }


def keys(suite):
    return [cell.key for cell in make_plan(suite, PluginHost.load())]


def test_one_suite_is_the_same_as_its_union_with_itself():
    assert keys(joined({Path("a"): WHOLE, Path("b"): WHOLE})) == keys(WHOLE)


def test_parts_by_model_and_solver_make_the_whole():
    assert keys(joined(parts(models=[["ring8"], ["digits-ot"]]))) == keys(WHOLE)
    cut = parts(models=[["ring8", "digits-ot"]] * 2, guidance=[[0.0], [2.0]])
    whole = override(WHOLE, guidance=[0.0, 2.0])
    assert keys(joined(cut)) == keys(whole)
    cut = parts(solvers=[["euler"], ["ddim"]], nfe=[[2, 4], [4, 2]])
    assert keys(joined(cut)) == keys(override(WHOLE, solvers=["euler", "ddim"]))


def test_the_union_has_every_cell_of_the_parts_and_more_where_they_are_no_product():
    cut = parts(solvers=[["euler"], ["ddim"]], nfe=[[2], [4]])
    whole = set(keys(joined(cut)))
    assert whole > {key for suite in cut.values() for key in keys(suite)}


def test_metrics_plugins_and_operations_are_joined():
    first = WHOLE.model_copy(update={"plugins": ("a",)})
    second = override(WHOLE, metrics=["fid"]).model_copy(update={"plugins": ("b", "a")})
    found = joined({Path("a"): first, Path("b"): second})
    assert found.plugins == ("a", "b")
    assert {entry.metrics for entry in found.full_entries()} == {("psnr", "fid")}


def test_a_union_can_be_written_and_read():
    found = joined(parts(models=[["ring8"], ["digits-ot"]], nfe=[[2], [4]]))
    import tomllib

    assert Suite.parse(tomllib.loads(found.to_toml()), "again") == found


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"seed": [0, 1]}, "seed is 0 in the one and 1 in the other"),
        ({"samples": [40, 41]}, "samples of ring8 is 40 in the one and 41 in the other"),
        ({"dtype": ["float32", "float64"]}, "dtype of ring8 is float32"),
    ],
)
def test_what_is_no_part_of_one_suite_is_refused_with_both_files(options, what):
    with pytest.raises(UsageError, match=what) as caught:
        joined(parts(**options))
    assert "0/suite.toml" in str(caught.value)
    assert "1/suite.toml" in str(caught.value)


def test_suites_of_different_names_are_refused():
    other = WHOLE.model_copy(update={"name": "other"})
    with pytest.raises(UsageError, match="name is made in the one and other in the other"):
        joined({Path("a"): WHOLE, Path("b"): other})
