"""Sound files of every kind, small ones, made where they are asked for."""

import gzip
import json
import pickle
import shutil
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy.io import mmwrite
from scipy.sparse import csr_matrix
from tests.conftest import save_small_checkpoint, small_vocabulary
from tests.damage import tables_of, write_tables
from tests.faults.cells import adata_of, counts, log_normalised

N_CELLS = 40
MODEL, MODEL_V1, CELLS = "model", "model-v1", "cells.h5ad"


def make_models(folder: Path) -> None:
    """The models that readers use, and the cells that a run is begun with."""
    save_small_checkpoint(folder / MODEL, small_vocabulary())
    save_small_checkpoint(folder / MODEL_V1, small_vocabulary(special=False))
    labelled_cells().write_h5ad(folder / CELLS)


def labelled_cells() -> ad.AnnData:
    adata = adata_of(counts(N_CELLS))
    adata.obs["dose"] = np.linspace(0, 1, N_CELLS)
    adata.obs["donor"] = pd.Categorical([f"donor{i % 5}" for i in range(N_CELLS)])
    return adata


def in_layout(layout: str) -> ad.AnnData:
    adata = labelled_cells()
    if layout == "raw":
        adata.raw = adata.copy()
        adata.X = log_normalised(csr_matrix(adata.X))
    adata.X = {"csc": adata.X.tocsc, "dense": adata.X.toarray}.get(layout, adata.X.copy)()
    return adata


def make_h5ad(folder: Path) -> None:
    for layout in ("csr", "csc", "dense", "raw"):
        for compression in (None, "gzip"):
            in_layout(layout).write_h5ad(
                folder / f"{layout}-{compression}.h5ad", compression=compression
            )


def make_zarr(folder: Path) -> None:
    for layout, version in (("csr", 2), ("csr", 3), ("csc", 3), ("dense", 3)):
        with ad.settings.override(zarr_write_format=version):
            in_layout(layout).write_zarr(folder / f"{layout}-v{version}.zarr")


def make_tenx_h5(folder: Path) -> None:
    """As Cell Ranger 3 and 2 write them."""
    values = counts(N_CELLS).T.tocsc().astype(np.int32)
    barcodes = [f"CELL{i}-1".encode() for i in range(N_CELLS)]
    ids, names = _gene_names()
    for version in (3, 2):
        with h5py.File(folder / f"v{version}.h5", "w") as file:
            group = file.create_group("matrix" if version == 3 else "GRCh38")
            for name in ("data", "indices", "indptr"):
                group.create_dataset(name, data=getattr(values, name), chunks=True,
                                     compression="gzip")  # fmt: skip
            group["shape"] = np.array(values.shape, np.int32)
            group["barcodes"] = np.array(barcodes)
            if version == 2:
                group["genes"], group["gene_names"] = np.array(ids), np.array(names)
                continue
            features = group.create_group("features")
            features["id"], features["name"] = np.array(ids), np.array(names)
            kinds = [b"Gene Expression"] * (len(ids) - 2) + [b"Antibody Capture"] * 2
            features["feature_type"] = np.array(kinds)
            features["genome"] = np.array([b"GRCh38"] * len(ids))


def make_tenx_folder(folder: Path) -> None:
    """Plain, as Cell Ranger 2 writes them, and gzip."""
    ids, names = ([each.decode() for each in column] for column in _gene_names())
    rows = [f"{gene}\t{name}" for gene, name in zip(ids, names, strict=True)]
    for version in (2, 3):
        place = folder / f"v{version}-folder"
        place.mkdir()
        ending = "\tGene Expression\n" if version == 3 else "\n"
        features = "features" if version == 3 else "genes"
        (place / f"{features}.tsv").write_text("".join(row + ending for row in rows))
        (place / "barcodes.tsv").write_text("".join(f"CELL{i}-1\n" for i in range(N_CELLS)))
        mmwrite(place / "matrix.mtx", counts(N_CELLS).T.astype(np.int64), field="integer")
        if version == 3:
            for file in list(place.iterdir()):
                packed = gzip.compress(file.read_bytes(), mtime=0)
                file.with_name(f"{file.name}.gz").write_bytes(packed)
                file.unlink()


