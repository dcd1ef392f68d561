"""Settings that the model, the machine or the output do not allow."""

from pathlib import Path

from tests.faults.bad_input import EMBED, BadInput
from tests.faults.cells import adata_of, counts, write
from tests.faults.token_cases import saved_tokens

GENES = "embed pbmc.h5ad -o genes.parquet -m model --mode gene"


def sound(folder: Path) -> None:
    write(folder)


def filtered(value):
    def prepare(folder: Path) -> None:
        adata = adata_of(counts())
        adata.obs["filter_pass"] = value
        adata.write_h5ad(folder / "pbmc.h5ad")

    return prepare


def two_files(folder: Path) -> None:
    for name, donor in (("a", 1), ("b", "D2")):
        adata = adata_of(counts(40))
        adata.obs["donor"] = donor
        adata.write_h5ad(folder / f"{name}.h5ad")


def taken(name: str):
    def prepare(folder: Path) -> None:
        write(folder)
        (folder / name).write_bytes(b"the result of last week")

    return prepare


CASES = (
    BadInput(
        "mode cls with a V1 model",
        sound,
        ("Mode cls", "model-v1 has no <cls>", "V2 model", "…-i4096"),
        "embed pbmc.h5ad -o out.h5ad -m model-v1 --mode cls",
    ),
    BadInput(
        "a layer that the model has not",
        sound,
        ("Layer 12", "3 layers", "-4 to 3", "--emb-layer"),
        f"{EMBED} --emb-layer 12",
    ),
    BadInput(
        "layer 1 in the published numbering, which ends at 0",
        sound,
        ("Layer 1", "3 layers", "-3 to 0", '"published"', "--emb-layer"),
        f"{EMBED} --emb-layer 1 --layer-numbering published",
    ),
    BadInput(
        "a GPU that the machine has not",
        sound,
        ("'cuda:99'", "finds: cpu", "--device auto"),
        f"{EMBED} --device cuda:99",
        varies=r"(?<=this machine, ).*?(?= Pass)",
    ),
    BadInput(
        "a device that there is nowhere",
        sound,
        ("'gpu'", "finds: cpu", "--device auto"),
        f"{EMBED} --device gpu",
        varies=r"(?<=this machine, ).*?(?= Pass)",
    ),
    BadInput(
        "a batch of 0 cells",
        sound,
        ("batch size of 0", "at least 1", "--batch-size"),
        f"{EMBED} --batch-size 0",
    ),
    BadInput(
        "`--summary` without mode gene",
        sound,
        ("with mode cell", 'Mode "gene"', "--mode gene", "--summary"),
        f"{EMBED} --summary mean",
    ),
    BadInput(
        "mode gene to `.npy`",
        sound,
        ("genes.npy", "ending .npy", "Expected: .parquet", "Name it genes.parquet"),
        "embed pbmc.h5ad -o genes.npy -m model --mode gene",
    ),
    BadInput(
        "an output with an ending that says nothing",
        sound,
        (
            "out.txt",
            "ending .txt",
            ".h5ad or .zarr or .npy or .csv or .parquet",
            "Name it out.h5ad",
        ),
        "embed pbmc.h5ad -o out.txt -m model",
    ),
    BadInput(
        "an output that exists",
        taken("out.h5ad"),
        ("out.h5ad exists already", "nothing is lost", "--overwrite"),
        in_process=False,
    ),
    BadInput(
        "an output in a folder that does not exist",
        sound,
        ("folder results does not exist", "Make it"),
        "embed pbmc.h5ad -o results/out.h5ad -m model",
    ),
    BadInput(
        "a folder that exists, as the output of `tokenize`",
        lambda folder: (write(folder), (folder / "tokens").mkdir()),
        ("tokens exists already", "not there yet", "another name"),
        "tokenize pbmc.h5ad -o tokens -m model",
    ),
    BadInput(
        "`tokenize` into a folder that does not exist",
        sound,
        ("no folder results", "within one that is"),
        "tokenize pbmc.h5ad -o results/tokens -m model",
    ),
    BadInput(
        "`--attribute` with a column that obs has not",
        sound,
        ("no column donor", "cell_type", "--attribute"),
        "tokenize pbmc.h5ad -o tokens -m model --attribute batch=donor",
    ),
    BadInput(
        "`--attribute` under a name that the dataset needs itself",
        sound,
        ("'input_ids'", "hold the tokens", "--attribute NEW=NAME"),
        "tokenize pbmc.h5ad -o tokens -m model --attribute input_ids=cell_type",
    ),
    BadInput(
        "`--attribute` with a column of numbers in one file and of text in the next",
        two_files,
        ("attribute donor has another type", "one type", "leave it out"),
        "tokenize a.h5ad b.h5ad -o tokens -m model --attribute donor",
    ),
    BadInput(
        '`obs["filter_pass"]` of yes and no',
        filtered("yes"),
        ("filter_pass", "holds 'yes'", "1 for cells to keep", "rename it"),
    ),
    BadInput(
        '`obs["filter_pass"]` of zeros',
        filtered(0),
        ("filter_pass", "keeps none of 300 cells", "1 for cells to keep", "rename it"),
    ),
    BadInput(
        "one of two inputs as the output, with `--overwrite`",
        two_files,
        ("a.h5ad is one of the inputs", "only read", "another output"),
        "embed a.h5ad b.h5ad -o a.h5ad -m model --overwrite",
    ),
    BadInput(
        "`--gene-report` in a folder that does not exist",
        sound,
        ("folder reports does not exist", "Make it"),
        f"{EMBED} --gene-report reports/genes.csv",
    ),
    BadInput(
        "`--gene-report` over a file that exists",
        taken("genes.csv"),
        ("genes.csv exists already", "another name"),
        f"{EMBED} --gene-report genes.csv",
    ),
    BadInput(
        "`--gene-report` of tokens",
        saved_tokens,
        ("no gene report", "only tokens", "--gene-report"),
        "embed tokens -o out.npy -m model --gene-report genes.csv",
    ),
    BadInput(
        "a key with a slash",
        sound,
        ("'X/geneformer'", "without a slash", "--key"),
        f"{EMBED} --key X/geneformer",
    ),
    BadInput(
        "a key that means the folder itself",
        sound,
        ("'.'", "without a dot", "--key"),
        f"{EMBED} --key .",
    ),
    BadInput(
        "`.npy`, where a file of the name of its provenance is",
        taken("out.npy.json"),
        ("out.npy.json exists already", "nothing is lost", "--overwrite"),
        "embed pbmc.h5ad -o out.npy -m model",
    ),
    BadInput(
        "an empty key",
        sound,
        ("''", "such as X_geneformer", "--key"),
        f"{EMBED} --key ''",
    ),
)
