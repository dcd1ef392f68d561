"""Reads of files as users do them, each giving what it read; and reads by other libraries.

A reader is called in a folder where the models of `sound.make_models` lie.
"""

import json
import pickle
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.fuzz.content import Content, texts
from tests.fuzz.sound import MODEL, finetune, pretrain
from tests.fuzz.workers import RefusedError, UnforeseenError


def read_cells(path: Path) -> Content:
    """Counts and names, and the tokens that are made of them."""
    from rankformer.cells.source import open_cells
    from rankformer.tokens.tokenize import tokenize_cells

    with open_cells(path) as cells:
        chunks = [chunk.counts.toarray().astype(np.float64) for chunk in cells.chunks(16)]
        names, genes = texts(cells.obs.index), texts(cells.var.index)
        found: Content = {"counts": np.concatenate(chunks), "cells": names, "genes": genes}
        if "cell_type" in cells.obs:
            found["cell_type"] = texts(cells.obs["cell_type"])
    tokenize_cells(path, MODEL)
    return found


def read_tokens(path: Path) -> Content:
    from rankformer.checkpoints.model_folder import open_vocabulary
    from rankformer.tokens.token_sources import SavedTokens

    saved = SavedTokens.open(path, open_vocabulary(MODEL))
    tokens = [part.cells.cell(i).tolist() for part in saved.parts() for i in range(len(part.cells))]
    names = saved.cells.cell_names
    columns = {name: texts(saved.obs[name]) for name in saved.obs}
    return {
        "tokens": tokens,
        **columns,
        "cells": None if names is None else texts(names.to_pylist()),
    }


def read_vocabulary(path: Path) -> Content:
    from rankformer.vocabulary.vocabulary import Vocabulary

    vocabulary = Vocabulary.load(path)
    return {
        "tokens": {**vocabulary.special_tokens, **vocabulary.token_of},
        "medians": dict(zip(vocabulary.ensembl_ids, vocabulary.medians.tolist(), strict=True)),
        "symbols": dict(vocabulary.symbols), "aliases": dict(vocabulary.aliases),
        "input_length": vocabulary.input_length, "hash": vocabulary.sha256,
    }  # fmt: skip


def read_checkpoint(path: Path) -> Content:
    from rankformer.checkpoints.checkpoint import Checkpoint

    checkpoint = Checkpoint.open(path)
    state = checkpoint.encoder().state_dict()
    weights = {name: tensor.numpy() for name, tensor in state.items()}
    return {"weights": weights, "config": checkpoint.spec.to_config(),
            "vocabulary": checkpoint.vocabulary.sha256}  # fmt: skip


def read_finetuned(path: Path) -> Content:
    from rankformer.checkpoints.finetuned import FineTunedModel

    model = FineTunedModel.open(path)
    vectors = np.random.default_rng(0).normal(size=(3, model.checkpoint.spec.d_model))
    outputs = model.outputs(vectors.astype(np.float32))
    return {"outputs": {str(i): each for i, each in enumerate(outputs)},
            "heads": texts(model.heads), "unit": model.unit, "mode": model.mode,
            **read_checkpoint(path)}  # fmt: skip


def read_reference(path: Path) -> Content:
    from rankformer.annotate.reference_files import open_reference
    from rankformer.annotate.settings import NeighbourVote
    from rankformer.annotate.vote import check_annotation, transfer_labels

    vote, keys = NeighbourVote(n_neighbors=5), {"cell_type": "predicted"}
    embedder, queries = _embedded(MODEL)
    reference = open_reference(path)
    check_annotation(reference, embedder, keys, "cell", vote)
    missing = np.full(len(queries), None, dtype=object)
    labels = transfer_labels(queries.copy(), missing, reference, keys, vote)["predicted"]
    codes = {name: np.asarray(each) for name, each in reference.codes.items()}
    return {"labels": texts(labels.values), "share": labels.probability, "codes": codes,
            "vectors": np.array(reference.index.vectors),
            "classes": dict(reference.classes)}  # fmt: skip


def resume_pretraining(path: Path) -> Content:
    return _resume(path, pretrain)


