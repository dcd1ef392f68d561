"""The gene report: refused before the work where it cannot be written, and a row a variable."""

import pandas as pd
import pytest
from tests.conftest import small_vocabulary

from rankformer.errors import OutputError
from rankformer.results.gene_report import check_gene_report, write_gene_report
from rankformer.tokens.token_sources import SavedTokens
from rankformer.tokens.tokenize import open_tokens


@pytest.fixture
def saved(small_adata, tmp_path):
    stream = open_tokens(small_adata, small_vocabulary())
    folder = next(stream.parts()).cells.save(tmp_path / "tokens")
    return SavedTokens.open(folder, small_vocabulary())


def test_a_report_that_can_be_written_is_let_through(tmp_path, saved):
    check_gene_report(tmp_path / "report.csv", ["cells.h5ad", saved.path])
    (tmp_path / "report.csv").write_text("old")
    check_gene_report(tmp_path / "report.csv", ["cells.h5ad"], overwrite=True)


def test_a_report_that_is_there_is_not_replaced(tmp_path):
    (tmp_path / "report.csv").write_text("old")
    with pytest.raises(OutputError, match=r"report.csv exists already.*--gene-report"):
        check_gene_report(tmp_path / "report.csv", ["cells.h5ad"])


def test_other_formats_and_tokens_alone_are_refused(tmp_path, saved):
    with pytest.raises(OutputError, match=r"the ending \.txt"):
        check_gene_report(tmp_path / "report.txt", ["cells.h5ad"])
    with pytest.raises(OutputError, match="no input holds genes") as refused:
        check_gene_report(tmp_path / "report.csv", [saved.path])
    assert refused.value.expected == "An input of counts."
    assert refused.value.fix == "Leave out --gene-report."
    with pytest.raises(OutputError, match="no input holds genes"):
        write_gene_report(tmp_path / "report.csv", [saved])
    assert not (tmp_path / "report.csv").exists()


def test_each_variable_has_a_row_and_sources_are_told_apart(small_adata, tmp_path, saved):
    stream = open_tokens(small_adata, small_vocabulary())
    write_gene_report(tmp_path / "one.csv", [stream, saved])
    one = pd.read_csv(tmp_path / "one.csv")
    assert one["identifier"].tolist() == list(small_adata.var_names)
    assert "source" not in one
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    second = open_tokens(tmp_path / "cells.h5ad", small_vocabulary())
    write_gene_report(tmp_path / "two.csv", [stream, second])
    two = pd.read_csv(tmp_path / "two.csv")
    assert two["source"].value_counts().to_dict() == dict.fromkeys(
        (stream.name, second.name), small_adata.n_vars
    )
    with pytest.raises(OutputError, match="has appeared"):
        write_gene_report(tmp_path / "two.csv", [stream])
    write_gene_report(tmp_path / "two.csv", [stream], overwrite=True)
    assert len(pd.read_csv(tmp_path / "two.csv")) == small_adata.n_vars
