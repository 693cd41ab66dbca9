"""Selectors: their grammar, typed parameters, canonical names and targets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnsbench.contract import PluginHost, Selection, did_you_mean, parse_selector, split_selectors
from bnsbench.contract.selectors import select
from bnsbench.contract.specs import MetricSpec
from bnsbench.errors import BnsbenchError, UsageError
from tests.contract.offers import GOOD, HEADER, write


class TestSelectors:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("euler", (None, "euler", {})),
            (" acme/dpm++2m ", ("acme", "dpm++2m", {})),
            ("bns[recipe=paper, pairs=3]", (None, "bns", {"recipe": "paper", "pairs": "3"})),
            (
                "bns[init=acme/unipc[order=3,grid=x],pairs=3]",
                (None, "bns", {"init": "acme/unipc[order=3,grid=x]", "pairs": "3"}),
            ),
        ],
    )
    def test_parse(self, text, expected):
        assert parse_selector(text) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ('m[path="ck/epoch=3,step=5"]', {"path": "ck/epoch=3,step=5"}),
            ("m[path='a]b', x=3]", {"path": "a]b", "x": "3"}),
            ('m[path = "a[b" ,x=3]', {"path": "a[b", "x": "3"}),
            ('bns[init=u[path="a,b]",k=2],z=1]', {"init": 'u[path="a,b]",k=2]', "z": "1"}),
            ('m[p="say ""hi"", you"]', {"p": 'say "hi", you'}),
            ("m[p=it's,q=3]", {"p": "it's", "q": "3"}),
            ('m[p=""]', {"p": ""}),
        ],
    )
    def test_values_may_be_quoted(self, text, expected):
        assert parse_selector(text) == (None, text.partition("[")[0], expected)
        assert split_selectors(f"{text},euler") == [text, "euler"]

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet="ab,[]\"'= \\\n\u2028/", max_size=12))
    def test_every_value_can_be_written_and_read(self, value):
        spec = MetricSpec("m", ":m", parameters={"p": "default", "q": 1})
        selection = Selection(spec, {"p": value, "q": 2})
        _, _, found = parse_selector(selection.canonical)
        assert found == ({"q": "2"} if value == "default" else {"p": value, "q": "2"})
        assert split_selectors(f"{selection.canonical},euler") == [selection.canonical, "euler"]

    def test_a_comma_without_quotes_is_told_how_to_quote(self):
        spec = MetricSpec("m", ":m", parameters={"path": ""})
        _, _, found = parse_selector("m[path=ck/epoch=3,step=5]")
        with pytest.raises(UsageError, match=r"no parameter 'step'.*is quoted: path=\"a,b\""):
            select(spec, found)

    @pytest.mark.parametrize(
        "text",
        [
            *("a" + 100_000 * "[", "a[" + 100_000 * ",", "a[b=" + 100_000 * "]"),
            "a[b=" + 30_000 * "b[c=" + 29_999 * "]" + "]",
            "",
            "/x",
            "acme/",
            "a[",
            "a[]",
            "a[b]",
            "a[b=]",
            "a[=1]",
            "a[b=1",
            "a]b",
            "a[b=1]c",
            "a[b=1,b=2]",
            "a[b=[1]",
            "a[b=1]]",
        ],
    )
    def test_malformed(self, text):
        with pytest.raises(UsageError) as caught:
            parse_selector(text)
        assert len(str(caught.value)) < 600

    def test_split(self):
        assert split_selectors("euler, bns[recipe=paper,pairs=3],ab2") == ["euler", "bns[recipe=paper,pairs=3]", "ab2"]

    def test_suggestion_without_a_close_name_lists_all(self):
        assert did_you_mean("xyz", ["b", "a"]) == "choose from a, b."


class TestParameters:
    @pytest.fixture
    def host(self, tmp_path):
        return PluginHost.load([write(tmp_path, "acme", GOOD)])

    def test_types_follow_the_defaults(self, host):
        selection = host.solver("zeta[size=2,flag=true,count=7,grid=log]")
        assert dict(selection.parameters) == {"flag": True, "count": 7, "size": 2.0, "grid": "log"}
        assert type(selection.parameters["size"]) is float
        assert selection.make()(None, 0, 1)[2] == selection.parameters

    def test_canonical_name_sorts_and_drops_defaults(self, host):
        assert host.solver("zeta[size=2, count=3, flag=TRUE]").name == "zeta[flag=true,size=2.0]"
        assert host.solver("zeta[flag=false]").name == "zeta"

    @pytest.mark.parametrize("selector", ["zeta", "zeta[flag=true,size=1e-7]", "zeta[grid=a/b[c=1]]"])
    def test_canonical_name_selects_the_same(self, host, selector):
        selection = host.solver(selector)
        assert host.solver(selection.name) == selection

    @pytest.mark.parametrize(
        ("selector", "expected"),
        [
            ("zeta[sise=2]", r"'zeta' has no parameter 'sise'; did you mean 'size'\?"),
            ("alpha[size=2]", r"'alpha' has no parameter 'size'; there are none\."),
            ("zeta[count=2.5]", "'count' of 'zeta' must be a whole number, not '2.5'"),
            ("zeta[size=big]", "'size' of 'zeta' must be a finite number"),
            ("zeta[size=nan]", "must be a finite number"),
            ("zeta[flag=maybe]", "must be true or false"),
        ],
    )
    def test_wrong_settings(self, host, selector, expected):
        with pytest.raises(UsageError, match=expected):
            host.solver(selector)


class TestTargets:
    def load(self, tmp_path, target):
        text = f"{HEADER}\n@hookimpl\ndef bnsbench_models():\n    yield ModelSpec('a', {target!r})\n"
        return PluginHost.load([write(tmp_path, "acme", text)]).model("a")

    def test_models_are_made(self, tmp_path):
        assert self.load(tmp_path, "collections:OrderedDict").make() == {}

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            ("nowhere_at_all:thing", "'a' of plugin 'acme' could not be loaded from 'nowhere_at_all:thing': ModuleNotFound"),
            ("json:thing", "from 'json:thing': AttributeError"),
            (":thing", "'a' of plugin 'acme' could not be loaded"),
        ],
    )
    def test_faulty_target(self, tmp_path, target, expected):
        with pytest.raises(BnsbenchError, match=expected):
            self.load(tmp_path, target).make()
