"""Students on a page, beside the best learned table and the best classic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnsbench.report.page.build import build_page
from bnsbench.suite.record import Score
from tests.report.page.made import SIZES, TRAINED, made_record


@pytest.fixture
def table_of(made_results, read_page):
    """Return the rows of the table of students of some records, each a list of texts; none if the page has no such table."""

    def read(records):
        page = read_page(build_page([made_results(records)]))
        tables = [each for part in page.all("div", "distillation") for each in part.all("table")]
        cells = ([cell for cell in row.all() if cell.name in ("th", "td")] for table in tables for row in table.all("tr"))
        return [[shown(cell) for cell in row] for row in cells]

    return read


def shown(cell):
    """Return what a cell of a table says first, before intervals and ranks."""
    first = cell.children[0]
    return cell.text if cell.name == "th" or isinstance(first, str) else first.text


def scored(record, **values):
    scores = {name.replace("_", "-"): Score("1", "higher", "", value) for name, value in values.items()}
    return replace(record, metrics={**record.metrics, **scores})


def test_students_stand_beside_the_best_learned_table_and_the_best_tuned_classic(table_of):
    made = [
        made_record("euler", 4, 35.0),
        made_record("ab2[grid=best]", 4, 30.0, kind="tuned"),
        made_record("heun[grid=best]", 4, 20.0, kind="tuned"),
        made_record("bns", 4, 40.0, kind="learned"),
        made_record("dss", 4, 38.0, kind="learned"),
        scored(made_record("pd", 4, 25.0, kind="distilled"), diversity=0.75, coverage=0.5, kid_gt=0.25),
        made_record("mine", 4, 28.0, kind="distilled"),
        made_record("euler", 8, 45.0),
    ]
    head, *rows = table_of(made)
    assert head == [
        *("solver", "kind", "NFE", "psnr [dB]", "fid-gt", "diversity", "coverage"),
        *("learned numbers", "forwards of training", "pairs or images"),
    ]
    assert [row[:4] for row in rows] == [
        ["bns", "learned", "4", "40.00"],
        ["ab2[grid=best]", "tuned", "4", "30.00"],
        ["mine", "distilled", "4", "28.00"],
        ["pd", "distilled", "4", "25.00"],
    ]
    assert rows[3][5:] == ["0.75", "0.5", "123,456", f"{4 * TRAINED['distilled']:,}", "99,000"]
    assert rows[0][7:] == [f"{SIZES['learned']['parameters']:,}", f"{4 * TRAINED['learned']:,}", "520"]
    assert rows[1][5:] == ["-", "-", "-", f"{4 * TRAINED['tuned']:,}", "-"]


def test_without_tuned_ones_the_best_classic_is_shown(table_of):
    made = [made_record("euler", 4, 20.0), made_record("heun", 4, 24.0), made_record("pd", 4, 22.0, kind="distilled")]
    assert [row[0] for row in table_of(made)[1:]] == ["heun", "pd"]


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_without_a_student_that_was_measured_there_is_no_table(table_of, status):
    made = [made_record("euler", 4, 20.0), made_record("pd", 4, None, kind="distilled", status=status)]
    assert table_of(made) == []


def test_a_distance_other_than_fid_is_shown_where_there_is_no_fid(table_of):
    student = made_record("pd", 4, 22.0, kind="distilled")
    other = {"psnr": student.metrics["psnr"], "kid-gt[minimum=4]": Score("1", "lower", "", 0.125)}
    assert "kid-gt[minimum=4]" in table_of([replace(student, metrics=other)])[0]
