"""Vocabularies from cells: from files to tokens, and parts that add up to the whole."""

import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from tests.conftest import SHARED, shared_path, small_counts

from rankformer.cli import main
from rankformer.corpus.build_vocabulary import build_vocabulary
from rankformer.corpus.expression_sketch import ExpressionSketch
from rankformer.corpus.sketch_expression import sketch_expression
from rankformer.errors import CountsError, GeneError, SettingsError, VocabularyError
from rankformer.genes.map_genes import map_genes
from rankformer.genes.rules import GeneFate
from rankformer.genes.tables import GeneTable
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import tokenize_cells
from rankformer.vocabulary.vocabulary import Vocabulary

N_GENES = 40


def cells_of(prefix="ENSG", n_cells=60, seed=0, **var) -> ad.AnnData:
    """Genes with an Ensembl id in the index, none of them in all cells."""
    ids = [f"{prefix}{i:011d}" for i in range(N_GENES, 0, -1)]
    adata = ad.AnnData(small_counts(n_cells, N_GENES, seed=seed), var=pd.DataFrame(var, index=ids))
    adata.obs_names = [f"cell{i}" for i in range(n_cells)]
    return adata


HUMAN_SYMBOLS = [f"G{i}" for i in range(N_GENES, 0, -1)]
MOUSE_SYMBOLS = [f"Gene{i}" for i in range(N_GENES, 0, -1)]


def save_bytes(vocabulary, folder) -> bytes:
    return vocabulary.save(folder / "v.parquet").read_bytes()


def test_tokens_medians_and_names():
    adata = cells_of(gene_symbols=HUMAN_SYMBOLS)
    found = build_vocabulary([adata], min_cells=15, name="mine", input_length=100)
    dense = adata.X.toarray().astype(np.float64)
    values = dense / dense.sum(axis=1, keepdims=True) * 10_000
    columns = dict(zip(adata.var_names, values.T, strict=True))
    kept = sorted(gene for gene, each in columns.items() if (each > 0).sum() >= 15)
    assert 0 < len(kept) < N_GENES
    special = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3}
    assert dict(found.special_tokens) == special
    assert dict(found.token_of) == {gene: token for token, gene in enumerate(kept, 4)}
    exact = [np.median(columns[gene][columns[gene] > 0]) for gene in kept]
    np.testing.assert_allclose(found.medians, exact, rtol=0.01 + 1e-9)
    assert dict(found.symbols) == dict(zip(HUMAN_SYMBOLS, adata.var_names, strict=True))
    assert (found.name, found.input_length) == ("mine", 100)


def test_without_special_tokens_genes_begin_at_2():
    found = build_vocabulary([cells_of()], min_cells=1, special_tokens=False)
    assert dict(found.special_tokens) == {"<pad>": 0, "<mask>": 1}
    assert (found.tokens[0], found.input_length) == (2, 2048)


def test_parts_in_any_form_and_order_give_the_same_file(tmp_path):
    whole = cells_of(gene_symbols=HUMAN_SYMBOLS)
    first, second, third = whole[:20], whole[20:33], whole[33:]
    first.write_h5ad(tmp_path / "a.h5ad")
    second.write_zarr(tmp_path / "b.zarr")
    sketch_expression([third]).save(tmp_path / "c.sketch")
    parts = [tmp_path / name for name in ("c.sketch", "a.h5ad", "b.zarr")]
    expected = save_bytes(build_vocabulary([whole]), tmp_path)
    assert save_bytes(build_vocabulary(parts), tmp_path) == expected
    assert save_bytes(build_vocabulary(parts[::-1]), tmp_path) == expected
    in_memory = [second, sketch_expression([first, third])]
    assert save_bytes(build_vocabulary(in_memory), tmp_path) == expected


def test_halves_of_real_cells_give_the_vocabulary_of_the_whole(tmp_path):
    path = shared_path("cells", "pbmc3k.h5ad")
    adata = ad.read_h5ad(path)
    rows = np.random.default_rng(0).permutation(adata.n_obs)
    halves = [adata[np.sort(each)].copy() for each in (rows[:1000], rows[1000:])]
    merged = build_vocabulary([sketch_expression([each]) for each in halves])
    whole = build_vocabulary([path])
    assert merged.sha256 == whole.sha256
    assert save_bytes(merged, tmp_path) == save_bytes(whole, tmp_path)


def test_cells_that_are_filtered_out_do_not_count():
    adata = cells_of()
    adata.obs["filter_pass"] = np.arange(60) % 3 > 0
    kept = adata[adata.obs["filter_pass"]].copy()
    assert sketch_expression([adata]) == sketch_expression([kept])


def test_logarithms_are_undone_where_asked():
    adata = cells_of(n_cells=300)
    expected = build_vocabulary([adata], min_cells=1)
    sums = np.asarray(adata.X.sum(axis=1))
    adata.X = adata.X.multiply(1e4 / sums).tocsr().log1p()
    with pytest.raises(CountsError, match="log1p"):
        build_vocabulary([adata])
    found = build_vocabulary([adata], ReadingOptions(undo_log1p=True), min_cells=1)
    assert found.ensembl_ids == expected.ensembl_ids
    # A value at the end of a bucket may fall into the next one.
    np.testing.assert_allclose(found.medians, expected.medians, rtol=0.021)


