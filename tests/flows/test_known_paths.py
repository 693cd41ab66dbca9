"""The list of paths says what the code does."""

from __future__ import annotations

import inspect

import pytest

from bnsbench.errors import UsageError
from bnsbench.flows import paths
from bnsbench.flows.known_paths import PATHS
from bnsbench.flows.sampled_path import Sampled

CLASSES = {
    each.name: each
    for each in vars(paths).values()
    if isinstance(each, type) and issubclass(each, paths.Path) and "name" in vars(each)
}
OUTSIDE = {
    ("vp", "beta_min"): 0.0,
    ("vp", "beta_max"): 0.05,
    ("edm", "sigma_min"): -0.1,
    ("edm", "sigma_max"): 0.002,
    ("ve", "sigma_min"): 0.0,
    ("ve", "sigma_max"): 0.01,
}


def test_every_path_is_listed():
    assert sorted(path.name for path in PATHS) == sorted([*CLASSES, Sampled.name])


@pytest.mark.parametrize("path", [path for path in PATHS if path.name in CLASSES], ids=lambda path: path.name)
def test_options_are_those_of_the_class(path):
    parameters = {} if path.name in ("condot", "cosine") else inspect.signature(CLASSES[path.name].__init__).parameters
    taken = {name: each.default for name, each in parameters.items() if name != "self"}
    listed = {option.name: inspect.Parameter.empty if option.default is None else option.default for option in path.options}
    assert listed == taken
    written = ", ".join(each.name if each.default is None else f"{each.name}={each.default:g}" for each in path.options)
    assert path.written == f"{CLASSES[path.name].__name__}({written})"


@pytest.mark.parametrize(("name", "option"), OUTSIDE, ids=".".join)
def test_values_outside_the_range_are_refused(name, option):
    assert paths.make_path(name).name == name
    with pytest.raises(UsageError):
        paths.make_path(name, **{option: OUTSIDE[name, option]})
    given = {(path.name, each.name) for path in PATHS for each in path.options if each.default is not None}
    assert given == set(OUTSIDE)
