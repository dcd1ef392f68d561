"""``rankformer predict``."""

from pathlib import Path
from typing import Annotated

import typer

from rankformer.cli.options import Threads, limit_threads
from rankformer.cli.reading import Reading
from rankformer.embed.settings import OfTrainedLayer
from rankformer.finetuning.settings import PredictJob


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
) -> None:
    """Predict labels of cells, or of genes, by a model that was fine-tuned on such labels."""
    from rankformer.finetuning.predict import predict_files

    options = reading.open(threads=threads)
    limit_threads(threads)
    predict_files(job, model, options, **vars(running))
