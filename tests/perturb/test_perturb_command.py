"""``rankformer perturb`` from counts to a table."""

import json
import subprocess
import sys
from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from tests.conftest import save_small_checkpoint, small_counts, small_vocabulary
from transformers import BertModel

from rankformer.tokens.tokenize import tokenize_cells


@pytest.fixture(scope="module")
def vocabulary():
    return small_vocabulary(special=True)


@pytest.fixture
def folder(tmp_path, vocabulary):
    """A model, and 12 cells of two stages and three donors."""
    save_small_checkpoint(tmp_path / "model", vocabulary)
    symbols = [vocabulary.symbol_of[gene] for gene in vocabulary.ensembl_ids]
    adata = ad.AnnData(small_counts(12, 40, seed=2), var=pd.DataFrame(index=symbols[:40]))
    adata.obs_names = [f"cell{i}" for i in range(12)]
    adata.obs["stage"] = ["young", "old", "older"] * 4
    adata.obs["donor"] = [1, 1, 2, 2, 3, 3] * 2
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path


@pytest.fixture
def perturb(folder, command):
    def run(*words, output="out.parquet"):
        status, _, said = command(
            "perturb", folder / "cells.h5ad", "-o", folder / output, "-m", folder / "model",
            "--device", "cpu", "--dtype", "float32", *words,
        )  # fmt: skip
        assert status == 0, said
        path = folder / output
        return (pd.read_parquet(path) if path.exists() else None), said

    return run


def genes_of(folder, vocabulary):
    """Cell → its genes in rank order."""
    tokens = tokenize_cells(folder / "cells.h5ad", vocabulary)
    values, offsets = tokens.ragged(0, len(tokens))
    ids = vocabulary.ensembl_id_of
    return {
        f"cell{i}": [each for each in ids[values[a:b]] if each.startswith("ENSG")]
        for i, (a, b) in enumerate(pairwise(offsets))
    }


def test_a_row_for_each_gene_of_each_cell(perturb, folder, vocabulary):
    table, said = perturb()
    expected = [
        (cell, gene, rank + 1, len(genes))
        for cell, genes in genes_of(folder, vocabulary).items()
        for rank, gene in enumerate(genes)
        if len(genes) > 1
    ]
    columns = ["cell", "ensembl_id", "rank", "n_genes"]
    assert list(table[columns].itertuples(index=False, name=None)) == expected
    assert (table["symbol"] == table["ensembl_id"].map(vocabulary.symbol_of)).all()
    assert set(table["type"]) == {"delete"}
    assert set(table["method"]) == {"exact"}
    assert f"{len(table):,} perturbations of 12 cells" in said


def test_shifts_are_those_between_embeddings_of_transformers(perturb, folder, vocabulary):
    table, said = perturb("--state", "stage", "--start", "young", "--goal", "old",
                          "--alternative", "older")  # fmt: skip
    assert "State young: 4 cells." in said
    model = BertModel.from_pretrained(folder / "model", add_pooling_layer=False).eval()
    genes = genes_of(folder, vocabulary)

    @torch.no_grad()
    def embed(ids):
        own = [vocabulary.cls_token, *(vocabulary.token_of[each] for each in ids),
               vocabulary.eos_token]  # fmt: skip
        return model(torch.tensor([own])).last_hidden_state[0, 1:-1].mean(dim=0).double()

    stage = ad.read_h5ad(folder / "cells.h5ad").obs["stage"]
    states = {
        name: torch.stack([embed(genes[cell]) for cell in stage.index[stage == name]]).mean(dim=0)
        for name in ("young", "old", "older")
    }
    assert set(table["cell"]) == set(stage.index[stage == "young"])
    for row in table.iloc[::7].itertuples():
        before = embed(genes[row.cell])
        after = embed([each for each in genes[row.cell] if each != row.ensembl_id])
        for name, state in states.items():
            shift = torch.cosine_similarity(after, state, 0) - torch.cosine_similarity(
                before, state, 0
            )
            assert getattr(row, f"shift_to_{name}") == pytest.approx(float(shift), abs=1e-5)