def resume_finetuning(path: Path) -> Content:
    return _resume(path, finetune)


def read_perturbed(path: Path) -> Content:
    # The published package gives no ranks.
    against = ["--against", "random"] if path.suffix == ".pickle" else []
    run_command(["perturb-test", path.name, "-o", "out.csv", "-m", MODEL, *against])
    tested = pd.read_csv("out.csv")
    return {str(name): texts(tested[name]) for name in tested}


def read_run(path: Path) -> Content:
    """What its shards are merged to: vectors, or tokens."""
    from rankformer.merge import merge_run
    from rankformer.runs.run import Run
    from rankformer.runs.settings import MergeJob

    if Run.read(path).manifest.work.task == "tokenize":
        shutil.rmtree("merged", ignore_errors=True)
        merge_run(MergeJob(path, Path("merged")))
        return read_tokens(Path("merged"))
    merge_run(MergeJob(path, Path("merged.parquet"), overwrite=True))
    table = pd.read_parquet("merged.parquet")
    return {"cells": texts(table["cell"]), "vectors": np.stack(table["vector"].to_list())}


def read_gene_table(path: Path) -> Content:
    from rankformer.genes.tables import read_gene_table

    table = read_gene_table(path)
    return {"symbols": dict(table.symbols), "previous": dict(table.previous)}


def read_orthologs(path: Path) -> Content:
    from rankformer.genes.ortholog_files import read_orthologs

    table = read_orthologs(path, "mouse")
    return {"pairs": sorted(map(str, table.pairs)), "symbols": dict(table.symbols)}


def read_sketch(path: Path) -> Content:
    from rankformer.corpus.expression_sketch import ExpressionSketch

    sketch = ExpressionSketch.load(path)
    return {"cells": sketch.n_cells, "medians": sketch.medians(), "genes": list(sketch.ensembl_ids)}


def inspect(path: Path) -> Content:
    run_command(["inspect", path.name, "-m", MODEL])
    return {}


def embed(path: Path) -> Content:
    run_command(["embed", path.name, "-o", "out.npy", "-m", MODEL, "--dtype", "float32",
                 "--overwrite"])  # fmt: skip
    return {"vectors": np.load("out.npy")}


def run_command(words: list[str]) -> None:
    """Run a command; what is to end with status 2 is refused, and any other end is not foreseen."""
    from tests.faults.bad_input import run_here

    ended = run_here(words, Path())
    last = "\n".join(ended.stderr.strip().splitlines()[-15:])
    if ended.status == 2 and "Traceback" not in ended.stderr:
        raise RefusedError(last)
    if ended.status != 0:
        raise MemoryError(last) if "MemoryError" in last else UnforeseenError(last)


@cache
def _embedded(model: str) -> tuple[Any, Any]:
    from tests.fuzz.sound import labelled_cells

    from rankformer.embed.cells import embed_cells
    from rankformer.embed.embedder import Embedder

    embedder = Embedder(model, device="cpu", dtype="float32")
    return embedder, embed_cells(labelled_cells()[:12], embedder).vectors


def _resume(path: Path, train: Callable[..., Any]) -> Content:
    from safetensors.numpy import load_file

    output = path.with_suffix("")
    train(output, resume=True)
    heads = output / "heads.safetensors"
    return {
        **load_file(output / "model.safetensors"),
        **(load_file(heads) if heads.is_file() else {}),
    }


def cells_by_others(path: Path, *, of_raw: bool = True) -> Content:
    """As `read_cells`, by h5py, zarr and scipy alone; of raw.X where there is one, or of X."""
    import h5py
    import zarr

    if path.is_dir():
        store = zarr.open_group(str(path), mode="r", use_consolidated=False)
        return _cells_of_group(store, of_raw)
    with h5py.File(path) as file:
        return _cells_of_group(file, of_raw)


