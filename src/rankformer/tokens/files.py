"""Files of counts to a tokenized dataset on disk."""

import os
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from rankformer.cells.source import find_files
from rankformer.checkpoints.model_folder import ModelFolder
from rankformer.progress import Progress, show_progress
from rankformer.scratch import check_free, tell_leftovers
from rankformer.summary import Summary, Written
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import TokenStream, open_tokens, tell_full_inputs
from rankformer.tokens.tokenized_cells import TokenizedCells, save_tokens


@dataclass
class _Done:
    """What was written so far: cells, and those of them that fill the model's input."""

    n_cells: int = 0
    n_full: int = 0


def tokenize_files(
    sources: Sequence[Path],
    output: Path,
    model: str | os.PathLike[str],
    options: ReadingOptions | None = None,
) -> Summary:
    """Tokenize files into one dataset, which appears whole or not at all.

    All inputs are opened and checked before anything is written. Memory does not grow with the
    cells. Needs no torch.

    Returns
    -------
    What was written, with the inputs as they were opened.

    Raises
    ------
    RankformerError
        If input, model, options and output do not go together.
    """
    tell_leftovers(check_free(output))
    folder, done = ModelFolder.open(model), _Done()
    vocabulary = folder.vocabulary
    with ExitStack() as stack:
        streams = [
            stack.enter_context(closing(open_tokens(path, vocabulary, options)))
            for path in find_files(sources)
        ]
        progress = stack.enter_context(show_progress(sum(map(len, streams)), "Tokenizing cells"))
        parts = stack.enter_context(closing(_read_parts(streams, done, progress)))
        save_tokens(parts, output)
    tell_full_inputs(done.n_full, done.n_cells, vocabulary.input_length)
    name = folder.name if isinstance(model, ModelFolder) else str(model)
    figures = {"n_cells": done.n_cells, "n_cells_filling_the_input": done.n_full, "model": name}
    written = Written(output, f"tokens of {done.n_cells:,} cells, for {name}")
    return Summary((written,), figures, sources=streams)


def _read_parts(
    streams: Sequence[TokenStream], done: _Done, progress: Progress
) -> Generator[TokenizedCells, None, None]:
    for stream in streams:
        with closing(stream.parts()) as parts:
            for part in parts:
                yield part.cells
                done.n_cells += len(part.cells)
                done.n_full += int((part.cells.lengths >= stream.vocabulary.input_length).sum())
                progress(len(part.cells))
