"""Change one thing of rankformer-mini's training at a time, and see what it does.

    python training/ablations.py --cells FOLDER --out training/results/ablations.json

FOLDER holds the files that the model is trained on and, of benchmarks/package_cells.py and of
shared data, those that it is judged by. Each setting is trained for 60 steps of 12 cells, and
judged by how well the 15 nearest of at most 200 cells of a set name each cell's kind, beside HVG +
PCA of the same cells in the same folds. Settings that were measured are not measured again. Some
three minutes a setting on one CPU core.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import anndata as ad
import numpy as np
import rankformer_mini as mini
import torch
from machine import describe_machine
from mean_of_cell import add_mean_of_cell, take_average_away
from numpy.typing import NDArray
from objectives import ProfileDecoder, UnlearnedFiles
from reporting import markdown_table, write_json
from torch import nn
from torch.nn import functional
from unseen_cells import draw_cells

import rankformer
from rankformer.model.encoder import MaskedLanguageModel, PackedBatch
from rankformer.model.pooling import mean_by_cell
from rankformer.pretraining.batches import MaskedBatches
from rankformer.pretraining.initialization import initialize_from_coexpression
from rankformer.pretraining.loss import contrast_views
from rankformer.pretraining.parts import PartsOfWidth, keep_apart
from rankformer.pretraining.standardization import standardize_cells
from rankformer.pretraining.trainer import score_masked_genes
from rankformer.ragged import Ragged, join_ragged
from rankformer.tokens.thinning import crop_genes
from rankformer.tokens.tokenize import opened_sources
from rankformer.training.cells import CountedCells, gather_training_cells
from rankformer.training.splits import hold_out_cells
from rankformer.vocabulary.vocabulary import Vocabulary

N_STEPS, N_CELLS, WARMUP = 60, 12, 10
HELD_OUT_SHARE, MOST_CELLS, SEED = 0.01, 200, 0
SETS = ("blood_cells", "pbmc3k", "ifnb", "pancreas", "retina", "heart")


@dataclass(frozen=True)
class Setting:
    """What differs from rankformer-mini's own recipe, the default of each field."""

    coexpression: bool = True
    mixed: bool = False
    """Layers may change the dimensions of the cell, too."""
    shape: dict[str, int] = field(default_factory=dict)
    input_length: int = mini.INPUT_LENGTH
    masked: tuple[float, float] = (mini.RECIPE.masked_share, mini.RECIPE.masked_share)
    """Least and largest share of the genes that are masked, drawn for each batch."""
    panels: bool = False
    """The second view of each batch keeps a random 10 to 100 % of the vocabulary."""
    contrast: float = mini.RECIPE.contrast_weight
    decoded: float = 0.0
    unlearned: float = 0.0
    mean_added: float = 0.0
    """How many times the last layer adds the mean of the cell to each token."""
    learning_rate: float = mini.RECIPE.learning_rate
    n_steps: int = N_STEPS
    seed: int = SEED


SETTINGS = {
    "as it is": Setting(),
    "another seed": Setting(seed=1),
    "not trained": Setting(n_steps=0),
    "vectors of genes drawn at random": Setting(coexpression=False),
    "parts of the width not kept apart": Setting(mixed=True),
    "masked genes alone": Setting(contrast=0.0),
    "rate four times as high": Setting(learning_rate=4 * mini.RECIPE.learning_rate),
    "15 to 90 % masked": Setting(masked=(0.15, 0.9)),
    "profile decoded": Setting(decoded=1.0),
    "files unlearned": Setting(unlearned=0.3),
    "mean of the cell added 8 times": Setting(mean_added=8.0),
    "mean of the cell added 32 times": Setting(mean_added=32.0),
    "panels as second view": Setting(panels=True),
    "6 layers, width 112": Setting(shape={"n_layers": 6, "d_model": 112, "d_ff": 224}),
    "512 inputs": Setting(input_length=512),
}


