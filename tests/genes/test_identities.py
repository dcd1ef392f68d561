"""Which gene a variable is where no vocabulary tells: columns, names, biotypes, any species."""

import pandas as pd
import pytest

from rankformer.corpus.gene_names import names_in_table
from rankformer.errors import GeneError, SettingsError
from rankformer.genes.identities import identify_genes
from rankformer.genes.tables import GeneTable

TP53, GAPDH, B2M = "ENSG00000141510", "ENSG00000111640", "ENSG00000166710"


def var_of(index, **columns) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.Index(list(index), dtype=object))


@pytest.mark.parametrize(
    ("written", "ensembl_id"),
    [
        (f"{TP53}.17", TP53),
        (f"{TP53}.17_PAR_Y", TP53),
        (TP53.lower(), TP53),
        ("ENSGR0000141510", TP53),
        ("ENSMUSG00000059552.14", "ENSMUSG00000059552"),
        ("ENSDARG00000035559", "ENSDARG00000035559"),
        ("FBgn0039044", "FBgn0039044"),
        ("WBGene00000467", "WBGene00000467"),
        ("YAL001C", "YAL001C"),
        ("AT1G01010", "AT1G01010"),
    ],
)
def test_ids_of_any_species_lose_their_version(written, ensembl_id):
    assert identify_genes(var_of([written])).ensembl_ids.tolist() == [ensembl_id]


@pytest.mark.parametrize("column", ["ensembl_id", "gene_ids", "something"])
def test_ids_and_symbols_are_found(column):
    names = ["TP53", "GAPDH", "B2M"]
    beside = identify_genes(var_of(names, **{column: [TP53, GAPDH, B2M]}))
    in_index = identify_genes(var_of([TP53, GAPDH, B2M], gene_symbols=names))
    for found in (beside, in_index):
        assert found.ensembl_ids.tolist() == [TP53, GAPDH, B2M]
        assert found.symbols == {TP53: {"TP53"}, GAPDH: {"GAPDH"}, B2M: {"B2M"}}


def test_columns_are_taken_as_named():
    var = var_of([TP53, GAPDH], other=[B2M, GAPDH], gene_symbols=["A", "B"], mine=["X", "Y"])
    found = identify_genes(var, gene_ids="other", symbols="mine")
    assert found.ensembl_ids.tolist() == [B2M, GAPDH]
    assert found.symbols == {B2M: {"X"}, GAPDH: {"Y"}}
    with pytest.raises(GeneError, match="no column 'nowhere'"):
        identify_genes(var, symbols="nowhere")


def test_what_is_no_symbol_is_no_name():
    found = identify_genes(var_of([TP53, GAPDH, B2M], feature_name=[TP53, "", "B2M"]))
    assert found.symbols == {B2M: {"B2M"}}


def test_a_name_made_unique_is_the_name_it_was():
    found = identify_genes(var_of(["TBCE", "TBCE-1", "MT-1"], gene_ids=[TP53, GAPDH, B2M]))
    assert found.symbols == {TP53: {"TBCE"}, GAPDH: {"TBCE"}, B2M: {"MT-1"}}


def test_antibodies_are_no_genes_and_do_not_count_against_the_share():
    kinds = ["Gene Expression", "Antibody Capture", "Antibody Capture"]
    found = identify_genes(var_of([TP53, "CD3", "CD4"], feature_types=kinds))
    assert found.is_gene.tolist() == [True, False, False]
    assert found.ensembl_ids.tolist() == [TP53, None, None]


@pytest.mark.parametrize("column", ["feature_type", "gene_biotype", "feature_biotype"])
def test_biotypes_are_found(column):
    found = identify_genes(var_of([TP53, GAPDH], **{column: ["protein_coding", None]}))
    assert found.biotypes == {TP53: {"protein_coding"}}


def test_names_alone_are_refused_unless_they_can_be_looked_up():
    var = var_of(["TP53", "GAPDH", "XLOC_1"])
    with pytest.raises(GeneError, match=r"0 of 3 variables.*symbols \(TP53.*--names-from"):
        identify_genes(var)
    names = names_in_table(GeneTable.from_columns(["TP53", "GAPDH"], [TP53, GAPDH]))
    found = identify_genes(var, names_from=names)
    assert found.ensembl_ids.tolist() == [TP53, GAPDH, None]
    assert found.symbols == {TP53: {"TP53"}, GAPDH: {"GAPDH"}}


def test_the_share_can_be_lowered():
    var = var_of([TP53, "a", "b", "c"])
    with pytest.raises(GeneError, match=r"1 of 4 variables.*at least 50%"):
        identify_genes(var)
    assert identify_genes(var, min_recognised=0.25).ensembl_ids.tolist() == [TP53, None, None, None]
    with pytest.raises(SettingsError, match="min_recognised is 50"):
        identify_genes(var, min_recognised=50)
