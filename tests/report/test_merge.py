"""Shards and parts of a suite, merged: the same as one process would have written, or refused."""

from __future__ import annotations

import csv as csv_files
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bnsbench.api.running import run_and_report
from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.report import merge as merging
from bnsbench.report import results
from bnsbench.report.integrity import faults
from bnsbench.report.leaderboard import TIMINGS
from bnsbench.report.merge import merge
from bnsbench.report.publish import publish
from bnsbench.report.seal import seal
from bnsbench.suite import record as records
from bnsbench.suite.migrations import STEPS
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import SCHEMA, format_record
from bnsbench.suite.run import RunOptions
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite

PLUGIN = Path(__file__).parent.parent / "suite" / "tiny_plugin.py"
COUNT = 4

SUITE = """
samples = 20
nfe = [2, 3, 4]
metrics = ["psnr", "width"]
solvers = ["steps", "pairs", "learned"]
models = [{ name = "tiny", tolerance = 1e-4, guidance = [0.0, 1.0] }, { name = "plain", tolerance = 1e-4 }]
"""


class Notices(RunListener):
    """Remembers what it is told."""

    def __init__(self):
        self.texts = []

    def notice(self, text):
        self.texts.append(text)


@pytest.fixture
def host():
    return PluginHost.load([PLUGIN])


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch):
    """Pictures follow from the leaderboard, and take seconds."""
    monkeypatch.setattr(results, "_draw", lambda *_: None)


@pytest.fixture
def listener():
    return Notices()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return what a suite writes in one process, in shards of their own folders, in shards of one, and in parts."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "small.toml").write_text(SUITE)
    host = PluginHost.load([PLUGIN])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "_draw", lambda *_: None)

        def run(place, **options):
            patch.setenv("BNSBENCH_CACHE", str(folder / f"cache-{place}"))
            chosen = RunOptions(str(folder / "small.toml"), results=folder / place, device="cpu", **options)
            return run_and_report(chosen, host, RunListener())

        run("one")
        for index in range(COUNT):
            run(f"shard-{index}", shard=f"{index}/{COUNT}")
            outcome, _ = run("shared", shard=f"{index}/{COUNT}")
            assert bool(outcome.missing) == (index < COUNT - 1)
            assert (folder / "shared/small/leaderboard.csv").exists() == (index == COUNT - 1)
        run("part-tiny", models="tiny", solvers=["steps", "pairs"])
        run("part-learned", models="tiny", solvers="learned")
        run("part-plain", models="plain")
        run("part-psnr", metrics="psnr", models="plain")
    return folder


@pytest.fixture
def world(made, tmp_path):
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


@pytest.fixture
def shards(world):
    return [world / f"shard-{index}" for index in range(COUNT)]


@pytest.fixture
def join(world, host, listener):
    return lambda *folders, **options: merge(folders, world / "merged", host, listener, **options)


def without_timings(file):
    rows = list(csv_files.DictReader(file.read_text().splitlines()))
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in rows]


def plain(file):
    """Return a file's content without what two runs of one thing differ in: times, and hashes of what has times."""
    if file.suffix != ".json" or file.name == "plan.json":
        return file.read_bytes()
    content = json.loads(file.read_text())
    for name in ("seconds", "checksum", "commands"):  # a part is run by a command of its own
        content.pop(name, None)
    content.get("training", {}).pop("seconds", None)
    return content


TIMED = {"timings.json", "leaderboard.csv", "leaderboard.md", "SHA256SUMS"}


def contents(folder):
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    return {file.relative_to(folder).as_posix(): plain(file) for file in files if file.name not in TIMED}


