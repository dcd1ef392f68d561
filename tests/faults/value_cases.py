"""Values that are no counts."""

from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from tests.faults.bad_input import EMBED, BadInput
from tests.faults.cells import adata_of, counts, log_normalised, write

# Of 300 cells the first look takes 256; this one is met when it is its turn.
UNSEEN = 35


def log_with_layer(folder: Path) -> None:
    write(folder, log_normalised(counts()), layers={"counts": counts()})


def log_with_raw(folder: Path) -> None:
    adata = adata_of(counts())
    adata.raw = adata
    adata.X = log_normalised(counts())
    adata.write_h5ad(folder / "pbmc.h5ad")


def log_alone(folder: Path) -> None:
    write(folder, log_normalised(counts()))


def centred(folder: Path) -> None:
    values = log_normalised(counts()).toarray()
    write(folder, (values - values.mean(axis=0)) / values.std(axis=0))


def with_value(value: float, row: int, n_cells: int = 300, mean: float = 2.0):
    """Counts, of which one was replaced."""

    def prepare(folder: Path) -> None:
        values = counts(n_cells, mean)
        values.data[values.indptr[row]] = value
        write(folder, values)

    return prepare


def decontaminated(mean: float):
    """Each count times the share of it that is the cell's own."""

    def prepare(folder: Path) -> None:
        noise = np.random.default_rng(5).uniform(0.7, 0.999, counts(mean=mean).nnz)
        write(folder, changed(counts(mean=mean), lambda values: values * noise))

    return prepare


def changed(values: csr_matrix, change) -> csr_matrix:
    return csr_matrix((change(values.data), values.indices, values.indptr), values.shape)


def roots(folder: Path) -> None:
    write(folder, changed(counts(mean=500.0), np.sqrt))


def estimated_but_one(folder: Path) -> None:
    """One fraction in fifty; of 300 cells the first look takes 256, and not this one."""
    rng = np.random.default_rng(6)
    values = changed(counts(), lambda x: np.where(rng.random(x.size) < 0.02, x + 0.37, x))
    first, last = values.indptr[UNSEEN], values.indptr[UNSEEN + 1]
    values.data[first:last] = np.log1p(1.7 * values.data[first:last] + 1)
    write(folder, values)


def zeros(folder: Path) -> None:
    write(folder, csr_matrix(counts().shape, dtype=np.float32))


def sound(folder: Path) -> None:
    write(folder)


CASES = (
    BadInput(
        "log-normalised `X`, asked for with `--layer X`; the counts are in a layer",
        log_with_layer,
        ("X holds log1p of counts", "max ", "Raw counts", 'layers["counts"]', "--layer counts"),
        f"{EMBED} --layer X",
    ),
    BadInput(
        "log-normalised `X`, asked for with `--layer X`; the counts are in `raw`",
        log_with_raw,
        ("X holds log1p of counts", "Counts are in raw.X", "--use-raw"),
        f"{EMBED} --layer X",
    ),
    BadInput(
        "log-normalised values, no counts anywhere",
        log_alone,
        ("X holds log1p of counts", "Raw counts", "file with the raw counts", "--undo-log1p"),
    ),
    BadInput(
        "counts, with `--layer X --undo-log1p`",
        sound,
        ("X of pbmc.h5ad holds counts", "Log1p values", "Leave out", "--undo-log1p"),
        f"{EMBED} --layer X --undo-log1p",
    ),
    BadInput(
        "scaled and centred values (`sc.pp.scale`)",
        centred,
        ("scaled or centred", "min -", "Raw counts", "file with the raw counts"),
    ),
    BadInput(
        "one negative value",
        with_value(-1, UNSEEN),
        ("holds -1", "cell35", "row 35", "not negative", "Remove or repair this cell"),
    ),
    BadInput(
        "one NaN",
        with_value(np.nan, UNSEEN),
        ("holds nan", "cell35", "row 35", "finite", "Remove or repair this cell"),
    ),
    BadInput(
        "one NaN, with `--no-check`",
        with_value(np.nan, UNSEEN),
        ("holds nan", "cell35", "finite", "Remove or repair this cell"),
        f"{EMBED} --no-check",
    ),
    BadInput(
        "one infinite value, met while tokenizing",
        with_value(np.inf, UNSEEN),
        ("holds inf", "cell35", "finite", "Remove or repair this cell"),
        "tokenize pbmc.h5ad -o tokens -m model",
    ),
    BadInput(
        "one fraction in row 5,000 of counts, met after 4,096 cells were embedded",
        with_value(0.5, 5000, 5100, 0.05),
        ("holds 0.5", "cell5000", "row 5,000", "whole numbers", "--no-check"),
    ),
    BadInput(
        "fractions of counts, as decontX, SoupX or RSEM leave them",
        decontaminated(20.0),
        ("normalised values", "Raw counts", "decontX", "--estimated-counts"),
    ),
    BadInput(
        "such fractions, of which none is above 20",
        decontaminated(2.0),
        ("normalised values", "such as 0.", "hardly estimates", "logarithms", "--no-check"),
    ),
    BadInput(
        "square roots of counts, with `--estimated-counts`",
        roots,
        ("normalised values", "hardly estimates", "squares are whole numbers", "--no-check"),
        f"{EMBED} --estimated-counts",
    ),
    BadInput(
        "estimated counts, and one cell that was normalised",
        estimated_but_one,
        ("mostly whole numbers", "none above 1 in the cell 'cell35'", "row 35", "normalised"),
    ),
    BadInput(
        "binarised counts",
        lambda folder: write(folder, (counts() > 0).astype(np.float32)),
        ("X holds nothing but ones", "Raw counts", "--no-check", "order of their medians alone"),
    ),
    BadInput(
        "NaN all over",
        lambda folder: write(folder, np.full((300, 120), np.nan, np.float32)),
        ("X holds NaN or infinite values", "Raw counts", "Take the file with the raw counts"),
    ),
    BadInput(
        "zeros only",
        zeros,
        ("X holds zeros only", "Raw counts", "Take the file with the raw counts"),
    ),
)
