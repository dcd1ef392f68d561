"""Counts of the queries of a run, again: of files that are open, and of such as were embedded."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rankformer.annotate.kept import kept_overlap, kept_variables
from rankformer.annotate.profiles import ClosedCounts, FileOfCounts, OpenCounts, QueryCounts
from rankformer.annotate.shared_genes import GeneOverlap
from rankformer.runs.run import Run
from rankformer.runs.shards import Shard
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import TokenStream

_PLACES = ("layer", "use_raw", "undo_log1p", "check", "estimated_counts")


def open_counts_of(streams: Sequence[TokenSource], overlap: GeneOverlap) -> QueryCounts | None:
    """Of sources that are open; None where one is known as tokens alone."""
    known = [each for each in streams if isinstance(each, TokenStream)]
    if overlap.genes is None or len(known) < len(streams):
        return None
    return OpenCounts(known, overlap.genes)


def closed_counts_of(run: Run, shards: Sequence[Shard]) -> QueryCounts | None:
    """Of the inputs of a run, as far as these shards go; None where they are not known."""
    overlap = kept_overlap(run.folder)
    if overlap.genes is None:
        return None
    reading = run.manifest.work.options["reading"]
    options = ReadingOptions(**{name: reading[name] for name in _PLACES if name in reading})
    files = []
    for index, own in groupby(shards, key=lambda shard: shard.input):
        path = Path(run.manifest.inputs[index].path)
        tokens = kept_variables(run.folder, path)
        if tokens is None:
            return None
        parts = [(shard.start, shard.stop) for shard in own]
        files.append(FileOfCounts(path, options, tokens, parts))
    return ClosedCounts(files, overlap.genes)