def test_genes_are_named_in_any_way(perturb, folder):
    by_symbol, _ = perturb("--genes", "G3, ENSG00000000007,ALIAS9,G3")
    (folder / "list.txt").write_text("# of interest\nG3\nG7  # an id too\n\nENSG00000000009\n")
    by_list, _ = perturb("--genes", f"@{folder / 'list.txt'}", output="list.parquet")
    pd.testing.assert_frame_equal(by_symbol, by_list)
    assert set(by_symbol["symbol"]) == {"G3", "G7", "G9"}


def test_genes_that_a_cell_lacks_are_put_in_when_overexpressed(perturb, folder, vocabulary):
    table, _ = perturb("--genes", "G150,G3", "--type", "overexpress")
    genes = genes_of(folder, vocabulary)
    assert len(table) == 24
    for row in table.itertuples():
        own = genes[row.cell]
        rank = own.index(row.ensembl_id) + 1 if row.ensembl_id in own else None
        assert (pd.isna(row.rank) and rank is None) or row.rank == rank
        assert (row.cosine < 1 - 1e-9) == (rank != 1)


def test_groups_and_an_anchor(perturb, folder, vocabulary):
    (folder / "groups.txt").write_text("G1,G2\nG5 G6 G7\n")
    table, _ = perturb("--groups", folder / "groups.txt", "--type", "overexpress")
    assert set(table["symbol"]) == {"G1+G2", "G5+G6+G7"}
    assert table["rank"].isna().all()
    anchored, _ = perturb("--anchor", "G4", output="anchored.parquet")
    genes = genes_of(folder, vocabulary)
    anchor = vocabulary.symbols["G4"]
    expected = {
        (cell, f"{gene}+{anchor}")
        for cell, own in genes.items() for gene in own
        if anchor in own and gene != anchor and len(own) > 2
    }  # fmt: skip
    assert set(zip(anchored["cell"], anchored["ensembl_id"], strict=True)) == expected


def test_the_genes_that_moved_most(perturb, folder, vocabulary):
    _, said = perturb("--read-out", "gene", "--genes", "G3,G4", "--affected", "2")
    affected = pd.read_parquet(folder / "out.affected.parquet")
    assert f"{len(affected):,} affected genes" in said
    perturb("--read-out", "gene", "--genes", "G3,G4", "--affected", "0", output="all.parquet")
    everything = pd.read_parquet(folder / "all.affected.parquet")
    genes = genes_of(folder, vocabulary)
    for (cell, gene), rows in everything.groupby(["cell", "ensembl_id"]):
        assert set(rows["affected_ensembl_id"]) == set(genes[cell]) - {gene}
    least = everything.sort_values("cosine", kind="stable").groupby(["cell", "ensembl_id"]).head(2)
    keys = ["cell", "ensembl_id", "affected_ensembl_id"]
    pd.testing.assert_frame_equal(
        affected.sort_values(keys).reset_index(drop=True),
        least.sort_values(keys).reset_index(drop=True),
    )


def test_a_screen_and_then_the_best_genes_exactly(perturb, folder):
    words = ("--state", "stage", "--start", "young", "--goal", "old")
    table, said = perturb("--method", "screen", "--top", "5", *words)
    exact, _ = perturb(*words, output="exact.parquet")
    screened = table[table["method"] == "screen"]
    assert len(screened) == len(exact)
    best = table[table["method"] == "exact"]
    means = screened.groupby("symbol")["shift_to_old"].agg(["mean", "size"])
    expected = means[means["size"] >= 3]["mean"].nlargest(5).index
    assert set(best["symbol"]) == set(expected)
    both = best.merge(exact, on=["cell", "symbol"], suffixes=("", "_alone"))
    assert len(both) == len(best)
    np.testing.assert_allclose(both["shift_to_old"], both["shift_to_old_alone"], atol=1e-6)
    trust = json.loads(pq.read_metadata(folder / "out.parquet").metadata[b"trust"])
    assert set(trust) == {"movement", "shift"}
    assert f"{trust['shift']:.3f} (shift)" in said


