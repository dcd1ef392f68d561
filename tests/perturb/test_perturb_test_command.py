"""``rankformer perturb-test``: tables and old pickles in, a tested table and a picture out."""

import os
import pickle
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from tests.conftest import save_small_checkpoint, small_vocabulary
from tests.damage import Payload
from tests.perturb.test_statistics import make_table

import rankformer
from rankformer.errors import MissingFileError, SettingsError, TableError
from rankformer.perturb.result_files import read_results
from rankformer.perturb.settings import Comparison
from rankformer.perturb.statistics import compare_genes
from rankformer.show.canvas import new_axes
from rankformer.show.perturbation_plots import VOLCANO_SIZE, draw_volcano


@pytest.fixture
def table(tmp_path):
    make_table().to_parquet(tmp_path / "perturbed.parquet")
    return tmp_path / "perturbed.parquet"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_tested_table(table, tmp_path, command, suffix):
    output = tmp_path / f"tested{suffix}"
    status, _, said = command(
        "perturb-test", table, "-o", output, "--replicate", "donor", "--plot", tmp_path / "x.png"
    )
    assert status == 0, said
    read = pd.read_csv if suffix == ".csv" else pd.read_parquet
    tested = read(output)
    assert len(tested) == 200
    assert {"G7", "G8", "G9"} <= set(tested["symbol"].head(8))
    assert tested["symbol"].iloc[0] in said
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    status, _, said = command("perturb-test", table, "-o", output)
    assert status == 2
    assert "--overwrite" in said


def test_results_of_the_published_package(tmp_path, command):
    vocabulary = small_vocabulary()
    save_small_checkpoint(tmp_path / "model", vocabulary)
    tokens = vocabulary.tokens[:30].tolist()
    rng = np.random.default_rng(0)
    results = {
        state: defaultdict(list, {
            ((token,) if token % 2 else token, "cell_emb"):
                (rng.normal(size=12) + 9 * (token == tokens[4])).tolist()
            for token in tokens
        })
        for state in ("goal", "start")
    }  # fmt: skip
    results["goal"][tokens[0], tokens[1]] = [0.5]
    path = tmp_path / "old_raw.pickle"
    path.write_bytes(pickle.dumps(results))
    status, _, said = command(
        "perturb-test", path, "-o", tmp_path / "t.csv", "-m", tmp_path / "model",
        "--against", "random",
    )  # fmt: skip
    assert status == 0, said
    tested = pd.read_csv(tmp_path / "t.csv")
    assert tested["ensembl_id"].iloc[0] == vocabulary.ensembl_ids[4]
    assert tested["symbol"].iloc[0] == "G5"
    assert (tested["n_cells"] == 12).all()
    frame = read_results([path], vocabulary)
    own = frame[frame["symbol"] == "G5"]["shift_to_goal"].tolist()
    assert own == results["goal"][tokens[4] if tokens[4] % 2 == 0 else (tokens[4],), "cell_emb"]
    # Without ranks they cannot be compared with genes of like rank.
    with pytest.raises(TableError, match=r"--against random"):
        compare_genes(frame)


@pytest.mark.parametrize("special", [False, True])
def test_parts_of_a_run_of_the_published_package_are_tested_as_one(tmp_path, command, special):
    """It writes a file for every so many cells; V1 models compare genes, V2 models <cls>."""
    vocabulary = small_vocabulary(special=special)
    save_small_checkpoint(tmp_path / "model", vocabulary)
    rng = np.random.default_rng(0)
    values = {token: 1 - 0.01 * rng.random(9) for token in vocabulary.tokens[:20].tolist()}
    parts = [tmp_path / f"part{i}_raw.pickle" for i in range(3)]
    for i, part in enumerate(parts):
        own = {
            (token, "cell_emb"): each[3 * i : 3 * i + 3].tolist() for token, each in values.items()
        }
        part.write_bytes(pickle.dumps(own))
    status, _, said = command(
        "perturb-test", *parts, "-o", tmp_path / "t.csv", "-m", tmp_path / "model",
        "--against", "aggregate",
    )  # fmt: skip
    assert status == 0, said
    tested = pd.read_csv(tmp_path / "t.csv").set_index("ensembl_id")
    assert (tested["n_cells"] == 9).all()
    for token, each in values.items():
        gene = vocabulary.ensembl_id_of[token]
        assert tested.loc[gene, "effect"] == pytest.approx(1 - each.mean())
    frame = read_results(parts, vocabulary)
    assert ("cosine" in frame, "gene_cosine" in frame) == (special, not special)
    with pytest.raises(SettingsError, match="named twice"):
        read_results([parts[0], parts[0]], vocabulary)


