"""The whole page: what it holds of a file, what it warns of, and that it is the same each time."""

import base64
import hashlib
import json
import re
import zlib

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import rankformer
from rankformer import ReportSettings, write_report
from rankformer.errors import OutputError, SettingsError
from rankformer.tokens.reading_options import ReadingOptions

KEY = "X_geneformer"


@pytest.fixture
def cells():
    """Three kinds of 40 cells each, whose embedding tells two of them apart."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(["A", "B", "C"], 40)
    means = rng.gamma(0.6, 2, (3, 80))
    means[2] = means[1]
    counts = rng.poisson(means[np.repeat([0, 1, 2], 40)]).astype(np.float32)
    adata = ad.AnnData(
        csr_matrix(counts),
        pd.DataFrame({"kind": kinds, "lane": np.where(np.arange(120) < 110, "1", "2")},
                     index=[f"cell{i}" for i in range(120)]),
        pd.DataFrame({"gene_symbol": [f"SYM{i}" for i in range(80)]},
                     index=[f"ENSG{i:011d}" for i in range(80)]),
    )  # fmt: skip
    vectors = rng.normal(0, 1, (120, 6)).astype(np.float32)
    vectors[:40] += 6
    adata.obsm[KEY] = vectors
    return adata


@pytest.fixture(autouse=True)
def _same_date(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def write(cells, folder, **settings):
    write_report(cells, folder / "report.html", ReportSettings(**settings), overwrite=True)
    return (folder / "report.html").read_text("utf-8")


def described(page):
    return json.loads(re.search(r'id="description">(.*?)</script>', page)[1])


def array(page, name, kind):
    start, end = described(page)["places"][name]
    blobs = re.search(r'id="blobs">(.*?)</script>', page)[1]
    return np.frombuffer(zlib.decompress(base64.b64decode(blobs[start:end])), dtype=kind)


def test_a_page_holds_the_cells_and_their_columns(cells, tmp_path):
    page = write(cells, tmp_path, labels="kind", batch="lane")
    told = described(page)
    assert told["n_cells"] == 120
    names = [each["name"] for each in told["columns"]]
    assert names[-2:] == ["kind", "lane"]
    assert told["first_column"] == "kind"
    codes = array(page, f"column_{names.index('kind')}", np.uint16)
    assert codes.tolist() == [0] * 40 + [1] * 40 + [2] * 40
    assert json.loads(array(page, "cell_names", np.uint8).tobytes()) == list(cells.obs_names)
    genes = json.loads(array(page, "gene_names", np.uint8).tobytes())
    assert set(genes) <= set(cells.var["gene_symbol"])


def test_it_says_that_genes_are_orthologs_and_counts_estimates(cells, tmp_path):
    told = {"species": "mouse", "choice": "best", "table": "hcop.txt", "table_sha256": "0" * 64}
    genes = {"orthologs": told, "counts_kept": 0.43}
    source = {"counts_kind": "estimated counts", "genes": genes}
    cells.uns["rankformer"] = {KEY: {"model": "a model", "sources": {"0": source}}}
    careful = re.search(r'id="careful".*?</section>', write(cells, tmp_path), re.DOTALL)[0]
    assert "The cells are of mouse" in careful
    assert "hcop.txt (best), in which 43% of the counts lie" in careful
    assert "The counts are estimates with fractions" in careful


@pytest.mark.parametrize(
    "genes",
    [
        {"orthologs": "hcop.txt", "counts_kept": 0.5},
        {"orthologs": {"species": "mouse"}, "counts_kept": "most"},
        {"n_genes": "few", "n_mapped": None, "n_vars": "many", "recognised_share": "half"},
        "genes",
    ],
)
def test_what_others_put_into_uns_does_not_end_the_report(cells, tmp_path, genes):
    cells.uns["rankformer"] = {KEY: {"model": "a model", "sources": {"0": {"genes": genes}}}}
    careful = re.search(r'id="careful".*?</section>', write(cells, tmp_path), re.DOTALL)
    assert careful is None or "orthologs" not in careful[0]


def test_it_says_that_few_genes_are_in_the_file(cells, tmp_path):
    genes = {"n_genes": np.int64(1800), "n_mapped": 1800, "n_vars": 2000}
    cells.uns["rankformer"] = {KEY: {"model": "a model", "sources": {"0": {"genes": genes}}}}
    assert "The file has 1,800 genes of the model" in write(cells, tmp_path)


def test_it_says_which_labels_the_embedding_does_not_separate(cells, tmp_path):
    page = write(cells, tmp_path, labels="kind")
    careful = re.search(r'id="careful".*?</section>', page, re.DOTALL)[0]
    weak = re.search(r"does not separate.*?</span>", careful)
    assert weak is None or "A (" not in weak[0]
    assert "does not say how this embedding was made" in careful


def test_it_says_what_is_wrong_with_the_counts_and_the_batches(cells, tmp_path):
    cells.X.data[:] = 1
    cells.obsm[KEY][:5] = np.nan
    settings, anything = ReportSettings(batch="lane"), ReadingOptions(check=False)
    write_report(cells, tmp_path / "report.html", settings, options=anything)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "All counts are 0 or 1" in page
    assert "of the cells are of one lane (1)" in page
    assert "5 of 120 cells have no embedding (reason not told)" in page
    assert described(page)["n_cells"] == 115


def test_the_same_cells_give_the_same_bytes(cells, tmp_path):
    first = write(cells, tmp_path, labels="kind", batch="lane")
    assert write(cells, tmp_path, labels="kind", batch="lane") == first


def test_only_the_page_s_own_script_may_run(cells, tmp_path):
    page = write(cells, tmp_path)
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1]
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_more_cells_than_the_page_holds_are_drawn(cells, tmp_path):
    page = write(cells, tmp_path, max_cells=50)
    assert described(page)["n_cells"] == 50
    assert "The page shows 50 of 120 cells" in page


def test_a_file_without_an_embedding_is_embedded_and_stays_as_it_is(cells, tmp_path):
    del cells.obsm[KEY]
    vocabulary = rankformer.Checkpoint.open("rankformer-mini").vocabulary
    cells.var_names = list(vocabulary.ensembl_ids)[:80]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    before = (tmp_path / "cells.h5ad").read_bytes()
    write_report(tmp_path / "cells.h5ad", tmp_path / "page.html", model="rankformer-mini")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert (tmp_path / "cells.h5ad").read_bytes() == before
    assert "Embedded by rankformer-mini" in page
    assert "80 <small>100%</small>" in page


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"labels": "knd"}, "no column 'knd'"), ({"batch": "x"}, "no column 'x'"),
     ({"genes": ("SYM",)}, "No gene of the file is named 'SYM'"), ({"key": "X_other"}, "no model")],
)  # fmt: skip
def test_what_is_not_there_is_an_error_and_nothing_is_written(cells, tmp_path, settings, message):
    with pytest.raises(SettingsError, match=message):
        write(cells, tmp_path, **settings)
    assert not list(tmp_path.iterdir())


def test_too_few_cells_are_refused(cells, tmp_path):
    with pytest.raises(SettingsError, match="At least 10 cells"):
        write(cells[:9].copy(), tmp_path)


def test_a_page_that_is_there_is_not_replaced(cells, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_report(cells, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "mine"


def test_labels_that_cannot_be_evaluated_are_told_not_refused(cells, tmp_path):
    cells.obs["same"] = "one"
    assert "could not be evaluated" in write(cells, tmp_path, labels="same")


def test_all_labels_may_be_missing(cells, tmp_path):
    cells.obs["none"] = None
    page = write(cells, tmp_path, batch="none")
    assert "Adjusted Rand index" not in page


def test_columns_may_be_numbered_or_doubled(cells, tmp_path):
    cells.obs[3] = "x"
    cells.obs = pd.concat([cells.obs, cells.obs[["kind"]]], axis=1)
    names = [each["name"] for each in described(write(cells, tmp_path, labels="kind"))["columns"]]
    assert names[-3:] == ["kind", "lane", "3"]


def test_a_column_that_is_named_has_room_in_any_case(cells, tmp_path):
    for i in range(70):
        cells.obs[f"score{i}"] = np.arange(120) / (i + 3)
    cells.obs["many"] = [f"type {i}" for i in range(120)]
    told = described(write(cells, tmp_path, color="many"))["columns"]
    assert {each["name"]: each["kind"] for each in told}["many"] == "category"
    assert len(told) <= 62


def test_numbers_are_kept_to_three_digits(cells, tmp_path):
    cells.obs["score"] = np.random.default_rng(0).lognormal(0, 9, 120) * np.tile([1, -1], 60)
    page = write(cells, tmp_path)
    place = [each["name"] for each in described(page)["columns"]].index("score")
    shown = array(page, f"column_{place}", np.float32)
    np.testing.assert_allclose(shown, cells.obs["score"].to_numpy(np.float32), rtol=2.5e-4)


def test_the_largest_batch_is_told_of_the_whole_file(cells, tmp_path):
    """Of the cells drawn by density, the batch would be smaller."""
    page = write(cells, tmp_path, batch="lane", max_cells=20)
    assert "92% of the cells are of one lane (1)" in page


def test_text_that_no_file_can_hold_is_replaced(cells, tmp_path):
    cells.obs["kind"] = cells.obs["kind"].astype(object).replace("A", "A\udc80")
    assert "A?" in write(cells, tmp_path, labels="kind")


def test_labels_are_not_batches_too():
    with pytest.raises(SettingsError, match="Labels and batches"):
        ReportSettings(labels="kind", batch="kind")


def test_a_date_that_is_no_number_is_refused(cells, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(SettingsError, match="seconds since 1970"):
        write(cells, tmp_path)
