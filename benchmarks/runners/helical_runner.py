"""Time Helical's Geneformer on the first cells of a file and write the figures as JSON.

Runs in Helical's environment, on a cache that peers/helical_cache.py has filled.
"""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring import (
    Stages,
    add_common_arguments,
    describe_tokens,
    limit_threads,
    save_vectors,
    versions,
    write_figures,
)

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from datasets import Dataset
    from numpy.typing import NDArray

MODELS = Path(".cache/helical/models")
PACKAGES = ("helical", "torch", "transformers", "datasets", "anndata", "numpy")


def isolate(home: Path, threads: int) -> list[str]:
    """Point every cache below `home`, keep the network out, and limit the threads.

    Libraries read these variables on import, so this comes before the first of them.
    Returns a list that fills with the names of the files that Helical looks for.
    """
    limit_threads(threads)
    os.environ["HOME"] = str(home.resolve())
    import torch
    from helical.utils.downloader import Downloader

    wanted: list[str] = []
    torch.set_num_threads(threads)
    Downloader.download_via_name = lambda _, name: wanted.append(name)
    return wanted


def sum_colliding_variables(adata: AnnData, mapping: dict[str, str]) -> AnnData:
    """Sum the variables that `mapping` sends to one Ensembl id; leave all others as they are.

    Helical 2.2.0 fails with KeyError: 'ensembl_id' where it meets such variables itself.
    """
    import anndata
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    ids = pd.Index([mapping.get(name.upper(), name) for name in adata.var["ensembl_id"]])
    if ids.is_unique:
        return adata
    groups, unique_ids = pd.factorize(ids)
    ones = np.ones(adata.n_vars, dtype=adata.X.dtype)
    indicator = sp.csr_matrix((ones, (np.arange(adata.n_vars), groups)))
    var = pd.DataFrame({"ensembl_id": unique_ids}, index=unique_ids)
    return anndata.AnnData(sp.csr_matrix(adata.X @ indicator), obs=adata.obs.copy(), var=var)


def published_mapping(home: Path, wanted: list[str]) -> dict[str, str]:
    """Any id → Ensembl id of the vocabulary, from the pickle that Helical looked for."""
    name = next(each for each in wanted if each.endswith("ensembl_mapping_dict.pkl"))
    return pickle.loads((home / MODELS / name).read_bytes())


def tokenize_twice(geneformer: Any, adata: AnnData, stages: Stages) -> Dataset:
    """Tokenize, and tokenize again: the first call of a process pays for what is set up once."""
    again = adata.copy()  # It adds columns to what it is given.
    stages.end("copy")
    geneformer.process_data(adata, gene_names="ensembl_id")
    stages.end("tokenize_first")
    dataset = geneformer.process_data(again, gene_names="ensembl_id")
    stages.end("tokenize")
    return dataset


def stack_embeddings(embeddings: Any, mode: str) -> NDArray[np.floating]:
    """Return (cells, d_model); in gene mode the genes of all cells, end to end."""
    import numpy as np

    if mode != "gene":
        return np.asarray(embeddings)
    return np.concatenate([np.stack(cell.to_numpy()) for cell in embeddings])


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run Helical stage by stage and return what was measured."""
    stages = Stages()
    wanted = isolate(arguments.home, arguments.threads)
    import anndata
    import numpy as np
    from helical.models.geneformer import Geneformer, GeneformerConfig

    stages.end("import")
    cells: AnnData = anndata.read_h5ad(arguments.cells)[: arguments.n_cells].copy()
    stages.end("read")
    config = GeneformerConfig(
        model_name=arguments.model_name,
        batch_size=arguments.batch_size,
        emb_mode=arguments.mode,
        nproc=arguments.nproc,
    )
    geneformer = Geneformer(config)
    stages.end("construct")
    adata = sum_colliding_variables(cells, published_mapping(arguments.home, wanted))
    stages.end("sum_colliding_variables")
    dataset = tokenize_twice(geneformer, adata, stages)
    if not arguments.only_tokenize:
        embeddings = geneformer.get_embeddings(dataset)
        stages.end("embed")
        rows = stack_embeddings(embeddings, arguments.mode)
        save_vectors(arguments.vectors, rows, dataset["input_ids"])
    return {
        "model_name": arguments.model_name,
        "mode": arguments.mode,
        "threads": arguments.threads,
        "nproc": arguments.nproc,
        "versions": versions(*PACKAGES),
        "attention": geneformer.model.config._attn_implementation,
        "dtype": str(geneformer.model.dtype).removeprefix("torch."),
        "n_vars": cells.n_vars,
        "n_vars_after_summing": adata.n_vars,
        **describe_tokens(np.asarray(dataset["length"])),
        **stages.figures(),
    }


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument("--home", type=Path, required=True, help="home folder of the cache")
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--mode", choices=("cell", "gene", "cls"), default="cell")
    parser.add_argument("--nproc", type=int, default=1, help="Helical's processes that tokenize")
    parser.add_argument("--only-tokenize", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_arguments()
    write_figures(given.out, measure(given))
