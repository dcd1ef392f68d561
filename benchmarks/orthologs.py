"""What a table of orthologs keeps of a dictionary, and of human cells, were they those of mice.

No mouse cells are at hand. Human cells are renamed: each gene that has a one-to-one ortholog goes
by the id of that, all others by ids that nobody knows. Their tokens must be those of the human
cells, cut to the genes that were renamed. The table may be any that `rankformer.read_orthologs`
reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, write_json

from rankformer import (
    OrthologTable,
    ReadingOptions,
    Vocabulary,
    map_genes,
    read_orthologs,
    tokenize_cells,
)

CHOICES = ("one-to-one", "best", "summed")
HEADER = ("choice", "human genes", "counts of the cells that are kept")


def human_genes_of(table: OrthologTable, vocabulary: Vocabulary) -> dict[str, str]:
    """Gene of the species → the gene of the vocabulary that it is taken for."""
    var = pd.DataFrame(index=sorted(table.genes))
    mapping = map_genes(var, vocabulary, orthologs=table, min_recognised=0)
    return {
        gene: human
        for gene, human, token in zip(var.index, mapping.ensembl_ids, mapping.tokens, strict=True)
        if token >= 0
    }


def kept_share(adata: ad.AnnData, vocabulary: Vocabulary, kept: set[str]) -> float:
    """The share of the counts in genes of the vocabulary that lies in those that are kept."""
    mapping = map_genes(adata.var, vocabulary, gene_ids="ensembl_id")
    counts = np.asarray(adata.X.sum(axis=0), np.float64).ravel()
    is_kept = np.array([gene in kept for gene in mapping.ensembl_ids])
    return float(counts[is_kept].sum() / counts[mapping.tokens >= 0].sum())


def renamed_are_the_same(
    adata: ad.AnnData, vocabulary: Vocabulary, table: OrthologTable, human_of: dict[str, str]
) -> bool:
    """Whether cells that were renamed have the tokens of the human ones."""
    known: NDArray[Any] = map_genes(adata.var, vocabulary, gene_ids="ensembl_id").ensembl_ids
    own = {human: gene for gene, human in human_of.items()}
    names = [own.get(gene, f"ENSMUSG9{i:010d}") for i, gene in enumerate(known)]
    renamed = ad.AnnData(adata.X, obs=adata.obs, var=pd.DataFrame(index=names))
    cut = adata[:, [gene in own for gene in known]].copy()
    found = tokenize_cells(renamed, vocabulary, ReadingOptions(orthologs=table))
    expected = tokenize_cells(cut, vocabulary, ReadingOptions(gene_ids="ensembl_id"))
    return bool(found.table["input_ids"].equals(expected.table["input_ids"]))


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="orthologs of mouse and human")
    parser.add_argument("--cells", type=Path, nargs="+", required=True)
    parser.add_argument("--dictionaries", type=Path, required=True, help="vocabulary or pickles")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    vocabulary = Vocabulary.load(arguments.dictionaries)
    cells = {path.stem: ad.read_h5ad(path) for path in arguments.cells}
    report: dict[str, Any] = {"machine": describe_machine(), "choices": {}}
    for choice in CHOICES:
        table = read_orthologs(arguments.table, "mouse", choice=choice)
        human_of = human_genes_of(table, vocabulary)
        kept = set(human_of.values())
        report["choices"][choice] = {
            "n_genes": len(table.genes), "n_human_genes": len(kept),
            "counts_kept": {name: kept_share(each, vocabulary, kept)
                            for name, each in cells.items()},
        }  # fmt: skip
        if choice == "one-to-one":
            report["table_sha256"] = table.sha256
            report["renamed_cells_have_the_same_tokens"] = {
                name: renamed_are_the_same(each, vocabulary, table, human_of)
                for name, each in cells.items()
            }
    write_json(arguments.out, report)
    print(report["renamed_cells_have_the_same_tokens"])
    print(markdown_table(HEADER, [
        [choice, f"{each['n_human_genes']:,}",
         ", ".join(f"{name} {share:.1%}" for name, share in each["counts_kept"].items())]
        for choice, each in report["choices"].items()
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
