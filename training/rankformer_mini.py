"""Train rankformer-mini, the model that ships: vocabulary, training, and the folder in the package.

    python training/rankformer_mini.py --cells FOLDER --output rankformer-mini

FOLDER holds the eight files named below; docs/what-mini-saw.md says what they are. Steps that were
done are not done again, and a run that was ended goes on, so the same command can be given
until it says that it is done. About half an hour on two CPU cores.
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
from torch import Tensor

from rankformer import Checkpoint, Vocabulary, build_vocabulary
from rankformer.checkpoints.hashes import write_hash
from rankformer.pretraining.hyperparameters import PretrainingHyperparameters
from rankformer.pretraining.parts import PartsOfWidth
from rankformer.pretraining.pretrain import draw_model, pretrain
from rankformer.pretraining.settings import PretrainingSettings
from rankformer.tokens.reading_options import ReadingOptions

NAME = "rankformer-mini"
FILES = (
    "pbmc_donor_a", "pbmc_1k_v2", "pbmc_1k_5prime", "lung_lavage", "breast_tumours", "hek293t",
    "blood_sample", "tumour_t_cells",
)  # fmt: skip
READING = ReadingOptions(gene_ids="ensembl_id")
PACKAGED = Path(__file__).resolve().parents[1] / "src" / "rankformer" / "packaged_models" / NAME
INPUT_LENGTH = 2048
FEWEST_CELLS = 20
SHAPE = {"n_layers": 3, "d_model": 160, "n_heads": 4, "d_ff": 320, "attention_dropout": 0.0}
RECIPE = PretrainingHyperparameters(
    objective="mlm+contrastive", contrast_weight=1.0, shortest_view=128, coexpression=True,
    max_steps=600, batch_size=24, learning_rate=5e-4, schedule="cosine", warmup_steps=50,
    masked_share=0.15, weight_decay=0.01, held_out_share=0.05, save_steps=100, evaluate_steps=300,
    log_steps=20,
)  # fmt: skip
# Of the ten bits of float16's fraction; what is 0 in the others is compressed in the wheel. A mean
# over hundreds of genes evens out what the vectors of genes lose; codes of medians do not.
BITS_OF_GENES, BITS_OF_LAYERS, BITS_OF_BFLOAT16 = 2, 4, 7
WORDS = """\
A small Geneformer for offline use, tests and teaching: it makes every command of rankformer work on
human cells the moment it is installed. It is not for discovery. It has seen some 12,800 cells: of
blood, of lavage of the lungs, of breast tumours, of T cells of tumours, and of one cell line; and
nothing else: no other tissue, no development, no species but human. For research take a published
model (`rankformer models`).

Three quarters of its width were begun from the co-expression of genes, as a linear method, and
describe the cell; the rest describes where genes stand and what their medians are. It was trained
to name masked genes and to know the two halves of one cell's molecules among those of other cells.
Take its last layer and the mean over genes; its `<cls>` says next to nothing of the cell. Weights
are float16, of which two to seven bits of the fraction are kept. The cells are public and are not
part of the package; `training/rankformer_mini.py` in the project makes it again."""


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
                RECIPE, READING, device="cpu", dtype="float32", words=WORDS,
                resume=options.output.with_name(options.output.name + ".run").exists(),
            ),
        )  # fmt: skip
    if options.install:
        install(options.output)


def make_vocabulary(
    sources: list[Path], path: Path, input_length: int = INPUT_LENGTH
) -> Vocabulary:
    """The genes that enough of these cells have."""
    if not path.exists():
        vocabulary = build_vocabulary(
            sources, READING, min_cells=FEWEST_CELLS, input_length=input_length, name=NAME
        )
        vocabulary.save(path)
    return Vocabulary.load(path)


def install(trained: Path) -> None:
    """Put the model into the package, its weights rounded."""
    parts = PartsOfWidth.of(Checkpoint.open(trained).spec)
    shutil.rmtree(PACKAGED, ignore_errors=True)
    shutil.copytree(trained, PACKAGED)
    file = PACKAGED / "model.safetensors"
    rounded = {name: round_weights(name, tensor, parts) for name, tensor in load_file(file).items()}
    save_file(rounded, file, {"format": "pt"})
    file.chmod(0o644)
    write_hash(file)


def round_weights(name: str, weights: Tensor, parts: PartsOfWidth) -> Tensor:
    """As float16, with so many bits of the fraction as its kind needs."""
    if weights.dim() == 1:
        return round_fraction(weights, BITS_OF_BFLOAT16)
    if "embeddings" not in name:
        return round_fraction(weights, BITS_OF_LAYERS)
    rounded = round_fraction(weights, BITS_OF_BFLOAT16)
    rounded[:, parts.cell] = round_fraction(weights[:, parts.cell], BITS_OF_GENES)
    return rounded


def round_fraction(weights: Tensor, n_bits: int) -> Tensor:
    """As float16, of which the last bits of the fraction are 0."""
    fraction, exponent = torch.frexp(weights.float())
    steps = 2.0 ** (n_bits + 1)
    return torch.ldexp((fraction * steps).round() / steps, exponent).half()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True, help="folder of the eight files")
    parser.add_argument("--output", type=Path, default=Path(NAME), help="folder of the model")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--install", action="store_true", help="put it into the package")
    return parser.parse_args()


if __name__ == "__main__":
    main()
