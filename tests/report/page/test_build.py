"""Whole pages: every number is the leaderboard's, nothing is asked from anywhere, and odd results make a page as well."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from dataclasses import replace
from importlib.resources import files

import pytest

from bnsbench.errors import UsageError
from bnsbench.report.integrity import file_faults
from bnsbench.report.matrix import readable
from bnsbench.report.page.build import LARGEST, build_page
from bnsbench.report.results import CSV, SEAL
from bnsbench.report.seal import seal_of
from bnsbench.suite.store import ResultStore, write_text
from tests.report.page.made import made_record

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\u202e|_{$^"


@pytest.fixture
def board(results):
    with (results.folder / CSV).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def page(results, read_page):
    return read_page(build_page([results]))


def ends_of(row, measure):
    """Return the ends of an interval as people read them."""
    ends = [row.get(f"{measure}{part}", "") for part in ("_low", "_high")]
    return [readable(float(text)) if text else "?" for text in ends] if any(ends) else [None, None]


def test_numbers_in_leaderboards_are_those_of_the_csv(page, board):
    seen = 0
    for panel in page.all("section", "panel"):
        measure = panel.attributes["data-measure"]
        for cell in panel.all("td", data_row=True):
            row = board[int(cell.attributes["data-row"])]
            assert cell.attributes["data-v"] == row[measure]
            assert cell.children[0].text == readable(float(row[measure]))
            assert cell.children[0].name == ("b" if row[f"{measure}_standing"] == "best" else "span")
            assert bool(list(cell.all("span", "tie"))) == (row[f"{measure}_standing"] == "tied")
            ends = [node.text.split(" to ") for node in cell.all("small", "ends")]
            assert ends == ([ends_of(row, measure)] if any(ends_of(row, measure)) else [])
            low, high = (row.get(f"{measure}_rank_{end}", "") for end in ("low", "high"))
            assert [ranks.text for ranks in cell.all("small", "rank")] == (
                [f"rank {low}" if low == high else f"rank {low}-{high}"] if low else []
            )
            seen += 1
    assert seen == 3 * 10 * 4  # scenarios, cells, measures


def test_numbers_in_figures_are_those_of_the_csv(page, board):
    rows = {(row["model"], row["guidance"], row["solver"], row["nfe"]): row for row in board}
    seen = 0
    for article in page.all("article", "scenario"):
        title = next(article.all("h3")).text
        model, guidance = title.split(", w = ")
        figures = [
            (panel.attributes["data-measure"], chart)
            for panel in article.all("section", "panel")
            for chart in panel.all("svg", "chart")
        ]
        figures += [("psnr", chart) for chart in article.all("svg", "training")]
        figures += [("psnr", chart) for chart in article.all("svg", "seconds")]
        for measure, chart in figures:
            for point in chart.all("use", aria_label=True):
                said = re.match(r"(.+), (\d+) NFE: (\S+)(?: dB)?(?: \((\S+) to (\S+)\))?", point.attributes["aria-label"])
                assert said is not None
                solver, nfe, *numbers = said.groups()
                row = rows[model, guidance, solver, nfe]
                assert numbers == [readable(float(row[measure])), *ends_of(row, measure)]
                seen += 1
    assert seen == 3 * 10 * (4 + 2)


def test_numbers_in_sentences_and_costs_are_those_of_the_csv(page, board):
    sentences = list(page.all("data"))
    assert len(sentences) >= 3 * 2 * 5
    for number in sentences:
        text = board[int(number.attributes["data-row"])][number.attributes["data-column"]]
        assert number.attributes["value"] == text
        assert number.text in (readable(float(text)), f"{float(text):+.2f}")
    costs = [
        cell
        for table in page.all("table")
        if table.attributes.get("id", "").endswith("-costs")
        for cell in table.all("td", data_row=True)
    ]
    assert len(costs) == 3 * 10
    for cell in costs:
        row = board[int(cell.attributes["data-row"])]
        assert cell.attributes["data-v"] == row["train_forwards"]
        assert cell.children[0] == f"{int(row['train_forwards']):,}"
        assert next(cell.all("small")).text == f"{row['forwards']}, {float(row['seconds']):.3g} s"


def test_the_sentence_says_who_won_and_over_whom(page):
    first = next(page.all("article", "card"))
    told = next(first.all("p")).text
    assert told.startswith("student (distilled) has the best psnr at 8 NFE, 41.02 dB (40.31 to 41.73)")
    assert "the noise cannot tell it from bns" in told
    assert ": +8.02 dB (" in told
    assert "over the best classic, ab2[grid=best] (tuned) with 33.00." in told
    assert told.endswith("It is the best at 1 of 2 NFE.")


def test_nothing_is_asked_from_anywhere(results, page):
    text = build_page([results])
    policy = next(page.all("meta", http_equiv="Content-Security-Policy")).attributes["content"]
    assert policy.startswith("default-src 'none';")
    for name in ("style", "script"):
        (content,) = re.findall(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    sources = [node.attributes[key] for key in ("src", "href", "srcset", "poster") for node in page.all(**{key: True})]
    assert all(source.startswith(("#", "data:image/png;base64,", "data:audio/wav;base64,")) for source in sources)
    handlers = [key for node in page.all() for key in node.attributes if key.startswith("on") or key == "style"]
    assert handlers == []


def test_style_and_script_are_short():
    folder = files("bnsbench.report.page") / "templates"
    lines = [
        line for name in ("style.css", "script.js") for line in (folder / name).read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) < 300
    assert max(map(len, lines)) <= 130


def test_every_figure_has_its_table_and_identifiers_are_unique(page):
    names = [node.attributes["id"] for node in page.all(id=True)]
    assert len(names) == len(set(names))
    described = [chart.attributes["aria-describedby"] for chart in page.all("svg", aria_describedby=True)]
    assert described
    assert set(described) <= {table.attributes.get("id") for table in page.all("table")}
    assert {link.attributes["href"] for link in page.all("use")} <= {f"#{name}" for name in names}


def test_solvers_have_one_colour_each_wherever_they_are(page):
    numbers: dict[str, set[str]] = {}
    for node in page.all(data_toggle=True):
        numbers.setdefault(node.text, set()).add(node.attributes["data-s"])
    assert set(numbers) == {"euler", "ab2", "ab2[grid=best]", "bns", "student"}
    assert all(len(found) == 1 for found in numbers.values())
    style = next(page.all("style")).text
    rules = re.findall(r"\.s(\d+)\{--c:(\S+)\}", style)
    assert len(rules) == len(dict(rules)) == 5


def test_samples_and_learned_tables_are_shown(page):
    pictures, sounds = (next(page.all("article", id=f"scenario={name}")) for name in ("ring8-w-0", "voices-w-0"))
    assert len(list(pictures.all("img"))) == 1 + 5 * 2
    assert len(list(sounds.all("audio"))) == 1 + 5 * 2
    assert all(node.attributes["preload"] == "none" for node in page.all("audio"))
    tables = list(pictures.all("details", data_n="8"))
    assert [table.children[0].text for table in tables] == ["bns, 8 NFE"]
    assert "98,760 network forwards (training 98,760), 1.5 seconds" in tables[0].text
    assert [node.text for node in tables[0].all("figcaption")][2] == "where it began: greedy"
    rects = [len(list(drawn.all("rect"))) for drawn in tables[0].all("svg", "map")]
    assert rects == [8 + 36] * 2
    assert "0.1234" in next(tables[0].all("table")).text


def test_the_origin_is_told(results, read_page):
    made = seal_of(results)
    write_text(results.folder / SEAL, made.text)
    told = next(read_page(build_page([results])).all("article", "manifest")).text
    assert f"bnsbench verify small --seal {made.digest}" in told
    assert "30 planned: 30 ok" in told
    assert "torch 2.6" in told
    (results.folder / "environment.json").write_text("{}")
    changed = next(read_page(build_page([results])).all("article", "manifest")).text
    assert "of the files as they are now; they are not sealed" in changed
    assert any("environment.json" in fault and fault in changed for fault in file_faults(results))


def test_a_verification_is_told_if_it_is_of_these_results(results, read_page, tmp_path):
    found = {"folder": str(results.folder), "agrees": False, "records": 30, "rerun": 4, "seed": 7}
    file = tmp_path / "verified.json"
    file.write_text(json.dumps({**found, "faults": ["One number is <b>wrong</b>."], "unchecked": [], "notes": []}))
    told = next(read_page(build_page([results], verifications=[file])).all("article", "manifest")).text
    assert "it does not agree; 30 records read, 4 cells run again" in told
    assert "One number is <b>wrong</b>." in told
    file.write_text(json.dumps({**found, "folder": "elsewhere", "faults": []}))
    with pytest.raises(UsageError, match="not on this page"):
        build_page([results], verifications=[file])
    file.write_text("[]")
    with pytest.raises(UsageError, match="is not what 'bnsbench verify RESULTS --json' prints"):
        build_page([results], verifications=[file])


def test_several_folders_stand_in_one_page(results, made_results, read_page):
    other = made_results([made_record("euler", 4, 12.5), made_record("heun", 4, 13.5)], name="other/small")
    page = read_page(build_page([results, other, ResultStore(results.folder)]))
    assert next(page.all("h3")).text.startswith("ring8, w = 0 (")
    manifests = [next(each.all("h3")).text for each in page.all("article", "manifest")]
    assert len(manifests) == 2
    assert manifests[1] == "other/small"
    assert len(list(page.all("article", "scenario"))) == 4
    numbers = {node.attributes["data-s"] for node in page.all(data_toggle=True) if node.text == "euler"}
    assert len(numbers) == 1


def test_hostile_names_inject_nothing(made_results, read_page):
    names = [HOSTILE, "x" * 300, "=1+1", "..", "\x1b[31mred"]
    made = [
        made_record(name, n, 20.0 + n + k, model=HOSTILE, kind="learned") for k, name in enumerate(names) for n in (4, 8)
    ]
    made.append(made_record("euler", 4, None, status="failed", reason=HOSTILE))
    store = made_results(made, suite=f"# {HOSTILE}\n", environment={HOSTILE: HOSTILE, "packages": {HOSTILE: HOSTILE}})
    text = build_page([store])
    page = read_page(text)
    assert len(list(page.all("script"))) == 1
    assert list(page.all("img")) == []
    assert "\x1b" not in text
    assert "\u202e" not in text
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert sum(shown in node.text for node in page.all("th", data_v=True)) >= 1
    assert f"euler, 4 NFE: failed ({shown})" in page.text


@pytest.mark.parametrize(
    "made",
    [
        [],
        [made_record("euler", 4, None, status="failed", reason="it broke"), made_record("ab2", 4, None, status="skipped")],
        [made_record("euler", 4, 20.0)],
        [made_record("euler", 4, 20.0), made_record("euler", 8, None, status="timeout")],
        [made_record(f"solver{k}", n, 20.0 + k + n / (k + 1), kind="learned") for k in range(100) for n in (4, 8, 16)],
    ],
    ids=["empty", "failed", "single", "partly failed", "hundred"],
)
def test_odd_results_make_a_page(made, made_results, read_page):
    text = build_page([made_results(made)])
    page = read_page(text)
    solvers = {record.cell["solver"]["name"] for record in made}
    assert {node.text for node in page.all(data_toggle=True)} == solvers
    assert len(list(page.all("article", "card"))) == len({record.cell["model"]["name"] for record in made})
    assert "nan" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL).lower()
    assert len(text) < LARGEST


def test_samples_stop_where_the_page_would_grow_too_large(results, read_page, monkeypatch):
    text = build_page([results])
    without = len(re.sub(r"data:[a-z]+/[a-z]+;base64,[A-Za-z0-9+/=]+", "", text))
    monkeypatch.setattr("bnsbench.report.page.build.LARGEST", without + 20_000)
    shorter = build_page([results])
    assert len(shorter) < without + 30_000 < len(text)
    page = read_page(shorter)
    assert re.search(r"\d+ pictures and sounds were left out", page.text)
    shown = list(page.all("td", data_n="8"))
    assert any(list(cell.all("img")) for cell in shown)


def test_previews_of_another_folder_are_shown(made_results, records, results, read_page):
    bare = made_results(records, name="bare")
    assert list(read_page(build_page([bare])).all("img")) == []
    assert len(list(read_page(build_page([bare], previews=results.previews)).all("img"))) == 2 * (1 + 10) + 11


def test_scenarios_that_a_page_cannot_hold_are_told(results, records, read_page, monkeypatch):
    whole = read_page(build_page([results]))
    assert "more than a page can hold" not in whole.text
    scenarios = list(whole.all("article", class_="scenario"))
    monkeypatch.setattr("bnsbench.report.page.sources.MOST_CELLS", 1)
    page = read_page(build_page([results]))
    assert len(list(page.all("article", class_="scenario"))) == 1 < len(scenarios) == 3
    told = f"have 3 scenarios with {len(records)} cells, more than a page can hold: it shows 1 of them, the first, with"
    assert f"{told} {len(records) // 3} cells one by one" in page.text


def test_seconds_of_several_devices_are_not_drawn_against_each_other(made_results):
    cells = [("euler", "classic", 20.0), ("ab2", "classic", 22.0), ("bns", "learned", 30.0)]
    here = [made_record(solver, 4, psnr, kind=kind) for solver, kind, psnr in cells]
    there = replace(here[2], environment={**here[2].environment, "device": "cuda", "device_name": "NVIDIA H200"})
    alike, mixed = (build_page([made_results(found, name)]) for name, found in (("a", here), ("b", [*here[:2], there])))
    assert "psnr over the seconds of a sample" in alike
    assert "several devices" not in alike
    assert "psnr over the seconds of a sample" not in mixed
    assert "Seconds were taken on several devices (cpu, NVIDIA H200)" in mixed
