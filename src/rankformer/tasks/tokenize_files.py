"""Files of counts to a tokenized dataset on disk."""

import os
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from rankformer.data.cells import find_files
from rankformer.data.tokens import TokenizedCells, check_free, save_tokens
from rankformer.model.checkpoint import Checkpoint
from rankformer.scratch import tell_leftovers
from rankformer.tasks.progress import Progress, show_progress
from rankformer.tasks.tokenize import ReadingOptions, TokenStream, open_tokens


def tokenize_files(
    sources: Sequence[Path],
    output: Path,
    model: str | os.PathLike[str],
    options: ReadingOptions | None = None,
) -> list[TokenStream]:
    """Tokenize files into one dataset, which appears whole or not at all.

    All inputs are opened and checked before anything is written. Memory does not grow with the
    cells. Needs no torch.

    Returns
    -------
    The inputs as they were opened, with their gene mappings.

    Raises
    ------
    RankformerError
        If input, model, options and output do not go together.
    """
    tell_leftovers(check_free(output))
    vocabulary = Checkpoint.open(model).vocabulary
    with ExitStack() as stack:
        streams = [
            stack.enter_context(closing(open_tokens(path, vocabulary, options)))
            for path in find_files(sources)
        ]
        progress = stack.enter_context(show_progress(sum(map(len, streams)), "Tokenizing cells"))
        parts = stack.enter_context(closing(_read_parts(streams, progress)))
        save_tokens(parts, output)
    return streams


def _read_parts(
    streams: Sequence[TokenStream], progress: Progress
) -> Generator[TokenizedCells, None, None]:
    for stream in streams:
        with closing(stream.parts()) as parts:
            for part in parts:
                yield part.cells
                progress(len(part.cells))