def _cells_of_group(group: Any, of_raw: bool) -> Content:
    from anndata.io import read_elem

    is_raw = of_raw and "raw" in group and "X" in group["raw"]
    matrix = read_elem(group["raw/X"] if is_raw else group["X"])
    dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    var = group["raw/var"] if is_raw else group["var"]
    found: Content = {"counts": dense.astype(np.float64), "cells": _index(group["obs"]),
                      "genes": _index(var)}  # fmt: skip
    if "cell_type" in group["obs"] and "cell_type" in list(group["obs"].attrs["column-order"]):
        found["cell_type"] = texts(pd.Series(read_elem(group["obs/cell_type"])))
    return found


def _index(table: Any) -> list[str]:
    return texts(table[str(table.attrs["_index"])][:])


def tenx_by_others(path: Path) -> Content:
    import h5py
    from scipy.sparse import csc_matrix

    with h5py.File(path) as file:
        (group,) = (each for each in file.values() if "barcodes" in each)
        arrays = (group["data"][:], group["indices"][:], group["indptr"][:])
        dense = csc_matrix(arrays, shape=tuple(group["shape"][:])).toarray().T
        of_genes = "features" in group
        genes = texts(group["features/id"][:] if of_genes else group["genes"][:])
        kept = np.ones(len(genes), bool)
        if of_genes and "feature_type" in group["features"]:
            kept = np.array(texts(group["features/feature_type"][:])) == "Gene Expression"
        return {"counts": dense[:, kept].astype(np.float64), "cells": texts(group["barcodes"][:]),
                "genes": texts(np.array(genes, object)[kept])}  # fmt: skip


def tenx_folder_by_others(path: Path) -> Content:
    import gzip

    from scipy.io import mmread

    def lines(stem: str) -> list[list[str]]:
        (file,) = path.glob(f"{stem}.tsv*")
        content = file.read_bytes()
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode()
        return [line.split("\t") for line in text.split("\n") if line.strip()]

    (matrix,) = path.glob("matrix.mtx*")
    features = lines("[fg]e[an]*")
    kept = [len(each) < 3 or each[2] == "Gene Expression" for each in features]
    dense = mmread(matrix).toarray().T.astype(np.float64)
    return {"counts": dense[:, np.array(kept)], "cells": [each[0] for each in lines("barcodes")],
            "genes": texts(np.array([each[0] for each in features])[np.array(kept)])}  # fmt: skip


def tokens_by_others(path: Path) -> Content:
    import pyarrow as pa

    (file,) = path.glob("data*.arrow")
    with pa.ipc.open_stream(file.read_bytes()) as stream:
        table = stream.read_all().to_pydict()
    names = path / "cell_names.arrows"
    cells = None
    if names.is_file():
        with pa.ipc.open_stream(names.read_bytes()) as stream:
            cells = texts(stream.read_all()["cell_name"].to_pylist())
    others = {
        name: texts(each) for name, each in table.items() if name not in ("input_ids", "length")
    }
    return {"tokens": table["input_ids"], **others, "cells": cells}


def vocabulary_by_others(path: Path) -> Content:
    """Of dictionaries; what was written as Parquet is bound to its hash."""
    tables = {}
    for name in ("token", "median"):
        (file,) = path.glob(f"*{name}*")
        read = json.loads if file.suffix == ".json" else pickle.loads
        tables[name] = read(file.read_bytes())
    genes = {gene: token for gene, token in tables["token"].items() if not gene.startswith("<")}
    return {"tokens": tables["token"], "medians": {gene: tables["median"][gene] for gene in genes}}


def names_by_others(path: Path) -> Content:
    import pyarrow.parquet as pq

    table = pq.read_table(path / "vocabulary.parquet", page_checksum_verification=True)
    rows = table.to_pylist()
    return {column: {name: row["ensembl_id"] for row in rows for name in row[column]}
            for column in ("symbols", "aliases")}  # fmt: skip


def checkpoint_by_others(path: Path) -> Content:
    import torch
    from safetensors.numpy import load_file

    weights = path / "model.safetensors"
    if weights.is_file():
        tensors = load_file(weights)
    else:
        loaded = torch.load(path / "pytorch_model.bin", weights_only=True)
        tensors = {name: each.numpy() for name, each in loaded.items()}
    return {"tensors": tensors, "config": json.loads((path / "config.json").read_text())}
