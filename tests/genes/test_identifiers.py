"""What kind of identifiers a file has, and of which species."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.conftest import CELL_FILES, shared_path

from rankformer.genes.identifiers import detect_identifiers, distinct_identifiers


@pytest.mark.parametrize(
    ("identifiers", "kind", "species"),
    [
        (["ENSG00000141510", "ensg00000111640"], "Ensembl ids", "human"),
        (["ENSG00000141510.17", "ENSG00000002586.20_PAR_Y"], "Ensembl ids with versions", "human"),
        (["ENSMUSG00000059552", "ENSMUSG00000057666"], "Ensembl ids", "mouse"),
        (["TP53", "GAPDH", "C9orf72", "AL627309.1", "HLA-A"], "symbols", "human"),
        (["Trp53", "Gapdh", "mt-Co1", "Gm12345"], "symbols", "mouse"),
        (["ENST00000269305.9"], "Ensembl transcript ids", "human"),
        (["0", "1", "2"], "row numbers", "unknown"),
        ([3, 1, 2], "row numbers", "unknown"),
        (["7157", "2597"], "numbers, such as Entrez ids", "unknown"),
        ([7157.0, np.nan], "numbers, such as Entrez ids", "unknown"),
        (["1007_s_at", "ILMN_1343291"], "microarray probe ids", "unknown"),
        (["chr1:100-600", "chrX-5-90"], "genomic intervals", "unknown"),
        (["TP53", "ENSG00000111640"], "mixed", "human"),
        ([], "empty", "unknown"),
        ([None, ""], "empty", "unknown"),
    ],
)
def test_kind_and_species(identifiers, kind, species):
    summary = detect_identifiers(identifiers)
    assert (summary.kind, summary.species) == (kind, species)
    assert summary.n_identifiers == sum(summary.counts.values()) == len(identifiers)


@pytest.mark.parametrize("name", CELL_FILES)
def test_real_files_are_human_ensembl_ids_and_symbols(name):
    import anndata as ad

    var = ad.read_h5ad(shared_path("cells", f"{name}.h5ad"), backed="r").var
    ids, symbols = detect_identifiers(var["ensembl_id"]), detect_identifiers(var["gene_symbol"])
    assert (ids.kind, ids.species) == ("Ensembl ids", "human")
    assert (symbols.kind, symbols.species) == ("symbols", "human")
    assert symbols.n_distinct <= symbols.n_identifiers == len(var)


@example(["", "\x00", "A\x00B", "A"])
@given(st.lists(st.one_of(st.text(), st.binary(), st.none(), st.floats(), st.integers())))
def test_it_never_fails_and_loses_nothing(values):
    codes, texts = distinct_identifiers(values)
    assert len(codes) == len(values)
    assert len(set(texts)) == len(texts)
    for value, code in zip(values, codes, strict=True):
        if isinstance(value, str):
            assert texts[code] == value.strip()
    assert detect_identifiers(values).n_identifiers == len(values)


def test_categories_and_missing_values_are_harmless():
    codes, texts = distinct_identifiers(pd.Categorical(["A", None, " A", "B"]))
    assert [texts[code] for code in codes] == ["A", "", "A", "B"]