def test_obs_is_carried_along_and_the_run_described(perturb, folder):
    table, _ = perturb("--attribute", "donor", "--attribute", "age=stage", "--n-cells", "5")
    obs = ad.read_h5ad(folder / "cells.h5ad").obs
    assert table["cell"].nunique() == 5
    for row in table.iloc[::9].itertuples():
        assert (row.donor, row.age) == (str(obs.loc[row.cell, "donor"]), obs.loc[row.cell, "stage"])
    described = json.loads(pq.read_metadata(folder / "out.parquet").metadata[b"rankformer"])
    assert described["perturbation"]["kind"] == "delete"
    assert described["n_cells"] == 5
    again, _ = perturb("--attribute", "donor", "--attribute", "age=stage", "--n-cells", "5",
                       output="again.parquet")  # fmt: skip
    pd.testing.assert_frame_equal(table, again)
    other, _ = perturb("--n-cells", "5", "--seed", "1", output="other.parquet")
    assert set(other["cell"]) != set(table["cell"])


@pytest.mark.parametrize(
    ("words", "said_passes"),
    [
        ((), "{edits_and_cells} forward passes"),
        (("--method", "screen", "--exact-runs", "3"), "a screen with 48 exact runs"),
        (("--method", "screen", "--top", "5", "--exact-cells", "4"), "a screen with 80 exact runs"),
    ],
)
def test_a_dry_run_writes_nothing(perturb, folder, vocabulary, words, said_passes):
    table, said = perturb("--dry-run", *words)
    assert table is None
    n_edits = sum(len(own) for own in genes_of(folder, vocabulary).values() if len(own) > 1)
    assert said_passes.format(edits_and_cells=f"{n_edits + 12:,}") in said
    assert not (folder / "out.parquet").exists()


def test_several_inputs_are_told_apart(folder, command):
    other = folder / "other.h5ad"
    ad.read_h5ad(folder / "cells.h5ad")[:3].copy().write_h5ad(other)
    status, _, _ = command(
        "perturb", folder / "cells.h5ad", other, "-o", folder / "out.parquet",
        "-m", folder / "model", "--genes", "G3,G4,G5", "--dtype", "float32",
    )  # fmt: skip
    assert status == 0
    table = pd.read_parquet(folder / "out.parquet")
    first, second = (table[table["source"] == str(each)] for each in (folder / "cells.h5ad", other))
    again = second.merge(first, on=["cell", "symbol"])
    assert len(again) == len(second) > 0
    np.testing.assert_allclose(again["cosine_x"], again["cosine_y"], atol=1e-6)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_perturbations(folder, vocabulary):
    """Of one gene of each cell, and of all: a hundred times as many, of the same cells."""
    symbols = [vocabulary.symbol_of[gene] for gene in vocabulary.ensembl_ids]
    many = ad.AnnData(
        small_counts(2500, 150, seed=3, mean=1), var=pd.DataFrame(index=symbols[:150])
    )
    many.obs_names = [f"cell{i}" for i in range(2500)]
    many.write_h5ad(folder / "many.h5ad")
    code = (
        "import resource\n"
        "from rankformer.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peaks, n_rows = [], []
    for name, words in {"few": ["--genes", "G3"], "all": []}.items():
        output = folder / f"{name}.parquet"
        out = subprocess.run(
            [sys.executable, "-c", code, "perturb", str(folder / "many.h5ad"), "-m",
             str(folder / "model"), "-o", str(output), "--dtype", "float32", *words],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        peaks.append(int(out.stdout.split()[-1]))
        n_rows.append(pq.read_metadata(output).num_rows)
    assert n_rows[0] <= 2500
    assert n_rows[1] > 100_000
    assert peaks[1] < peaks[0] + 100_000, (peaks, n_rows)
