"""Bad input ends in exit status 2 and a message that helps, and leaves everything as it was."""

import re

import anndata as ad
import numpy as np
import pytest
from tests.faults.bad_input import BadInput, lay_out, run, run_here, save_models, snapshot, tell
from tests.faults.cells import N_VARS, adata_of, counts, log_normalised, write
from tests.faults.setting_cases import two_files
from tests.faults.write_page import CATEGORIES, PAGE, page, row

CASES = {(category, case.given): case for category, cases in CATEGORIES.items() for case in cases}
OLD_PAGE = "docs/bad-inputs.md is old: python -m tests.faults.write_page"


def read_page() -> list[str]:
    return PAGE.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def folder(tmp_path, models):
    """Sound cells beside the models."""
    place = tmp_path / "desk"
    lay_out(BadInput("", write, ()), place, models)
    return place


@pytest.mark.parametrize("name", CASES, ids=" - ".join)
def test_bad_input(name, models, tmp_path):
    case = CASES[name]
    folder = tmp_path / "desk"
    lay_out(case, folder, models)
    before = snapshot(folder)
    outcome = run(case, folder)
    message = tell(case, outcome, folder)
    assert outcome.status == (None if case.call else 2), outcome.stderr
    assert "Traceback" not in outcome.stderr
    missing = [phrase for phrase in case.says if phrase not in outcome.message]
    assert not missing, f"{missing} not in: {outcome.message}"
    assert "Error: " in message
    assert " Expected: " in message
    assert snapshot(folder) == before
    assert row(case.given, message, outcome.status) in read_page(), OLD_PAGE


def test_page_has_a_row_for_each_case_and_no_other():
    """What the rows say is held by each case's own test."""
    lines = [re.sub(r" \| `` .* `` \| (2|raised) \|$", "", line) for line in read_page()]
    expected = page(
        {key: [f"| {case.given}" for case in cases] for key, cases in CATEGORIES.items()}
    )
    assert lines == expected.splitlines(), OLD_PAGE


def test_there_are_enough():
    assert len([case for case in CASES.values() if case.call is None]) >= 40
    assert sum(not case.in_process for case in CASES.values()) >= 3


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ("--mode genes", "'genes' is not one of"),
        ("--emb-layer last", "Invalid value for '--emb-layer'"),
        ("--threads 0", "Invalid value for '--threads'"),
        ("--nonsense", "No such option: --nonsense"),
    ],
)
def test_a_word_that_the_command_line_does_not_know(folder, options, phrase, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    before = snapshot(folder)
    arguments = ["embed", "pbmc.h5ad", "-o", "out.h5ad", "-m", "model", *options.split()]
    outcome = run_here(arguments, folder)
    assert outcome.status == 2
    assert phrase in outcome.stderr
    assert snapshot(folder) == before


def embed(folder, *options, inputs=("pbmc.h5ad",)):
    arguments = ["embed", *inputs, "-o", "out.h5ad", "-m", "model", "--dtype", "float32", *options]
    outcome = run_here(arguments, folder)
    assert outcome.status == 0, outcome.stderr
    return ad.read_h5ad(folder / "out.h5ad"), outcome.stderr


SOUND = {
    "versions behind Ensembl ids": lambda: adata_of(
        counts(), [f"ENSG{i:011d}.{i % 17 + 1}" for i in range(1, N_VARS + 1)]
    ),
    "Ensembl ids and symbols mixed": lambda: adata_of(
        counts(), [f"G{i}" if i % 2 else f"ENSG{i:011d}" for i in range(1, N_VARS + 1)]
    ),
    "symbols in small letters": lambda: adata_of(counts(), [f"g{i}" for i in range(1, N_VARS + 1)]),
    "log-normalised X, the counts in a layer": lambda: adata_of(
        log_normalised(counts()), layers={"counts": counts()}
    ),
    "counts scaled to 10,000 a cell": lambda: adata_of(np.expm1(log_normalised(counts()))),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_looks_bad_and_is_not(name, folder):
    """Complaints of other tools' users: such input was dropped silently, or refused."""
    plain, _ = embed(folder)
    SOUND[name]().write_h5ad(folder / "pbmc.h5ad")
    found, _ = embed(folder, "--overwrite")
    vectors = found.obsm["X_geneformer"]
    np.testing.assert_allclose(vectors, plain.obsm["X_geneformer"], rtol=0, atol=1e-6)


def test_log_normalised_values_give_the_ranks_of_the_counts_when_asked(folder):
    plain, _ = embed(folder)
    write(folder, log_normalised(counts()))
    found, said = embed(folder, "--undo-log1p", "--overwrite")
    vectors = found.obsm["X_geneformer"]
    np.testing.assert_allclose(vectors, plain.obsm["X_geneformer"], rtol=0, atol=1e-6)
    assert "logarithm is undone" in said


def test_inputs_whose_obs_differ_in_type_are_joined(folder):
    two_files(folder)
    found, _ = embed(folder, inputs=("a.h5ad", "b.h5ad"))
    assert found.obs["donor"].tolist() == ["1"] * 40 + ["D2"] * 40
    assert np.isfinite(found.obsm["X_geneformer"]).all()


def test_cells_that_have_no_embedding_are_told(folder):
    values = counts().toarray()
    values[7] = 0
    adata = adata_of(values)
    adata.obs["filter_pass"] = np.where(np.arange(300) < 20, 0, 1)
    adata.write_h5ad(folder / "pbmc.h5ad")
    found, said = embed(folder)
    assert "keeps 280 of 300 cells" in said
    assert "20 of 300 cells have no embedding: filter_pass is 0" in said
    adata.obs["filter_pass"] = 1
    adata.write_h5ad(folder / "pbmc.h5ad")
    found, said = embed(folder, "--overwrite")
    assert "1 of 300 cells have no embedding: no counts in genes of the vocabulary" in said
    assert np.isnan(found.obsm["X_geneformer"]).any(axis=1).nonzero()[0].tolist() == [7]


def test_adding_to_the_input_itself_keeps_it_whole(folder):
    before = ad.read_h5ad(folder / "pbmc.h5ad")
    arguments = ["embed", "pbmc.h5ad", "-o", "pbmc.h5ad", "-m", "model", "--overwrite"]
    assert run_here(arguments, folder).status == 0
    after = ad.read_h5ad(folder / "pbmc.h5ad")
    assert (after.X != before.X).nnz == 0
    assert after.obs.equals(before.obs)
    assert after.obsm["X_geneformer"].shape == (300, 32)
