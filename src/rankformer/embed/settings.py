"""How a model runs, and what is embedded: settings of the command line and of Python alike."""

from pathlib import Path
from typing import Literal

from rankformer.model.spec import LayerNumbering
from rankformer.settings import setting, settings
from rankformer.tokens.reading_options import InputFiles

CellMode = Literal["cell", "cls"]
Mode = Literal["cell", "cls", "gene"]
Statistic = Literal["mean", "median"]
Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]


HOW_THE_MODEL_RUNS = "How the model runs"


@settings(HOW_THE_MODEL_RUNS)
class Computing:
    """On what, and in which numbers, a model computes."""

    device: str = setting(
        default="auto",
        text="The device that computes: cpu, cuda, cuda:1 for the second GPU, or mps on a Mac. "
        "auto takes a GPU where there is one.",
    )
    dtype: Dtype = setting(
        default="auto",
        text="The number format of the computation. float32 is exact, bfloat16 and float16 are "
        "faster on many machines, int8 is for CPUs. auto takes bfloat16 where it is faster, and "
        "else float32.",
    )


@settings(HOW_THE_MODEL_RUNS)
class OfTrainedLayer(Computing):
    """How a model runs whose layer was chosen when it was fine-tuned."""

    batch_size: int | None = setting(
        default=None,
        text="The most cells that are computed at once. Unless it is given, it follows from the "
        "memory of the device.",
    )


@settings(HOW_THE_MODEL_RUNS)
class Running(OfTrainedLayer):
    """How a model runs; see `Embedder`."""

    emb_layer: int = setting(
        default=-1,
        text="The layer of the model that the embedding is taken from. -1 is the last layer, "
        "-2 the one before it.",
    )
    layer_numbering: LayerNumbering = setting(
        default="hidden_states",
        text="How --emb-layer counts. hidden_states, as Hugging Face and Helical: 0 is the output "
        "of the embedding layer, -1 that of the last layer. published, as the geneformer package: "
        "0 is the last layer, -1 the one before it.",
    )


@settings()
class EmbedJob(InputFiles):
    """What to embed, and what to write."""

    output: Path = setting(
        options=("--output", "-o"),
        text="The file to write. .h5ad and .zarr hold a copy of the input with the embedding in "
        "obsm; .npy, .csv and .parquet hold the embedding alone.",
    )
    mode: Mode = setting(
        default="cell",
        text="What gets an embedding: each cell, as the mean of its genes' vectors (cell) or as "
        "the vector of the <cls> token, which V2 models have (cls); or each gene of each cell "
        "(gene, .parquet only).",
    )
    summary: Statistic | None = setting(
        default=None,
        text="With --mode gene: write one vector for each gene, the mean or median over all cells.",
    )
    key: str = setting(default="X_geneformer", text="The name of the embedding in obsm.")
    overwrite: bool = setting(default=False, text="Replace the output if it exists.")
