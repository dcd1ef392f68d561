"""A run: its folder, its lock, its shards, and what of them is done."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankformer.errors import OutputError, RankformerError
from rankformer.placed import PARTS, placed_by
from rankformer.printable import printable
from rankformer.runs.failures import kept_failures
from rankformer.runs.inputs import InputFile
from rankformer.runs.locks import locked, taking_turns
from rankformer.runs.manifest import MANIFEST, Manifest, Work
from rankformer.runs.plans import expect_few_shards, expect_within, noted_shards
from rankformer.runs.run_folders import (
    PLAN,
    PREPARED,
    SHARDS,
    clear_run_folder,
    described_aside,
    expect_run_folder,
    holds_work,
    put_back_described,
    remove_without_work,
)
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import (
    Shard,
    ShardWriter,
    Share,
    about_shard,
    cut_shards,
    half_written,
    shard_file,
    sync,
    write_shard,
)
from rankformer.scratch import as_output_error, make_folder, scratch_folder

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)


class Run:
    """The folder of a run, whose manifest is known.

    Attributes
    ----------
    folder
        Where it lies.
    manifest
        What it is of.
    is_removed
        Whether its folder was deleted, as the result is elsewhere.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self.is_removed = False

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Open a folder to read what was done.

        Raises
        ------
        OutputError
            If it holds no run.
        """
        return cls(folder, Manifest.read(folder))

    def shards(self) -> list[Shard]:
        """All shards: those that the manifest names, or else of each cell of each input."""
        return list(self._shards)

    @cached_property
    def _shards(self) -> list[Shard]:
        sizes = [each.n_cells for each in self.manifest.inputs]
        noted = noted_shards(self.manifest.notes)
        if noted is not None:
            expect_within(noted, sizes)
            return noted
        cells_each = self.manifest.work.shard_cells
        expect_few_shards(sizes, cells_each)
        return [
            shard
            for index, each in enumerate(self.manifest.inputs)
            for shard in cut_shards(index, each.n_cells, cells_each)
        ]

    def has_cells(self, index: int) -> bool:
        """Whether an input, by its number, could be read when it was looked at."""
        inputs = self.manifest.inputs
        return 0 <= index < len(inputs) and inputs[index].n_cells > 0

    def first_cell(self, index: int) -> int:
        """Where the cells of an input begin, counted over all inputs."""
        return sum(each.n_cells for each in self.manifest.inputs[:index])

    def file(self, shard: Shard, kind: str = "") -> Path:
        """The Parquet file of a shard."""
        return shard_file(self.folder / SHARDS / f"{shard.name}.parquet", kind)

    def is_done(self, shard: Shard) -> bool:
        """Whether it was computed, by this work, and is whole."""
        file = self.file(shard)
        if not file.exists():
            return False
        about = about_shard(file)
        if about is not None and about.items() >= self._identity(shard).items():
            return True
        logger.warning(
            "%s is damaged or of another run, and is computed again.", printable(str(file))
        )
        return False

    def n_rows(self, shard: Shard) -> int:
        """The rows of the main file of a shard that is done."""
        import pyarrow.parquet as pq

        return int(pq.read_metadata(self.file(shard)).num_rows)

    def notes(self, shard: Shard) -> dict[str, Any]:
        """What a shard that is done says of itself."""
        return about_shard(self.file(shard)) or {}

    def read_shard(
        self, shard: Shard, kind: str = "", columns: Sequence[str] | None = None
    ) -> "pa.Table":
        """The rows of a shard that is done.

        Raises
        ------
        OutputError
            If they cannot be read.
        """
        import pyarrow.parquet as pq

        file = self.file(shard, kind)
        with _as_shard_error(file):
            return pq.ParquetFile(file, page_checksum_verification=True).read(columns=columns)

    def row_groups(self, shard: Shard, kind: str = "") -> "Iterator[pa.Table]":
        """The rows of a shard that is done, some at a time; none where it has no such file.

        Raises
        ------
        OutputError
            If they cannot be read.
        """
        import pyarrow.parquet as pq

        file = self.file(shard, kind)
        if not file.exists():
            return
        with _as_shard_error(file):
            opened = pq.ParquetFile(file, page_checksum_verification=True)
        with opened:
            for index in range(opened.num_row_groups):
                with _as_shard_error(file):
                    group = opened.read_row_group(index)
                if group.num_rows:
                    yield group

    def prepared(self, name: str, compute: "Callable[[], pa.Table]") -> "pa.Table":
        """What all shards need: computed by one process while others wait, and kept with the run.

        Parameters
        ----------
        name
            Of the file.
        compute
            Called where it was not computed before.

        Raises
        ------
        OutputError
            If it cannot be written or read.
        """
        import pyarrow.parquet as pq

        file = self.folder / PREPARED / f"{name}.parquet"
        with taking_turns(self.folder, name, "computes what all shares need"):
            about = about_shard(file) or {}
            if about.get("run") != self.manifest.work.id:
                make_folder(file.parent)
                _remove(file.parent.glob(f"{file.name}.*.part"))
                table = compute()
                with write_shard(file, {"run": self.manifest.work.id}) as writer:
                    writer.add(table)
            with _as_shard_error(file):
                return pq.ParquetFile(file, page_checksum_verification=True).read()

    @contextmanager
    def writing(self, shard: Shard) -> Iterator[ShardWriter]:
        """Write a shard; see `write_shard`."""
        with write_shard(self.file(shard), self._identity(shard)) as writer:
            yield writer

    def _identity(self, shard: Shard) -> dict[str, Any]:
        """What a shard is of: its file may have been renamed, or its input changed since."""
        identity = self.manifest.inputs[shard.input].identity
        return {"run": self.manifest.work.id, "of": identity, **_plain(shard)}


@contextmanager
def _as_shard_error(file: Path) -> Iterator[None]:
    try:
        yield
    # A damaged file makes its reader raise nearly anything.
    except Exception as error:
        raise OutputError(
            f"The shard {file} could not be read: {str(error)[:200]}.",
            "A shard as a run writes it.",
            "Remove it, and give the command of the run again, which computes it anew.",
        ) from error


def _plain(shard: Shard) -> dict[str, int]:
    return {"step": shard.step, "input": shard.input, "start": shard.start, "stop": shard.stop}


def earlier_run(folder: Path, settings: RunSettings) -> Manifest | None:
    """The manifest of a run that was begun in a folder, unless it is to begin anew.

    Raises
    ------
    OutputError
        If there is a manifest that cannot be read.
    """
    if settings.restart or not (folder / MANIFEST).exists():
        return None
    return Manifest.read(folder)


@contextmanager
def open_run(
    folder: Path,
    settings: RunSettings,
    describe: Callable[[Manifest | None], tuple[Work, tuple[InputFile, ...], dict[str, Any]]],
) -> Iterator[Run]:
    """Begin a run or go on with one, alone: the folder is locked until the end.

    What is done stays when the block ends, however it ends, and it is said how to go on.

    Parameters
    ----------
    folder
        Of the run; it is made.
    settings
        Which share is done, and whether to begin anew.
    describe
        Called with the manifest of an earlier run, or None: gives what is computed, of which inputs
        as they are now, and what is to be noted. Only one process calls it at a time.

    Raises
    ------
    OutputError
        If another run is at work on the folder, it holds parts of another run or something else,
        or cannot be written to.
    """
    is_own = settings.shard is None and not folder.exists()
    expect_run_folder(folder)
    run: Run | None = None
    try:
        make_folder(folder)
        with as_output_error(folder), locked(folder, settings.shard):
            with taking_turns(folder, PLAN, "looks at the inputs"):
                run = _plan(folder, settings, describe)
            _remove_half_written(run, settings.shard)
            with placed_by(folder):
                yield run
    except BaseException as error:
        if run is None and not isinstance(error, Exception):
            run = _run_before(folder)
        _tell_how_to_go_on(run, settings)
        raise
    finally:
        if is_own and (run is None or not run.is_removed):
            remove_without_work(folder)


def _plan(
    folder: Path,
    settings: RunSettings,
    describe: Callable[[Manifest | None], tuple[Work, tuple[InputFile, ...], dict[str, Any]]],
) -> Run:
    put_back_described(folder)
    before = earlier_run(folder, settings)
    # What is mistyped is found before the work of hours is deleted.
    with described_aside(folder) if settings.restart else nullcontext():
        work, inputs, notes = describe(before)
    if settings.restart:
        clear_run_folder(folder)
    manifest = Manifest(work, inputs, notes)
    if before is not None:
        now = {each.path: each for each in inputs}
        before.expect_values(folder)
        before.expect_same(work, now, folder, may_change=_set_aside(folder, before))
        changed = [
            index for index, each in enumerate(before.inputs)
            if not each.n_cells or each.differs_from(now[each.path])
        ]  # fmt: skip
        known = [now[each.path] if i in changed else each for i, each in enumerate(before.inputs)]
        # Its own work: what a newer version knows besides gives shards another identity.
        manifest = Manifest(before.work, tuple(known), before.notes)
        if manifest.inputs == before.inputs:
            return Run(folder, manifest)
        for index in changed:
            _remove((folder / SHARDS).glob(f"*-{index:06d}-*"))
    (folder / SHARDS).mkdir(exist_ok=True)
    file = folder / MANIFEST
    part = half_written(file)
    manifest.write(part)
    sync(part)
    part.replace(file)
    sync(folder)
    return Run(folder, manifest)


def _set_aside(folder: Path, manifest: Manifest) -> set[str]:
    """Inputs that failed: they may be mended, unless others' shards depend on their cells."""
    if noted_shards(manifest.notes) is not None:
        return set()
    failed = kept_failures(folder)
    return {each.path for index, each in enumerate(manifest.inputs) if index in failed}


