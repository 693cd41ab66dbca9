"""Publishing: copies a finished run, checked, to a folder of results, either whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, CorruptFileError, UsageError
from bnsbench.report.integrity import faults, plan_faults
from bnsbench.report.results import PICTURE, write_reports
from bnsbench.suite.record import RETRIED, Record
from bnsbench.suite.store import ResultStore, storage_errors


@dataclass(frozen=True)
class Publication:
    """The outcome of publishing: the folder, and the numbers of records by how they compare with those published before.

    removed: records that were published before and are no longer.
    """

    folder: Path
    new: int
    changed: int
    unchanged: int
    removed: int

    @property
    def records(self) -> int:
        """The records that are published now."""
        return self.new + self.changed + self.unchanged

    @property
    def replaced(self) -> int:
        """The records that were published before."""
        return self.changed + self.unchanged + self.removed


def publish(
    store: ResultStore, host: PluginHost, output: Path, *, allow_failed: bool = False, replace: bool = False
) -> Publication:
    """Copy a finished run to output/SUITE: its suite, plan, environment, records, solvers, tables, pictures and hashes.

    What is published appears whole or not at all, without previews and without what other runs left in the folder.

    Args:
        store: The run's results folder.
        host: The plugins, by which the plan is checked.
        output: The folder of published results.
        allow_failed: Publish cells that failed or timed out, too.
        replace: Drop published records that the run does not have.

    Raises:
        BnsbenchError: The run is unfinished, damaged or has failures.
        UsageError: Records would be dropped and ``replace`` is not given, or the output is the run itself.
    """
    target = ResultStore(output / store.folder.name)
    if target.folder.resolve() == store.folder.resolve():
        raise UsageError(f"{store.folder} is where it would be published: name another folder by --output.")
    _recover(target.folder)
    records = _checked(store, host, allow_failed)
    publication = _compared(records, target)
    if publication.removed and not replace:
        raise UsageError(
            f"{target.folder} holds {publication.removed} records that {store.folder} does not: add --replace to drop them."
        )
    with storage_errors(target.folder), _staging(output) as place:
        copy = ResultStore(place / store.folder.name)
        _copy(store, records, copy)
        write_reports(copy)
        _refuse(list(faults(copy)), "The copy is not what it should be")
        _swap(copy.folder, target.folder)
    return publication


def _checked(store: ResultStore, host: PluginHost, allow_failed: bool) -> list[Record]:
    """Return the records of a run that may be published; BnsbenchError says why it may not."""
    _refuse(list(faults(store)) or list(plan_faults(store, host)), f"{store.folder} cannot be published")
    records = list(store.records())
    failed = [record for record in records if record.status in RETRIED]
    if failed and not allow_failed:
        first = f"{failed[0].key} ({failed[0].status}: {failed[0].reason})"
        raise BnsbenchError(
            f"{store.folder} has {len(failed)} cells without a result, such as {first}: run it again, or add --allow-failed."
        )
    return records


def _refuse(found: Sequence[str], what: str) -> None:
    if found:
        more = f" (and {len(found) - 1} more faults)" if len(found) > 1 else ""
        raise BnsbenchError(f"{what}: {found[0]}{more} 'bnsbench run' mends what can be mended.")


def _compared(records: Sequence[Record], target: ResultStore) -> Publication:
    """Return how the records compare with those in the target, damaged ones among them."""
    before = {file.stem for file in target.cells.glob("*.json")}
    same = sum(record.key in before and _published(target, record.key) == record.to_dict() for record in records)
    both = sum(record.key in before for record in records)
    return Publication(target.folder, len(records) - both, both - same, same, len(before - {each.key for each in records}))


def _published(target: ResultStore, key: str) -> object:
    try:
        record = target.read(key)
    except (CorruptFileError, BnsbenchError):
        return None
    return None if record is None else record.to_dict()


def _copy(store: ResultStore, records: Sequence[Record], copy: ResultStore) -> None:
    """Copy what belongs to the records; a picture that is there need not be drawn again."""
    solvers = {store.solvers / str(record.solver["file"]) for record in records if "file" in record.solver}
    own = [store.suite_file, store.plan_file, *store.environment_files()]
    own += [store.folder / f"{PICTURE}.{suffix}" for suffix in ("png", "svg")]
    cells = [store.record_file(record.key) for record in records]
    for file in [*(file for file in own if file.is_file()), *cells, *sorted(solvers)]:
        place = copy.folder / file.relative_to(store.folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """Yield a hidden folder beside the published ones, which is gone in the end."""
    output.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".publish-", dir=output))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    """Put a folder in the place of another, which is kept until the new one is there."""
    aside = _aside(target)
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():
        target.rename(aside)
    try:
        new.rename(target)
    except OSError:
        _recover(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _recover(target: Path) -> None:
    """Put back what a publication that was killed between two renames has left aside."""
    if _aside(target).exists() and not target.exists():
        _aside(target).rename(target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.before")