def everything(folder):
    return {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def same_as_one_process(folder, world):
    one = world / "one" / "small"
    assert contents(folder) == contents(one)
    assert without_timings(folder / "leaderboard.csv") == without_timings(one / "leaderboard.csv")
    assert list(faults(ResultStore(folder))) == []
    return True


def change(store, key, **changes):
    """Write another record in the place of one, well-formed."""
    store.write(replace(read(store, key), **changes))


def read(store, key):
    """Return a record that is known to be there."""
    return store.read(key)


def a_key(folder, solver="steps"):
    return next(file.stem for file in sorted((folder / "cells").glob(f"*_{solver}_nfe4*.json")))


def test_shards_in_folders_of_their_own_merge_to_what_one_process_writes(join, shards, world):
    before = everything(world)
    done = join(*shards)
    assert (done.cells, done.missing, done.failed, done.environments, done.notes) == (27, 0, 0, 1, ())
    assert done.exit_code == 0
    assert same_as_one_process(done.folder, world)
    assert {file: before[file] for file in before} == {file: file.read_bytes() for file in before}, "an input was changed"


def test_shards_in_one_folder_need_no_merge(world):
    assert same_as_one_process(world / "shared" / "small", world)


def test_a_folder_of_shards_can_be_merged_in_place(world, host, listener):
    (world / "shared/small/leaderboard.csv").unlink()
    merge([world / "shared"], world / "shared", host, listener)
    assert same_as_one_process(world / "shared" / "small", world)


def test_merged_results_can_be_sealed_and_published(join, shards, world, host):
    done = join(*shards)
    assert len(seal(ResultStore(done.folder)).digest) == 64
    assert publish(ResultStore(done.folder), host, world / "published").new == 27


def test_parts_by_options_merge_to_the_whole_suite(join, world):
    done = join(*(world / f"part-{name}" for name in ("tiny", "learned", "plain")), suite=read_suite(world / "small.toml"))
    assert same_as_one_process(done.folder, world)


def test_missing_cells_are_counted_and_the_leaderboard_is_of_those_there(join, world):
    done = join(world / "part-tiny", world / "part-plain", suite=read_suite(world / "small.toml"))
    assert (done.cells, done.missing, done.exit_code) == (27, 6, 1)
    assert len(without_timings(done.folder / "leaderboard.csv")) == 21


def test_the_smallest_suite_of_all_parts_is_made_where_none_is_named(join, world, host):
    done = join(world / "part-tiny", world / "part-learned")
    suite = read_suite(done.folder / "suite.toml")
    assert [(entry.name, entry.solvers) for entry in suite.full_entries()] == [("tiny", ("steps", "pairs", "learned"))]
    assert done.missing == 0
    assert list(faults(ResultStore(done.folder))) == []


def test_cells_of_no_cell_of_the_suite_are_left_out_and_told(join, world, listener):
    suite = read_suite(world / "small.toml").model_copy(update={"solvers": ("steps",)})
    done = join(world / "one", suite=suite)
    assert (done.cells, done.missing) == (9, 0)
    assert "18 cells of" in listener.texts[0]
    assert len(list((done.folder / "cells").iterdir())) == 9


def test_a_record_with_a_result_stands_before_one_that_failed(join, shards, world):
    shutil.copytree(shards[0], world / "again")
    store = ResultStore(world / "again" / "small")
    key = next(record.key for record in store.records() if record.status == "ok")
    change(store, key, status="failed", reason="the machine broke", metrics={}, per_sample={}, replicates={})
    done = join(world / "again", *shards)
    assert done.failed == 0
    assert same_as_one_process(done.folder, world)
    shutil.rmtree(done.folder)
    only = [folder for folder in shards if folder != shards[0]]
    done = join(world / "again", *only)
    assert (done.failed, done.missing, done.exit_code) == (1, 0, 1)
    assert join(*shards).failed == 0, "what is there already is mended"
    assert same_as_one_process(done.folder, world)


def test_metrics_that_only_some_parts_have_come_together(join, world):
    done = join(world / "part-psnr", world / "part-plain")
    key = a_key(done.folder)
    assert read(ResultStore(done.folder), key).metrics == read(ResultStore(world / "one/small"), key).metrics


def test_contradicting_records_are_refused_with_both_files_and_nothing_is_written(join, world, listener):
    store, key = ResultStore(world / "part-plain" / "small"), a_key(world / "part-plain" / "small")
    found = read(store, key)
    score = found.metrics["psnr"]
    better = replace(score, value=score.value + 1, low=score.low + 1, high=score.high + 1)
    change(store, key, metrics={**found.metrics, "psnr": better})
    before = everything(world)
    with pytest.raises(BnsbenchError, match="contradict each other") as caught:
        join(world / "one", world / "part-plain")
    for folder in ("one", "part-plain"):
        assert str(world / folder / "small" / "cells" / f"{key}.json") in str(caught.value)
    assert everything(world) == before
    done = join(world / "part-plain", world / "one", keep_first=True)
    assert read(ResultStore(done.folder), key).metrics["psnr"] == better
    assert "The first is kept." in " ".join(listener.texts)


def test_values_within_the_tolerances_of_verify_are_no_contradiction(join, world, listener):
    store, key = ResultStore(world / "part-plain" / "small"), a_key(world / "part-plain" / "small")
    found = read(store, key)
    score = found.metrics["psnr"]
    near = replace(score, value=score.value + 1e-5)
    change(store, key, metrics={**found.metrics, "psnr": near})
    done = join(world / "one", world / "part-plain")
    assert read(ResultStore(done.folder), key).metrics["psnr"] == score
    assert listener.texts[0].startswith("1 cell was measured more than once")


def test_contradicting_solver_files_are_refused_with_both_files(join, world):
    """Of a rung that no record names, so that the records agree."""
    for name, step in (("one", 0.25), ("part-tiny", 0.26)):
        place = world / name / "small" / "solvers"
        place.mkdir(exist_ok=True)
        content = json.loads(next((world / "one/small/solvers").glob("*_learned_nfe4*")).read_text())
        content["solver"]["b"][0][0] = step
        (place / "rung_nfe4.json").write_text(json.dumps(content))
    with pytest.raises(BnsbenchError, match=r"hold different tables") as caught:
        join(world / "one", world / "part-tiny")
    assert str(caught.value).count("rung_nfe4.json") == 2


def test_the_solver_file_is_that_of_the_record_that_is_kept(join, world):
    store = ResultStore(world / "part-learned/small")
    key = a_key(store.folder, "learned")
    name = read(store, key).solver["file"]
    content = json.loads((store.solvers / name).read_text())
    content["solver"]["b"][0][0] += 0.1
    (store.solvers / name).write_text(json.dumps(content))
    done = join(world / "part-learned", world / "one", keep_first=True)
    assert not done.missing
    assert (done.folder / "solvers" / name).read_bytes() == (world / "one/small/solvers" / name).read_bytes()
    assert list(faults(ResultStore(done.folder))) == []


def test_a_newer_record_is_refused_with_what_to_upgrade(join, shards, world, monkeypatch):
    store = ResultStore(shards[1] / "small")
    file = store.record_file(a_key(store.folder))
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "schema": SCHEMA + 1}))
    with pytest.raises(BnsbenchError, match=f"has schema {SCHEMA + 1}, which is newer than this bnsbench; please upgrade"):
        join(*shards)
    assert not (world / "merged").exists()