def main() -> None:
    """Train and judge what is not in the JSON yet, then print the table."""
    options = parse_arguments()
    warnings.filterwarnings("ignore")
    logging.basicConfig(format="%(message)s", level=logging.ERROR)
    torch.set_num_threads(options.threads)
    report = json.loads(options.out.read_text()) if options.out.exists() else {"settings": {}}
    for name in options.only or SETTINGS:
        if name not in report["settings"]:
            figures = measure(SETTINGS[name], options.cells)
            report["settings"][name] = {**asdict(SETTINGS[name]), "figures": figures}
            write_json(options.out, {**report, "machine": describe_machine()})
    print(show(report["settings"]))


def measure(setting: Setting, folder: Path) -> dict[str, float]:
    """Train a model of this setting and judge it."""
    sources = [folder / f"{name}.h5ad" for name in mini.FILES]
    with tempfile.TemporaryDirectory() as scratch:
        vocabulary = mini.make_vocabulary(
            sources, Path(scratch) / "genes.parquet", setting.input_length
        )
        with opened_sources(sources, vocabulary, mini.READING) as opened:
            cells = gather_training_cells(opened)
            files = np.repeat(np.arange(len(opened)), [len(source) for source in opened])
            rows, held_out = hold_out_cells(np.flatnonzero(cells.kept), HELD_OUT_SHARE, SEED)
            model = train(setting, cells, files, rows)
            batches = MaskedBatches(cells, SEED, mini.RECIPE.masked_share)
            loss = score_masked_genes(model, batches, held_out)["loss"]
        checkpoint = rankformer.save_checkpoint(Path(scratch) / "model", model, vocabulary)
        return {"loss": loss, **{f: v for name in SETS for f, v in judge(checkpoint, folder, name)}}


def train(
    setting: Setting, cells: CountedCells, files: NDArray[np.int64], rows: NDArray[np.int64]
) -> MaskedLanguageModel:
    """A model of this setting, trained with AdamW at a rate that rises and falls."""
    shape = {**mini.SHAPE, **setting.shape}
    model = rankformer.draw_model(cells.vocabulary, shape, setting.seed)
    parts = PartsOfWidth.of(model.encoder.spec) if setting.coexpression else None
    if parts is not None:
        initialize_from_coexpression(model, cells, rows, setting.seed)
        restore(setting, model, parts)
        if setting.mean_added:
            take_average_away(model, parts, cells, rows)
    n_compared = shape["d_model"] if parts is None else parts.n_of_cell
    decoder = ProfileDecoder(n_compared, cells.vocabulary.size)
    unlearned = UnlearnedFiles(n_compared, int(files.max()) + 1)
    terms = nn.ModuleDict({"decoded": decoder, "unlearned": unlearned})
    parameters = [*model.parameters(), *terms.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=mini.RECIPE.weight_decay)
    rng = np.random.default_rng(setting.seed)
    model.train()
    for step in range(setting.n_steps):
        drawn = np.sort(rng.choice(rows, N_CELLS, replace=False))
        optimizer.param_groups[0]["lr"] = setting.learning_rate * share_of_rate(
            step, setting.n_steps
        )
        loss = losses(setting, model, terms, cells, drawn, files[drawn], n_compared, rng)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if parts is not None:
            restore(setting, model, parts)
    standardize_cells(model, cells, rows, setting.seed, parts)
    return model.eval()


def restore(setting: Setting, model: MaskedLanguageModel, parts: PartsOfWidth) -> None:
    """Take back what a step changed and this setting holds fixed."""
    if not setting.mixed:
        keep_apart(model, parts)
    if setting.mean_added:
        add_mean_of_cell(model, parts, setting.mean_added)


def share_of_rate(step: int, n_steps: int) -> float:
    """Rises over the first steps, and falls as half a cosine."""
    return float(min((step + 1) / WARMUP, (1 + np.cos(np.pi * step / n_steps)) / 2))


