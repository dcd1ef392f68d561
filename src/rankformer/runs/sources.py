"""The inputs of a run, opened one at a time or kept open, with those set aside that fail."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from rankformer.cells.file_kinds import reading
from rankformer.errors import MissingFileError, RankformerError
from rankformer.printable import printable
from rankformer.runs.inputs import InputFile
from rankformer.runs.manifest import Manifest
from rankformer.runs.open_files import make_room_for
from rankformer.summary import Failure
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import StagedSource, TokenSource
from rankformer.tokens.tokenize import TokenStream, open_token_source
from rankformer.vocabulary.vocabulary import Vocabulary

logger = logging.getLogger(__name__)
_TELL_OF_INPUTS = ("rankformer.cells", "rankformer.genes", "rankformer.tokens")


class RunInputs:
    """The inputs of a run.

    Parameters
    ----------
    paths
        Each an input of its own, in the order of their cells.
    vocabulary
        Of the model that is to read their tokens.
    options
        Where counts and genes lie, for all of them.
    keep_open
        Open all at once, and keep them and the obs of all cells; otherwise one at a time.
    fail_fast
        Raise the first error that one makes; otherwise set it aside.

    Attributes
    ----------
    paths, vocabulary, options
        As given.
    failures
        Number of the input → why it could not be read.
    look
        Called with each input that `survey` opens; not with those that a manifest knows.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        vocabulary: Vocabulary,
        options: ReadingOptions | None = None,
        *,
        keep_open: bool = False,
        fail_fast: bool = False,
    ) -> None:
        self.paths = list(paths)
        self.failures: dict[int, Failure] = {}
        self.look: Callable[[TokenSource], None] | None = None
        self.vocabulary, self.options = vocabulary, options or ReadingOptions()
        # One alone is opened once, for the survey and for the work.
        self._keep_open, self._fail_fast = keep_open or len(self.paths) == 1, fail_fast
        if keep_open:
            make_room_for(self.paths)
        self._kept: dict[int, StagedSource] = {}
        self._told: set[int] = set()
        self._resources = ExitStack()

    @property
    def streams(self) -> list[TokenSource]:
        """Those that are kept open, in order."""
        return [self._kept[index] for index in sorted(self._kept)]

    def survey(self, before: Manifest | None = None) -> tuple[InputFile, ...]:
        """Describe each as it is now, with its cells; 0 cells where it could not be read.

        Parameters
        ----------
        before
            The manifest of an earlier run, which knows the cells of those that did not change.

        Raises
        ------
        RankformerError
            With `fail_fast` the first error; otherwise the last, if none could be read.
        """
        known = {} if before is None else {each.path: each for each in before.inputs}
        found = []
        for index, path in enumerate(self.paths):
            try:
                found.append(self._look(index, path, known))
            except MissingFileError:
                raise
            except RankformerError as error:
                if self._fail_fast:
                    raise
                self.set_aside(index, error)
                found.append(InputFile.unread(path))
        return tuple(found)

    @contextmanager
    def opened(self, index: int) -> Iterator[StagedSource]:
        """An input, open."""
        if index in self._kept:
            yield self._kept[index]
            return
        source = self._open(index)
        if self._keep_open:
            self._kept[index] = self._resources.enter_context(closing(source))
            yield source
        else:
            with closing(source):
                yield source

    def rank_among(self, genes: Collection[str]) -> None:
        """Rank the cells of all inputs among some genes only, from now on.

        Parameters
        ----------
        genes
            Their Ensembl ids.
        """
        self.options = replace(self.options, only_genes=frozenset(genes))
        for index, source in self._kept.items():
            if isinstance(source, TokenStream):
                self._kept[index] = replace(source, options=self.options)

    def set_aside(self, index: int, error: RankformerError) -> None:
        """Note that an input cannot be read, and say so.

        Raises
        ------
        RankformerError
            The error itself, if no input is left.
        """
        self.failures[index] = Failure.of(self.paths[index], error)
        if len(self.failures) == len(self.paths):
            raise error
        name = printable(str(self.paths[index]))
        found = printable(error.found)
        logger.warning("%s is left out, and listed at the end: %s", name, found)

    def close(self) -> None:
        """Close those that were kept open."""
        self._resources.close()

    def _open(self, index: int) -> StagedSource:
        with _told_once() if index in self._told else nullcontext():
            source = open_token_source(self.paths[index], self.vocabulary, self.options)
        self._told.add(index)
        return source

    def _look(self, index: int, path: Path, known: dict[str, InputFile]) -> InputFile:
        with reading(str(path)):
            now = InputFile.of(path)
        then = known.get(now.path)
        if then is not None and then.n_cells and not then.differs_from(now):
            if self._keep_open:
                with self.opened(index):
                    pass
            return then
        with self.opened(index) as source:
            if self.look is not None:
                self.look(source)
            return InputFile.of(path, len(source), source.provenance())


@contextmanager
def _told_once() -> Iterator[None]:
    """Do not tell again what opening an input tells: where its counts lie, which cells it keeps."""
    loggers = [logging.getLogger(name) for name in _TELL_OF_INPUTS]
    before = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)