def encode_plainly(counts, gene_of_var, vocabulary) -> list[list[int]]:
    """The rank value encoding of a vocabulary without special tokens, on dense float64."""
    tokens = np.array([vocabulary.token_of.get(gene, -1) for gene in gene_of_var])
    cells = []
    for cell in np.asarray(counts.todense(), np.float64):
        of_token = np.zeros(vocabulary.size)
        np.add.at(of_token, tokens[tokens >= 0], cell[tokens >= 0])
        values = np.nan_to_num(of_token / vocabulary.median_of_token)
        n_tokens = min(int((values > 0).sum()), vocabulary.input_length)
        cells.append(np.lexsort((np.arange(len(values)), -values))[:n_tokens].tolist())
    return cells


def tokens_of(adata, vocabulary) -> list[list[int]]:
    values, offsets = tokenize_cells(adata, vocabulary).ragged(0, adata.n_obs)
    return [each.tolist() for each in np.split(values, offsets[1:-1])]


def test_mouse_from_cells_to_tokens():
    mouse = cells_of("ENSMUSG", gene_symbols=MOUSE_SYMBOLS)
    found = build_vocabulary([mouse], min_cells=5, special_tokens=False, input_length=15)
    by_symbol = ad.AnnData(mouse.X, var=pd.DataFrame(index=MOUSE_SYMBOLS))
    expected = encode_plainly(mouse.X, mouse.var_names, found)
    assert tokens_of(mouse, found) == tokens_of(by_symbol, found) == expected


@pytest.mark.parametrize(
    "names", [[each.upper() for each in MOUSE_SYMBOLS], cells_of().var_names], ids=["names", "ids"]
)
def test_human_cells_are_refused_by_a_mouse_vocabulary(names):
    found = build_vocabulary([cells_of("ENSMUSG", gene_symbols=MOUSE_SYMBOLS)])
    human = ad.AnnData(cells_of().X, var=pd.DataFrame(index=names))
    with pytest.raises(GeneError, match="of human"):
        tokenize_cells(human, found)


def test_several_species_in_one_build_are_refused_with_the_file(tmp_path):
    cells_of("ENSMUSG").write_h5ad(tmp_path / "mouse.h5ad")
    with pytest.raises(GeneError, match=r"mouse\.h5ad: 40 of 40 Ensembl ids are of mouse"):
        build_vocabulary([cells_of(), tmp_path / "mouse.h5ad"])
    sketch_expression([tmp_path / "mouse.h5ad"]).save(tmp_path / "mouse.sketch")
    with pytest.raises(GeneError, match=r"mouse\.sketch: 40 of 40"):
        build_vocabulary([cells_of(), tmp_path / "mouse.sketch"])


def test_genes_without_a_token_are_known_by_name(tmp_path):
    adata = cells_of(gene_symbols=HUMAN_SYMBOLS)
    found = build_vocabulary([adata], min_cells=15)
    found = Vocabulary.load(found.save(tmp_path))
    fates = map_genes(pd.DataFrame(index=HUMAN_SYMBOLS), found).fates
    assert set(fates) == {GeneFate.MAPPED, GeneFate.OUTSIDE}
    tokens = [gene in found.token_of for gene in adata.var_names]
    assert [fate is GeneFate.MAPPED for fate in fates] == tokens


def test_further_names_of_a_gene_find_it():
    old = cells_of(n_cells=20, gene_symbols=[f"OLD{i}" for i in range(N_GENES, 0, -1)])
    found = build_vocabulary([old, cells_of(gene_symbols=HUMAN_SYMBOLS)], min_cells=1)
    gene = "ENSG00000000007"
    assert found.symbol_of[gene] == "G7"
    names = pd.DataFrame(index=["G7", "OLD7", f"{gene}.3"])
    assert map_genes(names, found).ensembl_ids.tolist() == [gene] * 3


BIOTYPES = ["protein_coding", "lncRNA"] * (N_GENES // 2)


@pytest.mark.parametrize("from_table", [False, True])
def test_biotypes_choose_genes(from_table):
    adata = cells_of(feature_type=["?"] * N_GENES if from_table else BIOTYPES)
    met = adata.X.sum(axis=0).A1 > 0
    coding = sorted(adata.var_names[met & (np.arange(N_GENES) % 2 == 0)])
    biotypes = dict(zip(adata.var_names, BIOTYPES, strict=True))
    table = GeneTable({f"N{i}": (gene,) for i, gene in enumerate(biotypes)}, {}, {}, "t", biotypes)
    options = ReadingOptions(gene_table=table) if from_table else None
    found = build_vocabulary([adata], options, min_cells=1, biotypes=["protein_coding"])
    assert list(found.ensembl_ids) == coding
    both = build_vocabulary([adata], options, min_cells=1, biotypes=["protein_coding", "lncRNA"])
    assert len(both.ensembl_ids) == met.sum()


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"min_cells": 0}, SettingsError, "min_cells is 0"),
        ({"min_cells": 1000}, VocabularyError, "No gene is met in 1,000 or more of 60 cells"),
        ({"input_length": 2}, SettingsError, "input_length is 2"),
        ({"biotypes": ["protein_coding"]}, SettingsError, "no biotypes are known"),
        ({"symbols": "nowhere"}, GeneError, "no column 'nowhere'"),
    ],
)
def test_settings_that_leave_nothing_are_refused(options, error, sentence):
    with pytest.raises(error, match=sentence):
        build_vocabulary([cells_of()], **options)


