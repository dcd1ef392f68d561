"""Annotation: labels, references and settings that do not go together."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
from tests.conftest import save_small_checkpoint, small_vocabulary
from tests.faults.bad_input import BadInput
from tests.faults.cells import adata_of, counts

import rankformer
from rankformer.tokens.tokenize import tokenize_cells

ANNOTATE = "annotate query.h5ad --reference reference.h5ad -o out.h5ad -m model"
SAVED = "annotate query.h5ad --reference saved -o out.h5ad -m model"


def pair(folder: Path) -> None:
    adata_of(counts(20)).write_h5ad(folder / "query.h5ad")
    reference = adata_of(counts(40))
    reference.obs["one"] = "B"
    reference.write_h5ad(folder / "reference.h5ad")


def pair_with_numbers(folder: Path) -> None:
    pair(folder)
    reference = adata_of(counts(40))
    reference.obs["n_counts"] = np.arange(40) * 7
    reference.obs["score"] = np.linspace(0, 1, 40)
    reference.write_h5ad(folder / "reference.h5ad")


def query_of_no_genes(folder: Path) -> None:
    pair(folder)
    adata_of(counts(20), [f"peak{i}" for i in range(120)]).write_h5ad(folder / "query.h5ad")


def taken(folder: Path) -> None:
    pair(folder)
    (folder / "out.h5ad").write_bytes(b"the result of last week")


def taken_folder(folder: Path) -> None:
    pair(folder)
    (folder / "saved").mkdir()


def saved(folder: Path, model: str = "model") -> None:
    pair(folder)
    embedder = rankformer.Embedder(rankformer.Checkpoint.open(folder / model), device="cpu")
    reference = rankformer.build_reference([folder / "reference.h5ad"], embedder, ["cell_type"])
    rankformer.save_reference(reference, folder / "saved")


def query_tokens(folder: Path) -> None:
    pair(folder)
    tokenize_cells(adata_of(counts(20)), small_vocabulary()).save(folder / "tokens")


def of_other_genes(folder: Path) -> None:
    pair(folder)
    first, last = np.arange(60), np.arange(60, 120)
    adata_of(counts(20))[:, first].copy().write_h5ad(folder / "query.h5ad")
    adata_of(counts(40))[:, last].copy().write_h5ad(folder / "reference.h5ad")


def donors_missing(folder: Path) -> None:
    pair(folder)
    reference = adata_of(counts(40))
    reference.obs["donor"] = [None, "first", "second", "third"] * 10
    reference.write_h5ad(folder / "reference.h5ad")


def without_harmony(folder: Path) -> None:
    """As where harmonypy is not installed."""
    how = rankformer.Labelling(integrate="harmony")
    with mock.patch("rankformer.annotate.harmony.find_spec", return_value=None):
        rankformer.annotate_cells(
            folder / "query.h5ad", "reference", "model", {"cell_type": "named"}, vote=how
        )


def saved_by_another(folder: Path) -> None:
    save_small_checkpoint(folder / "other", small_vocabulary(), seed=1)
    saved(folder, "other")


def saved_short(folder: Path) -> None:
    saved(folder)
    vectors = folder / "saved" / "vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:1000])


def saved_without_labels(folder: Path) -> None:
    saved(folder)
    (folder / "saved" / "labels.parquet").unlink()


def saved_with_a_pickle(folder: Path) -> None:
    saved(folder)
    vectors = folder / "saved" / "vectors.npy"
    np.save(vectors, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    _say_size(folder, vectors)


def saved_of_the_future(folder: Path) -> None:
    saved(folder)
    description = json.loads((folder / "saved" / "reference.json").read_text())
    (folder / "saved" / "reference.json").write_text(json.dumps({**description, "format": 9}))


def saved_as_no_json(folder: Path) -> None:
    saved(folder)
    (folder / "saved" / "reference.json").write_text("{")


def saved_with_other_labels(folder: Path) -> None:
    saved(folder)
    labels = folder / "saved" / "labels.parquet"
    content = bytearray(labels.read_bytes())
    content[len(content) // 2] ^= 1
    labels.write_bytes(content)


def _say_size(folder: Path, file: Path) -> None:
    path = folder / "saved" / "reference.json"
    description = json.loads(path.read_text())
    description["files"][file.name] = file.stat().st_size
    path.write_text(json.dumps(description))


CASES = (
    BadInput(
        "a label that the reference has not",
        pair,
        ("reference.h5ad has no column 'celltype'", "cell_type", "--label"),
        f"{ANNOTATE} --label celltype",
    ),
    BadInput(
        "a reference of counts without `--label`",
        pair,
        ("No label was asked for", "--label cell_type"),
        ANNOTATE,
    ),
    BadInput(
        "a label with one class",
        pair,
        ("label one of the reference has 1 class, B", "At least two", "another column"),
        f"{ANNOTATE} --label one",
    ),
    BadInput(
        "`--unlabelled` with one of two classes",
        pair,
        ("label cell_type of the reference has 1 class, T", "At least two"),
        f"{ANNOTATE} --label cell_type --unlabelled B",
    ),
    BadInput(
        "more neighbours than the reference has cells",
        pair,
        ("40 neighbours", "has 40 cells", "at most 39"),
        f"{ANNOTATE} --label cell_type --n-neighbors 40",
    ),
    BadInput(
        "0 neighbours",
        pair,
        ("0 neighbours", "at least 1", "--n-neighbors"),
        f"{ANNOTATE} --label cell_type --n-neighbors 0",
    ),
    BadInput(
        "a share of votes above 1",
        pair,
        ("min_share is 50", "from 0 to 1", "--min-share"),
        f"{ANNOTATE} --label cell_type --min-share 50",
    ),
    BadInput(
        "counts of cells as their labels",
        pair_with_numbers,
        ("n_counts", "40 different values in 40 cells", "cell type", "--label"),
        f"{ANNOTATE} --label n_counts",
    ),
    BadInput(
        "scores of cells as their labels",
        pair_with_numbers,
        ("score", "holds numbers such as", "names of classes", "--label"),
        f"{ANNOTATE} --label score",
    ),
    BadInput(
        "a limit of doubt of 0",
        pair,
        ("max_doubt is 0", "above 0", "--max-doubt"),
        f"{ANNOTATE} --label cell_type --max-doubt 0",
    ),
    BadInput(
        "a limit of doubt without an end",
        pair,
        ("max_doubt is inf", "above 0", "--no-doubt"),
        f"{ANNOTATE} --label cell_type --max-doubt inf",
    ),
    BadInput(
        "a limit of a doubt that is not to be used",
        pair,
        ("max_doubt is 1.5, and the doubt is not to be used", "--max-doubt", "--no-doubt"),
        f"{ANNOTATE} --label cell_type --max-doubt 1.5 --no-doubt",
    ),
    BadInput(
        "`--group` of a column that the reference has not",
        pair,
        ("no column 'donor'", "Columns of obs: cell_type, one", "--group"),
        f"{ANNOTATE} --label cell_type --group donor",
    ),
    BadInput(
        "`--group` of a column with one value",
        pair,
        ("obs['one'] of the reference has a single value", "at least two", "--group"),
        f"{ANNOTATE} --label cell_type --group one",
    ),
    BadInput(
        "`--group` of a column that some cells lack",
        donors_missing,
        ("10 cells without a value", "for each cell", "--group"),
        f"{ANNOTATE} --label cell_type --group donor",
    ),
    BadInput(
        "`--group` with a saved reference without donors",
        saved,
        ("no donors or batches", "donor was asked for", "--save-reference"),
        f"{SAVED} --group donor",
    ),
    BadInput(
        "`--method agreement` with few reference cells",
        pair,
        ("agreement of the ways", "at least 100 cells", "--method"),
        f"{ANNOTATE} --label cell_type --method agreement",
    ),
    BadInput(
        "`--method logistic` for saved tokens",
        query_tokens,
        ("method logistic was asked for", "only neighbours can be had", "--method neighbours"),
        "annotate tokens --reference reference.h5ad -o out.csv -m model --label cell_type "
        "--method logistic",
    ),
    BadInput(
        "`--majority-vote` of a column that the query has not",
        pair,
        ("no column 'leiden' with clusters", "or computed", "--majority-vote"),
        f"{ANNOTATE} --label cell_type --majority-vote leiden",
    ),
    BadInput(
        "a query and a reference with no gene in common",
        of_other_genes,
        ("No gene of the reference", "rankformer inspect", "--all-genes"),
        f"{ANNOTATE} --label cell_type",
    ),
    BadInput(
        "`integrate` by Harmony, which is not installed",
        pair,
        ("harmonypy is not installed", "harmonypy in this environment", "--integrate"),
        call=without_harmony,
    ),
    BadInput(
        "two names for one label",
        pair,
        ("2 names were given for 1 labels", "--key"),
        f"{ANNOTATE} --label cell_type --key a --key b",
    ),
    BadInput(
        "a name for labels with a slash",
        pair,
        ("'cell/type'", "in obs", "such as predicted_cell_type"),
        f"{ANNOTATE} --label cell_type --key cell/type",
    ),
    BadInput(
        "a query whose genes do not map",
        query_of_no_genes,
        ("None of 120 identifiers", "human genes", "--gene-ids"),
        f"{ANNOTATE} --label cell_type",
    ),
    BadInput(
        "an output of labels that exists",
        taken,
        ("out.h5ad exists already", "nothing is lost", "--overwrite"),
        f"{ANNOTATE} --label cell_type",
    ),
    BadInput(
        "labels to `.npy`",
        pair,
        ("ending .npy", ".h5ad or .zarr or .csv or .parquet"),
        "annotate query.h5ad --reference reference.h5ad -o out.npy -m model --label cell_type",
    ),
    BadInput(
        "`--save-reference` to a folder that exists",
        taken_folder,
        ("saved exists already", "not there yet"),
        f"{ANNOTATE} --label cell_type --save-reference saved",
    ),
    BadInput(
        "a saved reference of another model",
        saved_by_another,
        ("made with other, weights_sha256", "cannot be compared", "--model"),
        SAVED,
    ),
    BadInput(
        "a saved reference of another layer",
        saved,
        ("layer 3", "layer 2", "--emb-layer"),
        f"{SAVED} --emb-layer -2",
    ),
    BadInput(
        "a label that the saved reference has not",
        saved,
        ("no label 'donor'", "One of cell_type"),
        f"{SAVED} --label donor",
    ),
    BadInput(
        "a saved reference together with counts",
        saved,
        ("2 references", "saved is a saved one", "alone"),
        f"{SAVED} --reference reference.h5ad",
    ),
    BadInput(
        "a saved reference whose vectors are cut off",
        saved_short,
        ("saved cannot be read", "vectors.npy has 1,000 of", "build it anew"),
        SAVED,
    ),
    BadInput(
        "a saved reference with a byte of its labels changed",
        saved_with_other_labels,
        ("labels.parquet is not as it was written", "Copy it again"),
        SAVED,
    ),
    BadInput(
        "a saved reference without its labels",
        saved_without_labels,
        ("saved cannot be read", "labels.parquet", "build it anew"),
        SAVED,
    ),
    BadInput(
        "a saved reference with a pickle in the place of its vectors",
        saved_with_a_pickle,
        ("saved cannot be read", "build it anew"),
        SAVED,
        varies=r"(?<=cannot be read: ).*?(?= Expected)",
    ),
    BadInput(
        "a saved reference of a later format",
        saved_of_the_future,
        ("format 9", "Format 1", "Update rankformer"),
        SAVED,
    ),
    BadInput(
        "a saved reference with a damaged description",
        saved_as_no_json,
        ("saved cannot be read", "build it anew"),
        SAVED,
        varies=r"(?<=cannot be read: ).*?(?= Expected)",
    ),
)