def losses(
    setting: Setting,
    model: MaskedLanguageModel,
    terms: nn.ModuleDict,
    cells: CountedCells,
    rows: NDArray[np.int64],
    files: NDArray[np.int64],
    n_compared: int,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Masked genes and the weighted further terms, of two views of each cell.

    The further terms are of the first `n_compared` dimensions of a cell's vector.
    """
    masked = MaskedBatches(cells, setting.seed, float(rng.uniform(*setting.masked)))
    inputs = masked.mask(views(setting, cells, rows, rng), rng)
    offsets = tuple(inputs["offsets"].tolist())
    batch = PackedBatch(inputs["tokens"], inputs["positions"], offsets)
    hidden_TD = model.encoder(batch)
    loss = functional.cross_entropy(model.score(hidden_TD[inputs["places"]]), inputs["genes"])
    special = torch.tensor(list(cells.vocabulary.special_tokens.values()))
    views_CD = mean_by_cell(hidden_TD, inputs["tokens"], batch.offsets_on_device, special)
    views_CD = views_CD[:, :n_compared]
    if setting.contrast:
        loss = loss + setting.contrast * contrast_views(views_CD)
    if setting.decoded:
        loss = loss + setting.decoded * terms["decoded"](views_CD, cells.take(rows))
    if setting.unlearned:
        loss = loss + setting.unlearned * terms["unlearned"](views_CD, files)
    return loss


def views(
    setting: Setting, cells: CountedCells, rows: NDArray[np.int64], rng: np.random.Generator
) -> Ragged:
    """Two parts of each cell's molecules, cropped as rankformer-mini's are."""
    thinnest = mini.RECIPE.thinnest_view
    first, second = cells.split(rows, rng.uniform(thinnest, 1 - thinnest, len(rows)), rng)
    if setting.panels:
        second = of_a_panel(second, cells.vocabulary, rng)
    limits = np.log([mini.RECIPE.shortest_view, setting.input_length])
    n_genes = int(np.exp(rng.uniform(*limits)))
    return crop_genes(join_ragged([first, second]), n_genes, cells.vocabulary)


def of_a_panel(cells: Ragged, vocabulary: Vocabulary, rng: np.random.Generator) -> Ragged:
    """Cells of which some genes alone were measured."""
    values, offsets = cells
    measured = rng.random(vocabulary.size) < rng.uniform(0.1, 1.0)
    measured[list(vocabulary.special_tokens.values())] = True
    kept = measured[values]
    return values[kept], np.concatenate([[0], np.cumsum(kept)])[offsets]


def judge(checkpoint: Path, folder: Path, name: str) -> Iterator[tuple[str, float]]:
    """Macro-F1 of neighbours in the model's embedding, and in HVG + PCA, of one set."""
    adata = draw_cells(ad.read_h5ad(folder / f"{name}.h5ad"), "cell_type", MOST_CELLS)
    gene_ids = "ensembl_id" if "ensembl_id" in adata.var else None
    reading = rankformer.ReadingOptions(gene_ids=gene_ids)
    rankformer.tl.embed(adata, model=checkpoint, gene_ids=gene_ids, dtype="float32")
    evaluation = rankformer.evaluate_embeddings(
        adata, "X_geneformer", label="cell_type", options=reading, n_seeds=3
    )
    figures = evaluation.summary()["mean"]
    yield name, float(figures["X_geneformer", "knn_macro_f1"])
    yield f"{name}, HVG + PCA", float(figures["HVG + PCA", "knn_macro_f1"])


def show(settings: dict[str, Any]) -> str:
    """A line a setting, and one of HVG + PCA."""
    rows = [
        [name, f"{each['figures']['loss']:.2f}", *(f"{each['figures'][s]:.2f}" for s in SETS)]
        for name, each in settings.items()
    ]
    first = next(iter(settings.values()))["figures"]
    beside = [f"{first[f'{name}, HVG + PCA']:.2f}" for name in SETS]
    return markdown_table(("setting", "loss, nats", *SETS), [*rows, ["HVG + PCA", "", *beside]])


def parse_arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True, help="folder of all files")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="settings to measure")
    return parser.parse_args()


if __name__ == "__main__":
    main()