def test_no_source_is_refused():
    with pytest.raises(CountsError, match="No source of cells was given"):
        build_vocabulary([])


def test_symbols_are_looked_up_in_a_table():
    adata = cells_of()
    named = ad.AnnData(adata.X, var=pd.DataFrame(index=HUMAN_SYMBOLS))
    with pytest.raises(GeneError, match=r"AnnData: 0 of 40 variables.*--gene-table"):
        build_vocabulary([named])
    table = GeneTable.from_columns(HUMAN_SYMBOLS, adata.var_names)
    options = ReadingOptions(gene_table=table)
    assert build_vocabulary([named], options).sha256 == build_vocabulary([adata]).sha256


@pytest.mark.parametrize("by", ["names_from", "hgnc"])
def test_real_symbols_give_nearly_the_vocabulary_of_the_ids_beside_them(v2, by):
    adata = ad.read_h5ad(shared_path("cells", "ifnb.h5ad"))
    by_id = build_vocabulary([adata])
    del adata.var["ensembl_id"]
    if by == "names_from":
        found = build_vocabulary([adata], names_from=v2)
        assert all(found.aliases.get(gene, gene) == gene for gene in found.token_of)
    else:
        from rankformer.genes.tables import read_gene_table

        table = read_gene_table(shared_path("genes", "hgnc_slim.tsv.gz"))
        found = build_vocabulary([adata], ReadingOptions(gene_table=table))
    shared = sorted(found.token_of.keys() & by_id.token_of.keys())
    assert len(shared) > 0.93 * len(by_id.ensembl_ids)
    medians = [dict(zip(each.ensembl_ids, each.medians, strict=True)) for each in (found, by_id)]
    same = [medians[0][gene] == medians[1][gene] for gene in shared]
    assert np.mean(same) > 0.999


def test_a_vocabulary_of_real_cells_encodes_them_as_its_definition_says():
    path = shared_path("cells", "pbmc_1k_5prime.h5ad")
    found = build_vocabulary([path], special_tokens=False, input_length=20)
    adata = ad.read_h5ad(path)
    some = adata[:30].copy()
    genes = map_genes(adata.var, found).ensembl_ids
    assert tokens_of(some, found) == encode_plainly(some.X, genes, found)


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["rankformer", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_commands_give_what_the_library_gives(tmp_path, monkeypatch, capsys):
    adata = cells_of(gene_symbols=HUMAN_SYMBOLS, feature_type=BIOTYPES)
    adata[:30].copy().write_h5ad(tmp_path / "a.h5ad")
    adata[30:].copy().write_h5ad(tmp_path / "b.h5ad")
    monkeypatch.chdir(tmp_path)
    assert not run(monkeypatch, "vocabulary", "sketch", "a.h5ad", "-o", "a.sketch")
    assert ExpressionSketch.load("a.sketch") == sketch_expression([adata[:30]])
    options = ["--biotype", "lncRNA", "--min-cells", 3, "--no-special-tokens", "--name", "mine"]
    assert not run(
        monkeypatch, "vocabulary", "build", "a.sketch", "b.h5ad", "-o", "v.parquet", *options
    )
    expected = build_vocabulary(
        [adata], biotypes=["lncRNA"], min_cells=3, special_tokens=False, name="mine"
    )
    assert (tmp_path / "v.parquet").read_bytes() == save_bytes(expected, tmp_path / "..")
    capsys.readouterr()
    assert not run(monkeypatch, "vocabulary", "show", "v.parquet")
    shown = capsys.readouterr().out
    for part in (
        "mine",
        "genes with a token",
        str(len(expected.ensembl_ids)),
        "human",
        expected.sha256[:20],
    ):
        assert part in shown
    there = sorted(each.name for each in tmp_path.iterdir())
    assert there == ["a.h5ad", "a.sketch", "b.h5ad", "v.parquet"]


def test_names_come_from_a_file_a_folder_or_a_model(v2, checkpoint_folder, tmp_path):
    from rankformer.checkpoints.checkpoint import Checkpoint
    from rankformer.checkpoints.model_folder import open_vocabulary

    saved = v2.save(tmp_path / "v2.parquet")
    assert open_vocabulary(saved).sha256 == v2.sha256
    assert open_vocabulary(SHARED / "geneformer" / "v2").sha256 == v2.sha256
    own = Checkpoint.open(checkpoint_folder).vocabulary.sha256
    assert open_vocabulary(checkpoint_folder).sha256 == own