def _gene_names() -> tuple[list[bytes], list[bytes]]:
    vocabulary = small_vocabulary()
    ids = [each.encode() for each in vocabulary.ensembl_ids[:120]]
    return ids, [vocabulary.symbol_of[each.decode()].encode() for each in ids]


def make_tokens(folder: Path) -> None:
    from rankformer.tokens.tokenize import tokenize_cells

    adata, vocabulary = labelled_cells(), small_vocabulary()
    names = {"cell_type": "cell_type", "dose": "dose"}
    from rankformer.tokens.reading_options import ReadingOptions

    cells = tokenize_cells(adata, vocabulary, ReadingOptions(attributes=names))
    cells.save(folder / "tokens.dataset")
    # Drawn anew each time it is saved.
    state = folder / "tokens.dataset" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "_fingerprint": "0" * 16}))


def make_vocabularies(folder: Path) -> None:
    tables = tables_of(small_vocabulary(n_genes=30))
    write_tables(folder / "pickles", tables)
    write_tables(folder / "json", tables, ".json")
    (folder / "parquet").mkdir()
    small_vocabulary(n_genes=30).save(folder / "parquet")


def make_checkpoints(folder: Path) -> None:
    """Bound to its hash, as we write it; without hashes, as published; and as a pickle."""
    import torch
    from safetensors.torch import load_file

    vocabulary = small_vocabulary(n_genes=30)
    shape = {"n_layers": 2, "d_model": 16, "d_ff": 32}
    for name in ("bound", "loose", "pickled"):
        save_small_checkpoint(folder / name, vocabulary, **shape)
    for name in ("loose", "pickled"):
        (folder / name / "model.safetensors.sha256").unlink()
    weights = folder / "pickled" / "model.safetensors"
    torch.save(load_file(weights), folder / "pickled" / "pytorch_model.bin")
    weights.unlink()


def make_finetuned(folder: Path) -> None:
    import torch

    from rankformer.checkpoints.checkpoint import Checkpoint
    from rankformer.checkpoints.finetuned import write_finetuned
    from rankformer.model.heads import Head

    shape = {"n_layers": 2, "d_model": 16, "d_ff": 32}
    vocabulary = small_vocabulary(n_genes=30)
    encoder = Checkpoint.open(save_small_checkpoint(folder / "base", vocabulary, **shape)).encoder()
    torch.manual_seed(1)
    heads = [Head("cell_type", ("B", "T")), Head("dose", (), mean=1.0, scale=2.0)]
    modules = [torch.nn.Linear(16, head.n_outputs) for head in heads]
    (folder / "tuned").mkdir()
    write_finetuned(folder / "tuned", encoder, heads, modules, vocabulary, unit="cell", mode="cell")
    shutil.rmtree(folder / "base")


def make_references(folder: Path) -> None:
    """Looked through in whole, and by a graph."""
    from rankformer.annotate.neighbours import NeighbourIndex
    from rankformer.annotate.reference import build_reference
    from rankformer.annotate.reference_files import save_reference
    from rankformer.embed.embedder import Embedder

    embedder = Embedder(folder.parent / MODEL, device="cpu", dtype="float32")
    exact = build_reference(labelled_cells(), embedder, ["cell_type", "donor"])
    graph = NeighbourIndex.build(exact.index.vectors, exact_up_to=10)
    for name, reference in (("exact", exact), ("graph", replace(exact, index=graph))):
        save_reference(reference, folder / name)


def make_pretraining(folder: Path) -> None:
    _make_run(folder, pretrain)


def make_finetuning(folder: Path) -> None:
    _make_run(folder, finetune)


def _make_run(folder: Path, train: Callable[..., Any]) -> None:
    """What a training leaves that was stopped after half of its steps."""
    with chdir(folder.parent):
        train(Path("trained"), resume=False)
        shutil.rmtree("trained")
        shutil.rmtree("trained.run/checkpoint-4")
        shutil.move("trained.run", folder)


