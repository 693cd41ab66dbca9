"""Forged files, and records that no run writes."""

from __future__ import annotations

import shutil

from bnsbench.report.results import sums
from tests.survival.catalogue.forgery import forgery
from tests.survival.forging import Forger


def after_all(forger: Forger, name: str, old: str, new: str) -> None:
    """Change a file that follows from the records, when all others fit."""
    forger.finish()
    file = forger.store.folder / name
    file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    relist(forger)


def relist(forger: Forger) -> None:
    (forger.store.folder / "SHA256SUMS").write_text(sums(forger.store.folder), encoding="utf-8")


@forgery(finished=True)
def a_row_of_the_leaderboard_is_another(forger: Forger) -> None:
    after_all(forger, "leaderboard.csv", "steps", "best")


@forgery(finished=True)
def a_row_of_the_leaderboard_is_removed(forger: Forger) -> None:
    file = forger.store.folder / "leaderboard.csv"
    forger.finish()
    file.write_text("\n".join(file.read_text(encoding="utf-8").splitlines()[:-1]) + "\n", encoding="utf-8")
    relist(forger)


@forgery(finished=True)
def the_leaderboard_for_people_is_another(forger: Forger) -> None:
    after_all(forger, "leaderboard.md", "steps", "best")


@forgery(beyond="pictures are compared with their hashes alone; the tables beside them are computed again")
def a_picture_is_another(forger: Forger) -> None:
    (forger.store.folder / "psnr.svg").write_text("<svg/>", encoding="utf-8")


@forgery(beyond="it belongs to no cell, and no table or command looks at it")
def a_record_is_added_that_the_plan_does_not_name(forger: Forger) -> None:
    record = forger.record()
    shutil.copyfile(forger.store.record_file(record.key), forger.store.cells / "another.json")


@forgery(beyond="it belongs to no cell, and no table or command looks at it")
def a_note_is_added(forger: Forger) -> None:
    (forger.store.folder / "notes.txt").write_text("We won.", encoding="utf-8")


@forgery(finished=True)
def a_record_is_not_listed(forger: Forger) -> None:
    forger.finish()
    sums = forger.store.folder / "SHA256SUMS"
    lines = [line for line in sums.read_text(encoding="utf-8").splitlines() if forger.record().key not in line]
    sums.write_text("\n".join(lines) + "\n", encoding="utf-8")


@forgery(finished=True)
def hashes_are_missing(forger: Forger) -> None:
    (forger.store.folder / "SHA256SUMS").unlink()


@forgery(finished=True)
def hashes_are_no_text(forger: Forger) -> None:
    (forger.store.folder / "SHA256SUMS").write_bytes(b"\xff\xfe\n")


@forgery()
def a_value_is_a_text(forger: Forger) -> None:
    forger.raw(forger.record(), lambda content: content["metrics"]["psnr"].update(value="99"))


@forgery()
def a_value_is_not_a_number(forger: Forger) -> None:
    forger.raw(forger.record(), lambda content: content["metrics"]["psnr"].update(value=float("nan")))


@forgery()
def a_value_is_infinite(forger: Forger) -> None:
    forger.raw(forger.record(), lambda content: content["metrics"]["psnr"].update(value=float("inf")))


@forgery()
def a_value_is_true(forger: Forger) -> None:
    forger.raw(forger.record(), lambda content: content["metrics"]["psnr"].update(value=True))


@forgery()
def values_by_sample_are_a_text(forger: Forger) -> None:
    forger.raw(forger.record(), lambda content: content["per_sample"].update(psnr="9" * 40))


@forgery()
def metrics_are_a_list(forger: Forger) -> None:
    forger.raw(forger.record(), lambda content: content.update(metrics=[]))


@forgery()
def a_cell_is_a_text(forger: Forger) -> None:
    forger.raw(forger.record(), lambda content: content.update(cell="plain"))


@forgery()
def seconds_are_a_text(forger: Forger) -> None:
    forger.raw(forger.record(), lambda content: content["seconds"].update(sampling="fast"))


@forgery()
def a_solver_is_nothing(forger: Forger) -> None:
    forger.raw(forger.record("learned"), lambda content: content.update(solver=None))


@forgery()
def a_record_is_nested_too_deep(forger: Forger) -> None:
    forger.store.record_file(forger.record().key).write_text("[" * 10**5, encoding="utf-8")


@forgery()
def a_record_is_a_folder(forger: Forger) -> None:
    file = forger.store.record_file(forger.record().key)
    file.unlink()
    file.mkdir()


@forgery()
def a_record_is_no_text(forger: Forger) -> None:
    forger.store.record_file(forger.record().key).write_bytes(b"\xff\xfe\x00")


@forgery()
def forwards_of_a_training_are_texts(forger: Forger) -> None:
    forger.solver(forger.record("learned"), lambda content: content["training"].update(forwards={"teacher": "few"}))
