"""``rankformer predict``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.next_steps import after_labelling, after_shards, is_unmerged
from rankformer.cli.options import Threads, limit_threads
from rankformer.cli.process import uncollected_imports
from rankformer.cli.reading import Reading
from rankformer.embed.settings import OfTrainedLayer
from rankformer.finetuning.settings import PredictJob
from rankformer.summary import Summary


def predict(
    job: PredictJob,
    model: Annotated[
        Path,
        typer.Option(
            "--model", "-m", help="The folder of a model that `rankformer finetune` made."
        ),
    ],
    reading: Reading,
    running: OfTrainedLayer,
    threads: Threads = None,
) -> Summary:
    """Predict labels of cells, or of genes, by a model that was fine-tuned on such labels."""
    with uncollected_imports():
        from rankformer.finetuning.predict import predict_files

    options = reading.open(threads=threads)
    limit_threads(threads)
    summary = predict_files(job, model, options, **vars(running))
    if is_unmerged(summary):
        return replace(summary, next_steps=after_shards(summary, job.output))
    return replace(summary, next_steps=after_labelling(job.output, summary))
