"""Vocabularies that cannot be built of what is given."""

from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from tests.faults.bad_input import BadInput
from tests.faults.cells import N_VARS, counts, write

from rankformer.corpus.expression_sketch import ExpressionSketch
from rankformer.genes.identities import GeneIdentities

BUILD = "vocabulary build pbmc.h5ad -o new.parquet"


def with_ids(folder: Path, prefix: str = "ENSG", name: str = "pbmc.h5ad") -> None:
    """Sound counts with Ensembl ids in the index."""
    path = write(folder, names=[f"{prefix}{i:011d}" for i in range(1, N_VARS + 1)])
    path.rename(folder / name)


def two_species(folder: Path) -> None:
    with_ids(folder, "ENSMUSG", "mouse.h5ad")
    with_ids(folder)


def sketch(folder: Path) -> Path:
    ids = np.array([f"ENSG{i:011d}" for i in range(1, N_VARS + 1)], dtype=object)
    made = ExpressionSketch()
    genes = GeneIdentities(ids, np.ones(N_VARS, bool), {}, {})
    made.add_cells([csr_matrix(counts())], genes)
    return made.save(folder / "part.sketch")


def cut_sketch(folder: Path) -> None:
    path = sketch(folder)
    path.write_bytes(path.read_bytes()[:-100])


def taken(folder: Path) -> None:
    with_ids(folder)
    (folder / "new.parquet").write_text("somebody's")


CASES = (
    BadInput(
        "symbols alone, and nothing to look them up in",
        write,
        ("0 of 120", "symbols", "G1", "Ensembl gene ids", "--gene-table", "--names-from"),
        BUILD,
    ),
    BadInput(
        "cells of two species in one vocabulary",
        two_species,
        ("mouse.h5ad", "120 of 120", "of mouse", "of human", "Leave the other files out"),
        "vocabulary build pbmc.h5ad mouse.h5ad -o new.parquet",
    ),
    BadInput(
        "a file that is named twice",
        with_ids,
        ("pbmc.h5ad would be counted twice", "Each file once"),
        "vocabulary build pbmc.h5ad . -o new.parquet",
    ),
    BadInput(
        "`--min-cells` that no gene reaches",
        with_ids,
        ("No gene", "1,000", "300 cells", "--min-cells"),
        f"{BUILD} --min-cells 1000",
    ),
    BadInput(
        "`--min-cells 0`",
        with_ids,
        ("min_cells is 0", "At least 1", "--min-cells 10"),
        f"{BUILD} --min-cells 0",
    ),
    BadInput(
        "`--biotype`, and nothing that tells biotypes",
        with_ids,
        ("protein_coding", "no biotypes are known", "feature_type", "--gene-table"),
        f"{BUILD} --biotype protein_coding",
    ),
    BadInput(
        "`--input-length 2` with special tokens",
        with_ids,
        ("input_length is 2", "At least 3", "--input-length"),
        f"{BUILD} --input-length 2",
    ),
    BadInput(
        "a vocabulary under another ending",
        with_ids,
        ("ending .csv", ".parquet"),
        "vocabulary build pbmc.h5ad -o new.csv",
    ),
    BadInput(
        "a vocabulary where a file is already",
        taken,
        ("new.parquet exists already", "--overwrite"),
        BUILD,
    ),
    BadInput(
        "a sketch that was cut",
        cut_sketch,
        ("part.sketch is not a sketch", "damaged", "vocabulary sketch", "copy it again"),
        "vocabulary build part.sketch -o new.parquet",
        varies=r"damaged: .*?(?=\. Expected)",
    ),
    BadInput(
        "names from a model that nobody knows",
        with_ids,
        ("gf-1L", "rankformer models"),
        f"{BUILD} --names-from gf-1L",
    ),
)