def pretrain(output: Path, *, resume: bool) -> Any:
    """A training of four steps, which are the same each time."""
    from rankformer.pretraining.hyperparameters import PretrainingHyperparameters
    from rankformer.pretraining.pretrain import pretrain
    from rankformer.pretraining.settings import PretrainingSettings

    own = PretrainingHyperparameters(
        max_steps=4, batch_size=4, warmup_steps=1, save_steps=2, evaluate_steps=4, log_steps=4,
        held_out_share=0.1,
    )  # fmt: skip
    settings = PretrainingSettings(own, device="cpu", resume=resume)
    return pretrain([CELLS], output, MODEL, settings=settings)


def finetune(output: Path, *, resume: bool) -> Any:
    from rankformer.finetuning.finetune import CellTask, finetune
    from rankformer.finetuning.hyperparameters import FineTuningHyperparameters
    from rankformer.finetuning.settings import FineTuningSettings

    own = FineTuningHyperparameters(
        max_steps=4, batch_size=4, warmup_steps=1, save_steps=2, evaluate_steps=2, log_steps=4
    )
    settings = FineTuningSettings(hyperparameters=own, device="cpu", resume=resume)
    return finetune([CELLS], output, MODEL, CellTask(("cell_type",), group="donor"), settings)


def make_perturbed(folder: Path) -> None:
    from tests.perturb.test_statistics import make_table

    make_table().to_parquet(folder / "ours.parquet")
    tokens = small_vocabulary().tokens[:20].tolist()
    rng = np.random.default_rng(0)
    results = {(token, "cell_emb"): rng.normal(size=12).tolist() for token in tokens}
    (folder / "theirs.pickle").write_bytes(pickle.dumps({"goal": results, "start": results}))


def make_runs(folder: Path) -> None:
    """Runs of three shards: of vectors, and of tokens."""
    from tests.fuzz.readers import run_command

    cells = [str(folder.parent / CELLS), "-m", str(folder.parent / MODEL), "--shard-cells", "15"]
    words = ["--dtype", "float32", "--device", "cpu"]
    run_command(["embed", *cells, *words, "-o", str(folder / "vectors")])
    run_command(["tokenize", *cells, "-o", str(folder / "tokens"), "--shard", "1/1"])
    for lock in folder.glob("*/*.lock"):
        lock.unlink()


def make_gene_tables(folder: Path) -> None:
    vocabulary = small_vocabulary(n_genes=60)
    rows = pd.DataFrame({
        "ensembl_gene_id": vocabulary.ensembl_ids, "symbol": [f"N{i}" for i in range(60)],
        "prev_symbol": [f"P{i}|Q{i}" for i in range(60)],
    })  # fmt: skip
    rows.to_csv(folder / "hgnc.tsv", sep="\t", index=False)
    rows[["symbol", "ensembl_gene_id"]].to_csv(folder / "two.csv", index=False)
    packed = gzip.compress((folder / "two.csv").read_bytes(), mtime=0)
    (folder / "packed.csv.gz").write_bytes(packed)


def make_orthologs(folder: Path) -> None:
    human = small_vocabulary(n_genes=60).ensembl_ids
    mouse = [f"ENSMUSG{i:011d}" for i in range(60)]
    symbols = [f"M{i}a" for i in range(60)]
    hcop = pd.DataFrame({
        "human_ensembl_gene": human, "human_symbol": "-", "mouse_ensembl_gene": mouse,
        "mouse_symbol": symbols, "support": "Ensembl,OMA",
    })  # fmt: skip
    hcop.to_csv(folder / "hcop.txt", sep="\t", index=False)
    mart = pd.DataFrame({
        "Gene stable ID": human, "Mouse gene stable ID": mouse, "Mouse gene name": symbols,
        "Mouse homology type": "ortholog_one2one",
    })  # fmt: skip
    mart.to_csv(folder / "mart.csv", index=False)
    packed = gzip.compress((folder / "hcop.txt").read_bytes(), mtime=0)
    (folder / "packed.txt.gz").write_bytes(packed)


def make_sketches(folder: Path) -> None:
    from rankformer.corpus.expression_sketch import ExpressionSketch

    sketch = ExpressionSketch()
    rng = np.random.default_rng(0)
    genes = small_vocabulary(n_genes=30).ensembl_ids
    sketch.add_block(genes, rng.integers(0, 5, (30, sketch.n_buckets)).astype(np.uint32))
    sketch.n_cells = 500
    sketch.save(folder / "cells.parquet")
