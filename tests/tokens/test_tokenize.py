"""Tokens of a source, part after part: each cell's own, in order, with what was asked for."""

import h5py
import numpy as np
import pytest
from datasets import load_from_disk

from rankformer.cores import usable_cores
from rankformer.errors import GeneError, SettingsError
from rankformer.tokens import tokenize
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import SavedTokens
from rankformer.tokens.tokenize import open_tokens, opened_sources, tokenize_cells
from rankformer.tokens.tokenized_cells import save_tokens


def tokens_by_hand(adata, vocabulary):
    """A list of tokens a cell, by the published rule, gene by gene."""
    median_of = dict(zip(vocabulary.ensembl_ids, vocabulary.medians, strict=True))
    cells = []
    for row in adata.X.toarray():
        ranked = sorted(
            (-count / median_of[gene], vocabulary.token_of[gene])
            for symbol, count in zip(adata.var_names, row, strict=True)
            if count and (gene := vocabulary.symbols.get(symbol))
        )
        room = vocabulary.input_length - vocabulary.n_frame_tokens
        framed = [
            vocabulary.cls_token,
            *(token for _, token in ranked[:room]),
            vocabulary.eos_token,
        ]
        cells.append([token for token in framed if token is not None])
    return cells


def lists_of(cells):
    return cells.table["input_ids"].to_pylist()


@pytest.mark.parametrize("chunk_cells", [1, 7, 30, 2048])
def test_parts_hold_each_cell_once_in_order(small_adata, vocabulary, chunk_cells):
    stream = open_tokens(small_adata, vocabulary, ReadingOptions(chunk_cells=chunk_cells))
    parts = list(stream.parts())
    assert len(parts) == -(-30 // chunk_cells)
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(30))
    found = [tokens for part in parts for tokens in lists_of(part.cells)]
    assert found == tokens_by_hand(small_adata, vocabulary)
    names = [name for part in parts for name in part.cells.cell_names.to_pylist()]
    assert names == small_adata.obs_names.tolist()
    assert len(stream) == 30


def test_fewer_cells_are_encoded_at_once_where_memory_runs_out(
    small_adata, vocabulary, monkeypatch
):
    encode = tokenize.encode_rank_values

    def starved(counts, *given, **more):
        if counts.shape[0] > 8:
            raise MemoryError
        return encode(counts, *given, **more)

    monkeypatch.setattr(tokenize, "encode_rank_values", starved)
    parts = list(open_tokens(small_adata, vocabulary).parts())
    assert [len(part.rows) for part in parts] == [7, 7, 7, 7, 2]
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(30))
    found = [tokens for part in parts for tokens in lists_of(part.cells)]
    assert found == tokens_by_hand(small_adata, vocabulary)
    names = [name for part in parts for name in part.cells.cell_names.to_pylist()]
    assert names == small_adata.obs_names.tolist()


def test_a_source_in_one_go(cells, small_adata, vocabulary):
    found = tokenize_cells(cells, vocabulary)
    assert lists_of(found) == tokens_by_hand(small_adata, vocabulary)
    assert found.vocabulary_sha256 == vocabulary.sha256


@pytest.mark.parametrize("values", [[1, 0, 1], [True, False, True], ["1", "0", "1"]], ids=str)
def test_cells_that_the_filter_leaves_out(small_adata, vocabulary, values):
    small_adata.obs["filter_pass"] = np.array(values, dtype=object).tolist() * 10
    small_adata.obs["order"] = np.arange(30)
    options = ReadingOptions(attributes={"place": "order"}, chunk_cells=4)
    stream = open_tokens(small_adata, vocabulary, options)
    kept = [i for i in range(30) if i % 3 != 1]
    assert np.flatnonzero(stream.kept).tolist() == kept
    parts = list(stream.parts())
    assert np.concatenate([part.rows for part in parts]).tolist() == kept
    expected = tokens_by_hand(small_adata, vocabulary)
    assert [t for part in parts for t in lists_of(part.cells)] == [expected[i] for i in kept]
    assert [v for part in parts for v in part.cells.table["place"].to_pylist()] == kept


@pytest.mark.parametrize(
    ("value", "sentence"), [(0, "keeps none of 30 cells"), ("yes", "holds 'yes'")]
)
def test_filters_that_keep_nothing_or_say_nothing(small_adata, vocabulary, value, sentence):
    small_adata.obs["filter_pass"] = value
    with pytest.raises(SettingsError, match=sentence):
        open_tokens(small_adata, vocabulary)


