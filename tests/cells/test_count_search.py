"""Where the counts lie: found by looking, or taken where the user says, and said."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from tests.cells.count_files import as_layout, make_adata, make_counts
from tests.conftest import shared_path

from rankformer.cells import csc_rows
from rankformer.cells.source import CountKind, open_cells, survey_matrices
from rankformer.errors import CountsError, SettingsError

COUNTS = make_counts(50, 400, seed=5)


def normalised() -> sp.csr_matrix:
    adata = ad.AnnData(COUNTS.copy())
    sc.pp.normalize_total(adata, target_sum=1e4)
    return adata.X


def logged() -> sp.csr_matrix:
    return normalised().log1p()


def centred() -> np.ndarray:
    values = logged().toarray()
    return (values - values.mean(axis=0)).astype("float32")


def masks() -> sp.csr_matrix:
    return (COUNTS > 0).astype("float32")


def taken(source, **options) -> tuple[str, sp.csr_matrix]:
    with open_cells(source, **options) as cells:
        return cells.location, sp.vstack([chunk.counts for chunk in cells.chunks(20)])


def is_counts(found) -> bool:
    return (found != COUNTS).nnz == 0


def with_raw(x, raw) -> ad.AnnData:
    adata = make_adata(raw)
    adata.raw = adata.copy()
    adata.X = x
    return adata


def test_x_is_taken_first():
    adata = with_raw(COUNTS, COUNTS)
    adata.layers["counts"] = COUNTS
    assert taken(adata)[0] == "X"


@pytest.mark.parametrize("x", [logged, centred, normalised, masks])
def test_raw_holds_the_counts(x):
    adata = with_raw(x(), COUNTS)
    location, found = taken(adata)
    assert location == "raw.X"
    assert is_counts(found)


@pytest.mark.parametrize("name", ["counts", "raw_counts", "umi", "UMI_Counts", "mine"])
def test_a_layer_holds_the_counts(name):
    layers = {"spliced": COUNTS, "unspliced": COUNTS, "mask": masks(), "zzz": logged()}
    adata = make_adata(logged(), **layers, **{name: COUNTS})
    location, found = taken(adata)
    assert location == f'layers["{name}"]'
    assert is_counts(found)


def test_spliced_only_where_there_is_nothing_else_and_unspliced_never():
    both = make_adata(logged(), unspliced=COUNTS, spliced=COUNTS)
    assert taken(both)[0] == 'layers["spliced"]'
    with pytest.raises(CountsError, match="X holds log1p of counts"):
        open_cells(make_adata(logged(), unspliced=COUNTS, ambiguous=COUNTS))


def test_zeros_and_ones_are_taken_only_where_they_are_asked_for():
    with pytest.raises(CountsError, match=r"X holds nothing but ones.*raw counts.*--no-check"):
        open_cells(make_adata(masks(), mine=masks()))
    with open_cells(make_adata(masks(), mine=masks()), check=False) as cells:
        assert cells.location == "X"
    assert taken(make_adata(masks(), mine=COUNTS))[0] == 'layers["mine"]'
    with pytest.raises(CountsError, match="X holds log1p of counts"):
        open_cells(make_adata(logged(), mask=masks()))


def test_counts_anywhere_come_before_scaled_counts():
    adata = with_raw(normalised(), logged())
    assert taken(adata)[0] == "X"
    adata.layers["mine"] = COUNTS
    assert taken(adata)[0] == 'layers["mine"]'


def test_scaled_counts_are_allowed_and_said():
    with open_cells(make_adata(normalised())) as cells:
        assert cells.kind is CountKind.SCALED
        assert "counts scaled per cell" in cells.note
        found = sp.vstack([chunk.counts for chunk in cells.chunks()])
    np.testing.assert_array_equal(found.toarray(), normalised().toarray())


@pytest.mark.parametrize("layer", ["counts", 'layers["counts"]'])
def test_a_named_layer_is_taken_though_others_hold_counts(layer):
    adata = make_adata(COUNTS, counts=normalised())
    assert taken(adata, layer=layer)[0] == 'layers["counts"]'
    assert taken(adata, layer="X")[0] == "X"


def test_raw_named_left_out_or_missing():
    adata = with_raw(logged(), COUNTS)
    assert taken(adata, use_raw=True)[0] == taken(adata, layer="raw.X")[0] == "raw.X"
    with pytest.raises(CountsError) as caught:
        open_cells(adata, use_raw=False)
    assert "Counts are in raw.X: pass use_raw=True (--use-raw)." in caught.value.fix
    with pytest.raises(CountsError, match="has no raw"):
        open_cells(make_adata(), use_raw=True)
    with pytest.raises(SettingsError, match="Both layer='counts' and use_raw=True"):
        open_cells(adata, layer="counts", use_raw=True)


def test_a_missing_layer_lists_those_there_are():
    with pytest.raises(CountsError) as caught:
        open_cells(make_adata(COUNTS, mine=COUNTS), layer="cuonts")
    assert "no layer 'cuonts'" in caught.value.found
    assert caught.value.expected == 'One of X, layers["mine"].'


def test_a_wrong_place_is_answered_with_the_right_one():
    adata = make_adata(logged(), mine=COUNTS)
    with pytest.raises(CountsError) as caught:
        open_cells(adata, layer="X")
    assert "X holds log1p of counts" in caught.value.found
    assert caught.value.fix == ('Counts are in layers["mine"]: pass layer="mine" (--layer mine).')


def test_nothing_usable_says_what_each_matrix_holds():
    adata = with_raw(centred(), logged())
    with pytest.raises(CountsError) as caught:
        open_cells(adata)
    assert "X holds scaled or centred values (min -" in caught.value.found
    assert "raw.X holds log1p of counts" in caught.value.found
    assert "undo_log1p=True (--undo-log1p)" in caught.value.fix


def test_undo_log1p_gives_scaled_counts():
    for adata in (make_adata(logged()), with_raw(centred(), logged())):
        with open_cells(adata, undo_log1p=True) as cells:
            assert "logarithm is undone" in cells.note
            found = sp.vstack([chunk.counts for chunk in cells.chunks(13)])
        np.testing.assert_allclose(found.toarray(), normalised().toarray(), rtol=1e-5)


def test_undo_of_base_two():
    adata = make_adata((logged() / np.log(2)).astype("float32"))
    _, found = taken(adata, undo_log1p=True)
    np.testing.assert_allclose(found.toarray(), normalised().toarray(), rtol=1e-5)


def test_undo_log1p_takes_counts_where_there_are_any(caplog):
    location, found = taken(with_raw(logged(), COUNTS), undo_log1p=True)
    assert location == "raw.X"
    assert is_counts(found)
    assert "(--undo-log1p) is not used, as raw.X holds counts" in caplog.text


@pytest.mark.parametrize("values", [lambda: COUNTS, normalised])
def test_undo_log1p_of_what_is_no_logarithm(values):
    with pytest.raises(CountsError, match="Leave out undo_log1p"):
        open_cells(make_adata(values()), undo_log1p=True, layer="X")


def test_undo_log1p_of_other_values_is_refused():
    for values in (COUNTS.sqrt(), centred()):
        with pytest.raises(CountsError, match="X holds"):
            open_cells(make_adata(values), undo_log1p=True)


def test_without_check_values_are_used_as_they_are():
    soft = COUNTS.copy()
    soft.data *= np.random.default_rng(0).uniform(0.5, 1, soft.nnz).astype("float32")
    with pytest.raises(CountsError, match=r"estimated_counts=True \(--estimated-counts\)"):
        open_cells(make_adata(soft))
    with open_cells(make_adata(soft), check=False) as cells:
        assert "unchecked" in cells.note
        assert ((sp.vstack([chunk.counts for chunk in cells.chunks()])) != soft).nnz == 0
    assert taken(make_adata(soft, mine=COUNTS), check=False)[0] == 'layers["mine"]'


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_without_check_what_no_count_can_be_is_refused_all_the_same(bad):
    values = COUNTS.copy()
    values.data[100] = bad
    with pytest.raises(CountsError):
        list(open_cells(make_adata(values), check=False).chunks())


def test_a_bad_cell_deep_in_the_file_is_named():
    """The look at a sample cannot see every cell; each is checked again as it is read."""
    counts = sp.vstack([COUNTS] * 40, format="csr")
    row = 1234
    counts.data[counts.indptr[row]] = 2.5
    adata = make_adata(counts)
    with open_cells(adata) as cells:
        assert cells.kind is CountKind.COUNTS
        with pytest.raises(CountsError) as caught:
            list(cells.chunks(500))
    variable = adata.var_names[counts.indices[counts.indptr[row]]]
    assert "2.5" in caught.value.found
    assert repr(adata.obs_names[row]) in caught.value.found
    assert repr(variable) in caught.value.found


def test_raw_with_more_variables_is_pointed_to():
    adata = make_adata(COUNTS)
    adata.raw = adata.copy()
    narrow = adata[:, :100].copy()
    with open_cells(narrow) as cells:
        assert (cells.location, cells.n_vars) == ("X", 100)
        assert "raw.X holds counts of 400 variables: pass use_raw=True" in cells.note


def cellxgene(tmp_path):
    """As CELLxGENE serves files: counts in raw.X, names of genes in only one of the two vars."""
    adata = make_adata(COUNTS)
    adata.raw = ad.AnnData(COUNTS, obs=adata.obs, var=adata.var[[]])
    adata.X = logged()
    adata.var = pd.DataFrame(
        {"feature_name": [f"GENE{i}" for i in range(400)], "feature_is_filtered": False},
        index=adata.var_names,
    )
    adata.obs["cell_type"] = "T cell"
    adata.write_h5ad(tmp_path / "cellxgene.h5ad", compression="gzip")
    return tmp_path / "cellxgene.h5ad"


def test_cellxgene_works_as_downloaded(tmp_path):
    file = cellxgene(tmp_path)
    with open_cells(file) as cells:
        assert cells.location == "raw.X"
        assert list(cells.var["feature_name"]) == [f"GENE{i}" for i in range(400)]
        assert cells.var.index[0] == "ENSG00000000000"
        assert cells.obs["cell_type"].iloc[0] == "T cell"
        assert is_counts(sp.vstack([chunk.counts for chunk in cells.chunks(20)]))
        assert "X holds log1p of counts" in cells.note
    backed = ad.read_h5ad(file, backed="r")
    assert taken(backed)[0] == "raw.X"
    backed.file.close()


def test_a_survey_of_every_matrix(tmp_path):
    adata = with_raw(logged(), COUNTS)
    adata.layers["dense"] = centred()
    adata.layers["columns"] = normalised().tocsc()
    adata.layers["integers"] = COUNTS.astype("int32")
    adata.write_h5ad(tmp_path / "a.h5ad")
    for source in (adata, tmp_path / "a.h5ad"):
        found = {each.location: each for each in survey_matrices(source)}
        assert {key: each.figures.kind for key, each in found.items()} == {
            "X": CountKind.LOG1P,
            "raw.X": CountKind.COUNTS,
            'layers["dense"]': CountKind.CENTRED,
            'layers["columns"]': CountKind.SCALED,
            'layers["integers"]': CountKind.COUNTS,
        }
        assert {each.shape for each in found.values()} == {(50, 400)}
        assert found['layers["columns"]'].layout == "csc"
        assert found['layers["dense"]'].layout == "dense"
        assert found['layers["integers"]'].dtype == "int32"


def test_a_large_matrix_by_columns_is_judged_without_turning_it(tmp_path, monkeypatch):
    monkeypatch.setattr(csc_rows, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(
        csc_rows, "spill_rows", lambda *_: pytest.fail("turned into rows for a look")
    )
    many = sp.vstack([logged()] * 20, format="csr")
    make_adata(as_layout(many, "csc"), mine=many).write_h5ad(tmp_path / "a.h5ad")
    assert survey_matrices(tmp_path / "a.h5ad")[0].figures.kind is CountKind.LOG1P


@pytest.mark.parametrize("name", ["pbmc3k", "ifnb"])
def test_real_cells_as_scanpys_tutorial_leaves_them(name):
    """Log-normalised in raw of all genes, scaled in X: nothing to take, but the ranks are there."""
    adata = ad.read_h5ad(shared_path("cells", f"{name}.h5ad"))[:300].copy()
    counts = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.raw = adata
    adata = adata[:, :500].copy()
    sc.pp.scale(adata, max_value=10)
    with pytest.raises(CountsError, match="undo_log1p=True"):
        open_cells(adata)
    location, found = taken(adata, undo_log1p=True)
    assert location == "raw.X"
    for row in (0, 150, 299):
        # Stable sorts of the same order and ties are equal.
        assert list(np.argsort(found[row].data.round(3), kind="stable")) == list(
            np.argsort(counts[row].data, kind="stable")
        )


def test_scanpys_reduced_blood_cells():
    adata = sc.datasets.pbmc68k_reduced()
    with open_cells(adata, undo_log1p=True) as cells:
        assert cells.location == "raw.X"
        chunk = next(cells.chunks())
    smallest = chunk.counts[0].data.min()
    # The values were rounded to three decimals before they were published.
    np.testing.assert_allclose(
        chunk.counts[0].data / smallest, np.rint(chunk.counts[0].data / smallest), atol=0.05
    )
