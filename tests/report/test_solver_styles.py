from __future__ import annotations

from bnsbench.report.solver_styles import COLOURS, LEARNED, PINNED, styles_of

NAMES = [f"solver{k}" for k in range(60)]


def test_all_solvers_look_different():
    assert len(set(styles_of(dict.fromkeys(NAMES, False)).values())) == 60


def test_look_does_not_depend_on_the_order():
    found = styles_of({name: name == "bns" for name in (*NAMES, "bns")})
    assert styles_of({name: name == "bns" for name in ("bns", *reversed(NAMES))}) == found


def test_look_stays_when_another_solver_joins():
    """Only names that collide may move: at most a handful of sixty on 120 styles."""
    alone = {name: styles_of({name: False})[name] for name in NAMES[:20]}
    together = styles_of(dict.fromkeys(NAMES[:20], False))
    assert sum(alone[name] != together[name] for name in alone) <= 4


def test_learned_solvers_have_colours_of_their_own():
    found = styles_of({"ld3": True, "euler": False})
    assert (found["ld3"].colour in LEARNED, found["euler"].colour in COLOURS) == (True, True)


def test_what_often_stands_side_by_side_never_shares_a_colour():
    found = styles_of(dict.fromkeys([*PINNED, *(f"bns[pairs={n}]" for n in range(30))], True))
    assert {name: found[name].colour for name in PINNED} == PINNED
    assert not {found[name].colour for name in found if name not in PINNED} & set(PINNED.values())
    assert len(set(found.values())) == len(found)


def test_a_classic_solver_of_a_pinned_name_looks_like_a_classic_one():
    assert styles_of({"bns": False})["bns"].colour in COLOURS