def test_cells_of_several_tables_are_told_apart(tmp_path):
    tables = [make_table(seed=seed) for seed in (0, 1)]
    paths = [tmp_path / f"{i}.parquet" for i in (0, 1)]
    for table, path in zip(tables, paths, strict=True):
        table.to_parquet(path)
    tested = compare_genes(read_results(paths)).set_index("ensembl_id")["n_cells"]
    alone = [compare_genes(table).set_index("ensembl_id")["n_cells"] for table in tables]
    assert tested.to_dict() == (alone[0] + alone[1]).to_dict()


def test_tables_that_do_not_belong_together_are_not_merged(tmp_path):
    table = make_table().assign(type="delete", method="exact")
    others = {
        "twice": table,
        "type": make_table(seed=1).assign(type="overexpress", method="exact"),
        "states": make_table(seed=1).assign(type="delete").drop(columns="shift_to_start"),
    }
    paths = {name: tmp_path / f"{name}.parquet" for name in ("own", *others)}
    for name, each in {"own": table, **others}.items():
        each.to_parquet(paths[name])
    with pytest.raises(TableError, match="are in two of the tables"):
        read_results([paths["own"], paths["twice"]])
    with pytest.raises(TableError, match=r"delete with .*overexpress with"):
        read_results([paths["own"], paths["type"]])
    with pytest.raises(TableError, match="Tables of one perturbation"):
        read_results([paths["own"], paths["states"]])


def test_a_table_alone_is_tested_from_python():
    table = make_table()
    own = rankformer.tl.perturb_test(table, against="random", seed=3)
    pd.testing.assert_frame_equal(own, compare_genes(table, Comparison("random", seed=3)))


@pytest.mark.parametrize(
    "given", [{"adata": "perturbed.parquet"}, {"adata": make_table(), "null": "null.parquet"}]
)
def test_paths_are_no_tables(given):
    with pytest.raises(SettingsError, match=r"pandas\.read_parquet"):
        rankformer.tl.perturb_test(**given)


def test_pickles_run_no_code(tmp_path):
    path = tmp_path / "bad_raw.pickle"
    path.write_bytes(pickle.dumps({(3, "cell_emb"): Payload(os.system, f"touch {tmp_path / 'r'}")}))
    with pytest.raises(TableError, match=r"asks for .*system"):
        read_results([path], small_vocabulary())
    assert not (tmp_path / "r").exists()


def test_files_that_are_no_results(table, tmp_path):
    vocabulary = small_vocabulary()
    with pytest.raises(MissingFileError, match="does not exist"):
        read_results([tmp_path / "none.parquet"])
    table.write_bytes(table.read_bytes()[:500])
    with pytest.raises(TableError, match="could not be read"):
        read_results([table])
    (tmp_path / "x.txt").write_text("a")
    with pytest.raises(TableError, match=r"ending \.txt"):
        read_results([tmp_path / "x.txt"])
    path = tmp_path / "x.pickle"
    for content in ({}, {(3, 4): [0.5]}):
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(TableError, match="hold nothing"):
            read_results([path], vocabulary)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(TableError, match="could not be read"):
        read_results([path], vocabulary)
    with pytest.raises(SettingsError, match="no model says"):
        read_results([path])


def test_the_volcano_shows_what_was_tested():
    tested = compare_genes(make_table())
    tested.loc[0, "symbol"] = "$G_7$"
    axes = new_axes(VOLCANO_SIZE)
    draw_volcano(axes, tested)
    axes.figure.canvas.draw()
    shown = np.concatenate([each.get_offsets() for each in axes.collections])
    known = tested.dropna(subset=["q_value"])
    assert len(shown) == len(known)
    np.testing.assert_allclose(sorted(shown[:, 0]), sorted(known["excess"]))
    assert r"\$G_7\$" in {each.get_text() for each in axes.texts}
    counts = [len(each.get_offsets()) for each in axes.collections]
    assert counts[1] + counts[2] == (known["q_value"] <= 0.05).sum()
