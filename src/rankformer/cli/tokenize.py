"""``rankformer tokenize``."""

from dataclasses import replace
from typing import Annotated

import typer

from rankformer.cli.command import Common
from rankformer.cli.next_steps import after_shards, is_unmerged, step
from rankformer.cli.options import GeneReport, Model, Threads, model_or_default
from rankformer.cli.process import uncollected_imports
from rankformer.cli.reading import Reading, check_gene_report, write_gene_report
from rankformer.names import parse_attributes
from rankformer.runs.settings import TokenizeJob
from rankformer.summary import Summary


def tokenize(
    job: TokenizeJob,
    reading: Reading,
    model: Model = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(help="A column of obs to carry over into the dataset; NEW=NAME renames it."),
        Common,
    ] = None,
    gene_report: GeneReport = None,
    threads: Threads = None,
) -> Summary:
    """Write each cell as the tokens of its genes, ordered by their expression.

    The output is a dataset of Hugging Face (`datasets.load_from_disk`), which `rankformer embed`,
    `finetune` and `pretrain` read faster than counts.
    """
    with uncollected_imports():
        from rankformer.runs.token_runs import tokenize_files

    options = reading.open(threads=threads, attributes=parse_attributes(attribute or []))
    check_gene_report(gene_report, job.sources)
    named = model_or_default(model)
    summary = tokenize_files(job, named, options)
    summary = write_gene_report(gene_report, summary)
    if is_unmerged(summary):
        return replace(summary, next_steps=after_shards(summary, job.output, ".dataset"))
    embedded = job.output.with_name(f"{job.output.name}-embedded.h5ad")
    words = ("embed", job.output, "-o", embedded, "--model", named)
    return replace(summary, next_steps=(step("Embed the cells", *words),))
