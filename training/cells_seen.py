"""Fingerprints of the cells that rankformer-mini was trained on, and of those it is judged by.

    python training/cells_seen.py --cells FOLDER --out training/results/cells_seen.json

FOLDER holds all files. A fingerprint is a hash of a cell's counts of the genes that all files have,
so that one cell has the same in two files that differ in genes, their order and their names.
tests/test_what_mini_saw.py looks for a cell on both sides.
"""

import argparse
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import rankformer_mini as mini
from scipy.sparse import csr_matrix

import rankformer

JUDGED = ("blood_cells", "pbmc3k", "ifnb", "sc_mixology", "pancreas", "retina", "heart")
# Chance makes two of some ten thousand cells on each side alike once in a million such files.
_BYTES = 6


def main() -> None:
    """Write the fingerprints of all files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True, help="folder of all files")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all fingerprints")
    options = parser.parse_args()
    counts = {
        name: counts_by_gene(ad.read_h5ad(options.cells / f"{name}.h5ad"))
        for name in (*mini.FILES, *JUDGED)
    }
    genes = sorted(set.intersection(*(set(each.columns) for each in counts.values())))
    report = {
        "genes": genes,
        "trained": {name: pack(fingerprints(counts[name], genes)) for name in mini.FILES},
        "judged": {name: pack(fingerprints(counts[name], genes)) for name in JUDGED},
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{len(genes):,} genes; on both sides: {len(on_both_sides(report))} cells")


def counts_by_gene(adata: ad.AnnData) -> pd.DataFrame:
    """Cells by Ensembl ids that rankformer-mini knows; counts of one gene are summed."""
    vocabulary = rankformer.Checkpoint.open(mini.NAME).vocabulary
    column = "ensembl_id" if "ensembl_id" in adata.var else None
    mapping = rankformer.map_genes(adata.var, vocabulary, gene_ids=column)
    is_known = mapping.tokens >= 0
    tokens, places = np.unique(mapping.tokens[is_known], return_inverse=True)
    sums = csr_matrix((np.ones(len(places)), (np.arange(len(places)), places)))
    counts = csr_matrix(adata.X)[:, is_known] @ sums
    ids = vocabulary.ensembl_id_of[tokens]
    return pd.DataFrame.sparse.from_spmatrix(counts, columns=ids)


def fingerprints(counts: pd.DataFrame, genes: Sequence[str]) -> list[bytes]:
    """A hash of each cell's counts of these genes; b"" of a cell that has none of them."""
    values = counts[list(genes)].to_numpy().round().astype("<i4")
    return [sha256(cell.tobytes()).digest()[:_BYTES] if cell.any() else b"" for cell in values]


def pack(prints: Sequence[bytes]) -> str:
    """Those of the cells with some counts, as text."""
    return b64encode(b"".join(prints)).decode()


def unpack(text: str) -> list[bytes]:
    """The fingerprints that `pack` was given."""
    joined = b64decode(text)
    return [joined[start : start + _BYTES] for start in range(0, len(joined), _BYTES)]


def on_both_sides(report: Mapping[str, Mapping[str, str]]) -> set[bytes]:
    """Fingerprints of cells that were trained on and are judged by."""
    trained, judged = (
        {each for text in report[side].values() for each in unpack(text)}
        for side in ("trained", "judged")
    )
    return trained & judged


if __name__ == "__main__":
    main()