@pytest.mark.parametrize("what", ["plan.json", "solver"])
def test_newer_plans_and_solvers_are_refused_too(join, world, what):
    place = world / "one" / "small"
    file = place / what if what == "plan.json" else sorted((place / "solvers").iterdir())[0]
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "schema": 99}))
    with pytest.raises(BnsbenchError, match="has schema 99, which is newer than this bnsbench; please upgrade it"):
        join(world / "one")


def test_older_records_come_out_in_the_present_schema(join, world, monkeypatch):
    store = ResultStore(world / "one/small")
    key = a_key(store.folder)
    made = read(store, key)
    content = {**made.to_dict(), "schema": 0}
    content["note"] = content.pop("reason")
    del content["checksum"]
    store.record_file(key).write_text(json.dumps({**content, "checksum": records._checksum(content)}))
    monkeypatch.setitem(STEPS, 0, lambda old: {**old, "reason": old["note"]})
    done = join(world / "one")
    assert (done.folder / "cells" / f"{key}.json").read_text() == format_record(made)


def test_damaged_records_and_those_without_their_solver_are_missing_and_told(join, world, listener):
    store = ResultStore(world / "one/small")
    damaged, bare = a_key(store.folder), a_key(store.folder, "learned")
    store.record_file(damaged).write_text("{")
    (store.solvers / read(store, bare).solver["file"]).unlink()
    done = join(world / "one")
    assert done.missing == 2
    assert any(f"{damaged}.json is damaged" in text and text.endswith("it is left out.") for text in listener.texts)
    assert any(f"{bare}.json, as the solver file" in text and "is missing" in text for text in listener.texts)
    assert store.record_file(damaged).read_text() == "{", "an input was changed"


def test_environments_of_all_machines_are_kept(join, shards, world, host):
    store = ResultStore(shards[2] / "small")
    other = {**json.loads(store.environment_file.read_text()), "processor": "abacus"}
    store.write_environment(other)
    done = join(*shards)
    merged = ResultStore(done.folder)
    assert done.environments == 2
    found = [json.loads(file.read_text()) for file in merged.environment_files()]
    assert len(found) == 3, "the first, and both of them"
    assert {each["processor"] for each in found} == {other["processor"], found[0]["processor"]}
    assert list(faults(merged)) == []
    published = publish(merged, host, world / "published").folder
    assert len(ResultStore(published).environment_files()) == 3


