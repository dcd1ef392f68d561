"""How a model runs, and what is embedded: settings of the command line and of Python alike."""

from pathlib import Path
from typing import Literal

from rankformer.model.spec import LayerNumbering
from rankformer.runs.settings import RunSettings
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
        common=True,
        default="auto",
        text="The device that computes: cpu, cuda, cuda:1 for the second GPU, or mps on a Mac. "
        "auto takes a GPU where there is one. Embedding, annotating, predicting and perturbing "
        "also take cuda:all: a process for each GPU of the machine.",
    )
    dtype: Dtype = setting(
        default="auto",
        text="The number format of the computation. float32 is the most precise; "
        "bfloat16 and float16 are faster on many machines, and int8 on some CPUs. auto measures "
        "whether bfloat16 is faster, and takes float32 if not.",
    )


@settings(HOW_THE_MODEL_RUNS)
class OfTrainedLayer(Computing):
    """How a model runs whose layer was chosen when it was fine-tuned."""

    batch_size: int | None = setting(
        default=None,
        text="The maximum number of cells that are computed at once. By default, it follows "
        "from the memory of the device.",
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
        text="How --emb-layer is counted. With hidden_states, as in Hugging Face and Helical, 0 is "
        "the output of the embedding layer and -1 that of the last layer. With published, as in "
        "the geneformer package, 0 is the last layer and -1 the one before it.",
    )


@settings(kw_only=True)
class EmbedJob(InputFiles):
    """What to embed, and what to write."""

    output: Path = setting(
        options=("--output", "-o"),
        text="The file to write, or a folder of shards, which `rankformer merge` joins. .h5ad and "
        ".zarr hold a copy of the input with the embedding in obsm; .npy, .csv and .parquet hold "
        "the embedding alone. A name without an ending makes the folder, for more cells than one "
        "file is to hold.",
    )
    mode: Mode = setting(
        common=True,
        default="cell",
        text="What gets an embedding: each cell (cell or cls), or each gene of each cell (gene). "
        "cell takes the mean of the vectors of the cell's genes; cls takes the vector of the "
        "special token <cls> that V2 models, whose names end in i4096, put before each cell. gene "
        "is written as .parquet only.",
    )
    summary: Statistic | None = setting(
        default=None,
        text="With --mode gene: write one vector for each gene, the mean or median over all cells. "
        "It is computed in one pass, which begins anew when it was stopped.",
    )
    key: str = setting(
        common=True, default="X_geneformer", text="The name of the embedding in obsm."
    )
    overwrite: bool = setting(common=True, default=False, text="Replace the output if it exists.")
    run: RunSettings = setting(
        default_factory=RunSettings, text="How a long run is cut and gone on with."
    )