def _remove_half_written(run: Run, share: Share | None) -> None:
    """Remove what a run that was killed left of shards that this one computes."""
    folder = run.folder / SHARDS
    if share is None:
        left = list(folder.glob("*.part"))
    else:
        own = {shard.name for shard in share.among(run.shards())}
        left = [each for each in folder.glob("*.part") if each.name.partition(".")[0] in own]
    _remove(left)


def _remove(files: Iterable[Path]) -> None:
    for each in files:
        with suppress(OSError):
            each.unlink()


def remove_run(run: Run) -> None:
    """Delete the folder of a run whose result is elsewhere."""
    folder = run.folder
    output = folder.with_name(folder.name.removesuffix(PARTS))
    # At once, where the system can: a run that is killed here has ended, and lost no shards.
    with suppress(OSError, OutputError), scratch_folder(output) as aside:
        folder.rename(aside / folder.name)
        # Another run may make a folder of this name from now on.
        run.is_removed = True
    if not run.is_removed:
        # The manifest first: shards without one are of no run.
        (folder / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        run.is_removed = True


def _run_before(folder: Path) -> Run | None:
    """An earlier run in a folder, where the new one was stopped before it was known."""
    try:
        return Run.read(folder)
    except RankformerError:
        return None


def _tell_how_to_go_on(run: Run | None, settings: RunSettings) -> None:
    if run is None:
        return
    try:
        n_shards = len(run.shards())
    # Of a damaged manifest the error says what to do.
    except RankformerError:
        return
    n_done = sum(1 for _ in (run.folder / SHARDS).glob("*[0-9].parquet"))
    if n_done or holds_work(run.folder):
        logger.warning(
            "%s of %s shards are done, and kept in %s. The same command%s goes on from there.",
            f"{n_done:,}", f"{n_shards:,}", printable(str(run.folder)),
            " without --restart" if settings.restart else "",
        )  # fmt: skip
