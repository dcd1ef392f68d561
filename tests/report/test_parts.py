"""What a report is made of: drawn cells, encoded arrays, columns, cautions, effects."""

import base64
import json
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix, csr_matrix, random_array

from rankformer.errors import SettingsError, TableError
from rankformer.report.blobs import (
    LARGEST_LOG_COUNT,
    encode_array,
    encode_gene_block,
    join_blobs,
    scale_coordinates,
)
from rankformer.report.columns import MISSING, describe_column, describe_columns
from rankformer.report.count_figures import measure_counts
from rankformer.report.effects import HEIGHT, WIDTH, draw_effects, read_effects
from rankformer.report.gene_names import find_genes, gene_names
from rankformer.report.layout import lay_out_expression
from rankformer.report.page import _as_json
from rankformer.report.sample import draw_by_density
from rankformer.report.shown_genes import GENES_IN_BLOCK, choose_genes


def decode(text, kind):
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind)


def test_cells_are_drawn_once_in_order_and_rare_ones_stay():
    rng = np.random.default_rng(3)
    common, rare = rng.normal(0, 1, (20_000, 8)), rng.normal(30, 1, (100, 8))
    vectors = np.concatenate([common, rare]).astype(np.float32)
    rows = draw_by_density(vectors, 2_000)
    assert len(rows) == 2_000
    assert np.all(np.diff(rows) > 0)
    share = (rows >= 20_000).mean()
    assert share > 3 * 100 / 20_100, "Cells of a thin cloud are drawn more often than by chance"
    assert np.array_equal(rows, draw_by_density(vectors, 2_000))


def test_one_cell_far_off_does_not_spoil_the_draw():
    rng = np.random.default_rng(3)
    common, rare = rng.normal(0, 1, (20_000, 8)), rng.normal(6, 0.5, (100, 8))
    far = np.full((1, 8), 10_000.0)
    without = draw_by_density(np.concatenate([common, rare]).astype(np.float32), 2_000)
    beside = draw_by_density(np.concatenate([common, rare, far]).astype(np.float32), 2_000)
    n_rare = [int(((rows >= 20_000) & (rows < 20_100)).sum()) for rows in (without, beside)]
    assert min(n_rare) > 20, n_rare


def test_few_cells_are_all_drawn():
    assert draw_by_density(np.zeros((5, 3), np.float32), 5).tolist() == [0, 1, 2, 3, 4]
    same = draw_by_density(np.ones((50, 3), np.float32), 7)
    assert len(set(same.tolist())) == 7, "Cells that all lie in one place can be drawn too"


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_arrays_can_be_read_again_by_what_a_browser_has(values):
    text = encode_array(np.array(values, dtype=np.uint32))
    plain = zlib.decompress(base64.b64decode(text))
    assert list(struct.unpack(f"<{len(values)}I", plain)) == values


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 400), st.integers(1, 9), st.integers(0, 2**31))
def test_expression_comes_back_within_half_a_step(n_cells, n_genes, seed):
    rng = np.random.default_rng(seed)
    counts = random_array((n_cells, n_genes), density=0.3, rng=rng, format="csc")
    log_counts = csc_matrix(counts * LARGEST_LOG_COUNT)
    stored = decode(encode_gene_block(log_counts), np.uint8).astype(int)
    low, high, steps = stored.reshape(3, -1)
    at = 0
    for gene in range(n_genes):
        size = log_counts[:, [gene]].nnz
        own = slice(at, at + size)
        rebuilt = np.zeros(n_cells)
        rebuilt[np.cumsum(low[own] + 256 * high[own])] = steps[own] / 255 * LARGEST_LOG_COUNT
        at += size
        expected = log_counts[:, [gene]].toarray().ravel()
        assert np.abs(rebuilt - expected).max() <= LARGEST_LOG_COUNT / 255
        assert np.array_equal(rebuilt > 0, expected > 0), "What is expressed stays above zero"


def test_steps_between_far_cells_fit():
    counts = csc_matrix(([1.0, 2.0], ([5, 49_999], [0, 0])), shape=(50_000, 1))
    low, high, _ = decode(encode_gene_block(counts), np.uint8).reshape(3, -1).astype(int)
    assert np.cumsum(low + 256 * high).tolist() == [5, 49_999]


def test_coordinates_keep_their_proportions():
    scaled = scale_coordinates(np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 5.0]])).astype(float)
    assert scaled[:, 0].max() - scaled[:, 0].min() == pytest.approx(65_535, abs=1)
    assert scaled[:, 1].max() - scaled[:, 1].min() == pytest.approx(65_535 / 2, abs=1)


def test_blobs_are_found_where_they_lie():
    text, places = join_blobs({"a": "xyz", "b": "", "c": "12"})
    assert {name: text[start:end] for name, (start, end) in places.items()} == {
        "a": "xyz", "b": "", "c": "12",
    }  # fmt: skip


def test_genes_that_are_wanted_come_first_and_constant_ones_last():
    rng = np.random.default_rng(0)
    values = np.abs(rng.normal(1, [0.01, 1, 0.1, 0.5], (40, 4)))
    values[:, 0] = 1
    names = np.array(["FLAT", "WILD", "CALM", "MID"], dtype=object)
    genes = choose_genes(csr_matrix(values), names, np.array([2]))
    assert genes.names == ("CALM", "WILD", "MID", "FLAT")
    assert genes.n_left_out == 0


