"""Train rankformer-mini, the model that ships: vocabulary, training, and the folder in the package.

    python training/rankformer_mini.py --cells FOLDER --output rankformer-mini

FOLDER holds the six files named below. Steps that were done are not done again, and a run that was
ended goes on, so the same command can be given until it says that it is done. About an hour on two
CPU cores.
"""

import argparse
import logging
import os
import shutil
from pathlib import Path

# Threads that wait busily hinder each other where other programs run beside.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from safetensors.torch import load_file, save_file

from rankformer import Vocabulary, build_vocabulary
from rankformer.pretraining.hyperparameters import PretrainingHyperparameters
from rankformer.pretraining.pretrain import draw_model, pretrain
from rankformer.pretraining.settings import PretrainingSettings
from rankformer.tokens.reading_options import ReadingOptions

NAME = "rankformer-mini"
FILES = ("pbmc3k", "ifnb", "sc_mixology", "pbmc_donor_a", "pbmc_1k_v2", "pbmc_1k_5prime")
PACKAGED = Path(__file__).resolve().parents[1] / "src" / "rankformer" / "packaged_models" / NAME
INPUT_LENGTH = 512
SHAPE = {"n_layers": 3, "d_model": 128, "n_heads": 2, "d_ff": 256, "attention_dropout": 0.0}
RECIPE = PretrainingHyperparameters(
    objective="mlm+contrastive", contrast_weight=0.5, coexpression=True,
    max_steps=1000, batch_size=24, learning_rate=2e-3, schedule="cosine", warmup_steps=50,
    masked_share=0.3, weight_decay=0.01, held_out_share=0.1, save_steps=100, evaluate_steps=100,
    log_steps=20,
)  # fmt: skip
WORDS = """\
A small Geneformer for offline use, tests and teaching: it makes every command of rankformer work on
human cells the moment it is installed. It is not for discovery. It has seen some 8,800 cells of
blood and of five lung cancer cell lines, and nothing else: no other tissue, no development, no
disease but these cell lines, no species but human. For research take a published model
(`rankformer models`).

It was begun from the co-expression of genes and trained to name masked genes and to know the two
halves of one cell's molecules among those of other cells. Weights are float16. The cells are public
and are not part of the package; `training/rankformer_mini.py` in the project makes it again."""


def main() -> None:
    options = parse_arguments()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("rankformer").setLevel(logging.INFO)
    torch.set_num_threads(options.threads)
    sources = [options.cells / f"{name}.h5ad" for name in FILES]
    vocabulary = make_vocabulary(sources, options.output.with_suffix(".vocabulary.parquet"))
    if not options.output.exists():
        pretrain(
            sources, options.output, draw_model(vocabulary, SHAPE, RECIPE.seed), vocabulary,
            PretrainingSettings(
                RECIPE, ReadingOptions(gene_ids="ensembl_id"), device="cpu", words=WORDS,
                resume=options.output.with_name(options.output.name + ".run").exists(),
            ),
        )  # fmt: skip
    if options.install:
        install(options.output)


def make_vocabulary(
    sources: list[Path], path: Path, input_length: int = INPUT_LENGTH
) -> Vocabulary:
    """The genes that at least ten of these cells have."""
    if not path.exists():
        build_vocabulary(sources, min_cells=10, input_length=input_length, name=NAME).save(path)
    return Vocabulary.load(path)


def install(trained: Path) -> None:
    """Put the model into the package, its weights as float16."""
    shutil.rmtree(PACKAGED, ignore_errors=True)
    shutil.copytree(trained, PACKAGED)
    weights = load_file(PACKAGED / "model.safetensors")
    half = {name: tensor.half() for name, tensor in weights.items()}
    save_file(half, PACKAGED / "model.safetensors", {"format": "pt"})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True, help="folder of the six files")
    parser.add_argument("--output", type=Path, default=Path(NAME), help="folder of the model")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--install", action="store_true", help="put it into the package")
    return parser.parse_args()


if __name__ == "__main__":
    main()
