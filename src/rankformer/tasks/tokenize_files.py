"""Files of counts to a tokenized dataset on disk."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rankformer.data.cells import find_files
from rankformer.data.tokens import TokenizedCells, check_free, save_tokens
from rankformer.model.checkpoint import Checkpoint
from rankformer.tasks.progress import show_progress
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
    check_free(output)
    vocabulary = Checkpoint.open(model).vocabulary
    streams = [open_tokens(path, vocabulary, options) for path in find_files(sources)]
    with show_progress(sum(map(len, streams)), "Tokenizing cells") as progress:

        def parts() -> Iterator[TokenizedCells]:
            for stream in streams:
                for part in stream.parts():
                    yield part.cells
                    progress(len(part.cells))

        save_tokens(parts(), output)
    return streams