def test_an_interrupted_merge_goes_on(join, shards, world, monkeypatch):
    calls = []

    def put(file, content):
        calls.append(file)
        if len(calls) == 5:
            raise KeyboardInterrupt
        place(file, content)

    place = merging._put
    before = everything(world)
    with monkeypatch.context() as patch:
        patch.setattr(merging, "_put", put)
        with pytest.raises(KeyboardInterrupt):
            join(*shards)
    assert {file: before[file] for file in before} == {file: file.read_bytes() for file in before}
    assert same_as_one_process(join(*shards).folder, world)


def test_merging_again_changes_nothing(join, shards, world):
    done = join(*shards)
    before = everything(done.folder)
    join(*shards)
    assert everything(done.folder) == before


def test_links_are_not_followed(join, world, listener, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    store = ResultStore(world / "one/small")
    first, second = a_key(store.folder), a_key(store.folder, "pairs")
    shutil.move(store.record_file(first), tmp_path / "record.json")
    store.record_file(first).symlink_to(tmp_path / "record.json")
    store.previews.mkdir(exist_ok=True)
    (store.previews / f"{second}.png").unlink(missing_ok=True)
    (store.previews / f"{second}.png").symlink_to(secret)
    (store.solvers / "linked.json").symlink_to(secret)
    done = join(world / "one")
    assert done.missing == 1
    assert any(f"{first}.json is a link" in text for text in listener.texts)
    assert not any(b"secret" in content for content in everything(done.folder).values())


@pytest.mark.parametrize("name", ["cells", "solvers", "plan.json", "suite.toml", "environment.json"])
def test_a_folder_made_of_links_is_refused(join, world, tmp_path, name):
    place = world / "one" / "small" / name
    shutil.move(place, tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BnsbenchError, match=f"{name} is a link"):
        join(world / "one")


@pytest.mark.parametrize("key", ["../../escaped", "a/b", "", "x" * 300, ".hidden", "a\x00b", 3])
def test_absurd_keys_of_a_plan_are_refused(join, world, key):
    file = world / "one" / "small" / "plan.json"
    plan = json.loads(file.read_text())
    file.write_text(json.dumps({**plan, "cells": [*plan["cells"], key]}))
    with pytest.raises(BnsbenchError, match="its cells are no list of keys"):
        join(world / "one")


def test_oddly_named_files_are_no_part_of_a_merge(join, world):
    store = ResultStore(world / "one/small")
    for name in ("a b.json", "x;y.json", "ümlaut.json"):
        for place in (store.cells, store.solvers):
            (place / name).write_text("{}")
    (store.previews).mkdir(exist_ok=True)
    (store.previews / "stray.png").write_text("x")
    os.mkfifo(store.cells / "pipe.json")
    os.mkfifo(store.solvers / "pipe.json")
    before = contents(world / "shared" / "small")
    assert contents(join(world / "one").folder) == before


def test_a_record_of_another_cell_under_a_name_is_left_out(join, world, listener):
    """Its checksum holds and its key is the file's: only the cell tells."""
    store = ResultStore(world / "one/small")
    key = a_key(store.folder)
    change(store, key, cell={**read(store, key).cell, "nfe": 3})
    assert join(world / "one").missing == 1
    assert "its cell is not the one that its name says" in listener.texts[0]


def test_plans_of_other_versions_of_a_component_are_refused(join, shards):
    file = shards[1] / "small" / "plan.json"
    plan = json.loads(file.read_text())
    file.write_text(json.dumps({**plan, "cells": [f"{plan['cells'][0][:-1]}x", *plan["cells"][1:]]}))
    with pytest.raises(BnsbenchError, match="as of other versions of a component") as caught:
        join(*shards)
    assert str(file) in str(caught.value)


def test_versions_of_a_model_that_contradict_each_other_are_refused(join, shards):
    for index, version in enumerate(("a", "b")):
        file = shards[index] / "small" / "plan.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "versions": {"model tiny_plugin/tiny model": version}}))
    with pytest.raises(BnsbenchError, match="different versions of the model tiny_plugin/tiny model"):
        join(*shards)


def test_results_of_other_suites_are_refused(join, world):
    file = world / "part-plain/small/suite.toml"
    file.write_text(file.read_text().replace('name = "small"', 'name = "other"'))
    with pytest.raises(UsageError, match="are no parts of one suite: name is small in the one and other in the other"):
        join(world / "one", world / "part-plain")
    done = join(world / "part-tiny", world / "part-plain", suite=read_suite(world / "small.toml"))
    assert (done.cells, done.missing) == (27, 6)


def test_nothing_and_no_results_are_refused(join, world):
    with pytest.raises(BnsbenchError, match="nothing to merge"):
        join()
    with pytest.raises(BnsbenchError, match="There are no results in"):
        join(world / "one", world / "nowhere")