@pytest.mark.parametrize("values", [[None] * 29 + ["B"], ["B"] + [None] * 29])
def test_an_attribute_may_be_missing_in_a_whole_part(small_adata, vocabulary, tmp_path, values):
    small_adata.obs["label"] = values
    options = ReadingOptions(attributes={"label": "label"}, chunk_cells=7)
    stream = open_tokens(small_adata, vocabulary, options)
    path = save_tokens((part.cells for part in stream.parts()), tmp_path / "tokens")
    assert load_from_disk(str(path))["label"][:] == values


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        ({"input_ids": "cell_type"}, "column 'input_ids' was asked for"),
        ({"length": "cell_type"}, "column 'length' was asked for"),
        ({"label": "cell_typ"}, "has no column cell_typ"),
    ],
)
def test_attributes_that_cannot_be(small_adata, vocabulary, attributes, sentence):
    with pytest.raises(SettingsError, match=sentence):
        open_tokens(small_adata, vocabulary, ReadingOptions(attributes=attributes))


@pytest.mark.parametrize("fault", ["genes", "attribute", "filter"])
def test_a_file_that_is_refused_is_closed(small_adata, vocabulary, tmp_path, fault):
    path, options = tmp_path / "cells.h5ad", ReadingOptions()
    if fault == "genes":
        small_adata.var_names = [f"ZZ{i}" for i in range(small_adata.n_vars)]
    elif fault == "attribute":
        options = ReadingOptions(attributes={"label": "none"})
    else:
        small_adata.obs["filter_pass"] = 0
    small_adata.write_h5ad(path)
    with pytest.raises((GeneError, SettingsError)):
        open_tokens(path, vocabulary, options)
    # HDF5 opens no file for writing that is open for reading.
    with h5py.File(path, "r+"):
        pass


def test_what_was_read_is_told(small_adata, vocabulary):
    small_adata.layers["counts"] = small_adata.X.copy()
    small_adata.X = small_adata.X * 0.5
    options = ReadingOptions(layer="counts")
    said = open_tokens(small_adata, vocabulary, options).provenance()
    assert said["counts"] == 'layers["counts"]'
    assert (said["genes"]["n_vars"], said["genes"]["n_mapped"]) == (170, 150)


def test_saved_tokens_are_a_source_like_their_counts(small_adata, vocabulary, tmp_path):
    options = ReadingOptions(attributes={"cell_type": "cell_type"})
    stream = open_tokens(small_adata, vocabulary, options)
    path = save_tokens((part.cells for part in stream.parts()), tmp_path / "tokens")
    saved = SavedTokens.open(path, vocabulary)
    parts = list(saved.parts())
    assert np.concatenate([part.rows for part in parts]).tolist() == list(range(30))
    found = [tokens for part in parts for tokens in lists_of(part.cells)]
    assert found == tokens_by_hand(small_adata, vocabulary)
    assert saved.obs.index.tolist() == small_adata.obs_names.tolist()
    assert saved.obs["cell_type"].tolist() == small_adata.obs["cell_type"].tolist()
    assert saved.obs.columns.tolist() == ["cell_type"]
    assert (len(saved), saved.kept.all(), saved.name) == (30, True, str(path))


def test_sources_are_opened_one_by_one_each_once(small_adata, vocabulary, tmp_path):
    folder = tmp_path / "cells"
    folder.mkdir()
    for name in ("b", "a"):
        small_adata.write_h5ad(folder / f"{name}.h5ad")
    stream = open_tokens(small_adata, vocabulary)
    saved = save_tokens((part.cells for part in stream.parts()), tmp_path / "tokens")
    sources = [folder / "b.h5ad", str(folder), str(saved), small_adata]
    with opened_sources(sources, vocabulary) as opened:
        paths = [each.path for each in opened]
    assert paths == [folder / "b.h5ad", folder / "a.h5ad", saved, None]
    assert [type(each).__name__ for each in opened] == [
        "TokenStream", "TokenStream", "SavedTokens", "TokenStream",
    ]  # fmt: skip


def test_threads_are_no_more_than_there_are_cores():
    assert ReadingOptions().threads == usable_cores()
    assert ReadingOptions(n_threads=1).threads == 1
    assert ReadingOptions(n_threads=10**6).threads == usable_cores()
    with pytest.raises(SettingsError, match="n_threads is 0"):
        ReadingOptions(n_threads=0)