def test_genes_are_found_by_symbol_and_by_index():
    var = pd.DataFrame({"gene_symbol": ["CALM", "CALM", "", None]}, index=["E1", "E2", "E3", "E4"])
    names = gene_names(var)
    assert names.tolist() == ["CALM", "CALM-1", "E3", "E4"]
    assert find_genes(var, names, ["E2", "CALM", "E3", "CALM-1"]).tolist() == [1, 0, 2]
    with pytest.raises(SettingsError, match=r"CALMA.*such as CALM"):
        find_genes(var, names, ["CALMA"])


def test_blocks_hold_as_many_genes_as_the_page_expects():
    values = csr_matrix(np.random.default_rng(0).random((6, 2 * GENES_IN_BLOCK + 3)))
    names = np.array([f"g{i}" for i in range(values.shape[1])], dtype=object)
    genes = choose_genes(values, names, np.array([], dtype=int))
    sizes = [len(decode(block, np.uint8)) // 3 for block in genes.blocks]
    assert sizes == [6 * GENES_IN_BLOCK, 6 * GENES_IN_BLOCK, 6 * 3]


def test_columns_are_what_a_reader_takes_them_for():
    obs = pd.DataFrame(
        {
            "type": pd.Categorical(["B", "T", None], categories=["T", "B", "unused"]),
            "cluster": [10, 2, 2],
            "share": [0.5, np.nan, 1.5],
            "is_doublet": [True, False, False],
            "depth": [1, 2, 3],
        }
    )
    shown, left_out = describe_columns(obs)
    kinds = {each.name: (each.kind, each.categories) for each in shown}
    assert kinds == {
        "type": ("category", ("T", "B")),
        "cluster": ("category", ("2", "10")),
        "share": ("number", ()),
        "is_doublet": ("category", ("False", "True")),
        "depth": ("category", ("1", "2", "3")),
    }
    assert not left_out
    assert shown[0].values.tolist() == [1, 0, MISSING]


def test_long_texts_are_left_out_and_names_of_many_cells_are_only_read():
    many = pd.Series([f"cell {i}" for i in range(300)])
    column = describe_column("id", many)
    assert (column.kind, len(column.categories)) == ("text", 300)
    assert describe_column("essay", many.str.repeat(2_000)) is None
    assert describe_columns(pd.DataFrame({"essay": many.str.repeat(2_000)}))[1] == ["essay"]


def test_many_whole_numbers_are_a_number():
    assert describe_column("n_counts", pd.Series(range(200))).kind == "number"


def test_counts_at_a_glance():
    counts = csr_matrix(np.array([[1.0, 0, 3], [0, 1, 0], [1, 1, 1]]))
    figures = measure_counts(counts)
    assert (figures.counts_per_cell, figures.genes_per_cell, figures.largest) == (3, 2, 3)
    assert (figures.fewest_genes, figures.most_genes, figures.is_whole) == (1, 3, True)
    assert figures.share_of_ones == pytest.approx(5 / 6)


def test_expression_that_does_not_vary_has_no_picture_but_a_reason():
    assert "vary" in lay_out_expression(csr_matrix(np.ones((20, 4), np.float32)))


def test_json_cannot_end_the_script_that_holds_it():
    nasty = {"name": "</script><script>alert(1)</script>&\u2028"}
    text = _as_json(nasty)
    assert "<" not in text
    assert "&" not in text
    assert json.loads(text) == nasty


def table_of_tests(n=60):
    rng = np.random.default_rng(1)
    q = rng.uniform(0.06, 1, n)
    q[:4] = 1e-6
    effect = rng.normal(0, 0.1, n)
    effect[:4] = [1, 0.8, -0.9, -0.7]
    return pd.DataFrame(
        {"symbol": [f"G{i}" for i in range(n)], "effect": effect, "p_value": q / 2, "q_value": q}
    )


def test_the_volcano_names_what_is_certain_and_keeps_within_its_frame(tmp_path):
    effects = draw_effects(table_of_tests())
    assert effects.n_called == 4
    assert sorted(name.text for name in effects.names) == ["G0", "G1", "G2", "G3"]
    assert {dot.kind for dot in effects.dots} == {"up", "down", "uncertain"}
    assert all(0 < dot.x < WIDTH and 0 < dot.y < HEIGHT for dot in effects.dots)
    right = {dot.text.split(":")[0]: dot.x > effects.zero for dot in effects.dots}
    table = table_of_tests()
    assert right == dict(zip(table["symbol"], table["effect"] > 0, strict=True))
    lines = sorted(name.y for name in effects.names if name.x > effects.zero)
    assert np.diff(lines).min() > 10, "Names do not lie on each other"


def test_effects_are_read_from_tables_of_both_commands(tmp_path):
    table_of_tests().to_csv(tmp_path / "tested.csv", index=False)
    assert read_effects(tmp_path / "tested.csv").n_called == 4
    table_of_tests().to_parquet(tmp_path / "tested.parquet")
    assert read_effects(tmp_path / "tested.parquet").n_called == 4
    table_of_tests().drop(columns="q_value").to_csv(tmp_path / "mixture.csv", index=False)
    with pytest.raises(TableError, match="q_value"):
        read_effects(tmp_path / "mixture.csv")
