"""Time rankformer on the first cells of a file and write the figures as JSON.

Runs in rankformer's environment, through the interface that it shares with Helical.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from measuring import (
    Stages,
    add_common_arguments,
    add_token_arguments,
    describe_tokens,
    limit_threads,
    save_vectors,
    versions,
    write_figures,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from datasets import Dataset

    from rankformer import Embedder, Geneformer
    from rankformer.ragged import Ragged

PACKAGES = ("rankformer", "torch", "datasets", "anndata", "numba", "numpy")


def tokenize_twice(geneformer: Geneformer, adata: AnnData, stages: Stages) -> Dataset:
    """Tokenize, and tokenize again: the first call of a process loads or compiles the kernel."""
    geneformer.process_data(adata, gene_names="ensembl_id")
    stages.end("tokenize_first")
    dataset = geneformer.process_data(adata, gene_names="ensembl_id")
    stages.end("tokenize")
    return dataset


def encode_alone(geneformer: Geneformer, adata: AnnData, threads: int, stages: Stages) -> None:
    """The kernel, without checks of counts, mapping of genes, and making of a dataset."""
    from rankformer import encode_rank_values, map_genes

    vocabulary = geneformer.vocabulary
    tokens = map_genes(adata.var, vocabulary, gene_ids="ensembl_id").tokens
    stages.end("map_genes")
    encode_rank_values(adata.X, tokens, vocabulary, n_threads=threads)
    stages.end("encode")


def make_geneformer(arguments: argparse.Namespace, stages: Stages) -> Geneformer:
    """Open the checkpoint, and load its weights unless only tokens are wanted."""
    from rankformer import Geneformer, GeneformerConfig

    if not arguments.only_tokenize:
        import torch

        torch.set_num_threads(arguments.threads)
    stages.end("import")
    config = GeneformerConfig(
        model_name=arguments.checkpoint,
        batch_size=arguments.batch_size,
        emb_mode=arguments.mode,
        dtype=arguments.dtype,
        nproc=arguments.threads,
    )
    geneformer = Geneformer(config)
    if not arguments.only_tokenize:
        geneformer.embedder  # noqa: B018  # Loaded here, as Helical does, not in the first batch.
    stages.end("construct")
    return geneformer


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run rankformer stage by stage and return what was measured."""
    stages = Stages()
    limit_threads(arguments.threads)
    if arguments.tokens:
        return measure_tokens(arguments, stages)
    import anndata
    import numpy as np

    geneformer = make_geneformer(arguments, stages)
    cells = anndata.read_h5ad(arguments.cells)[: arguments.n_cells].copy()
    stages.end("read")
    dataset = tokenize_twice(geneformer, cells, stages)
    figures: dict[str, Any] = {}
    if arguments.only_tokenize:
        encode_alone(geneformer, cells, arguments.threads, stages)
    else:
        embeddings = geneformer.get_embeddings(dataset)
        stages.end("embed")
        rows = (
            np.concatenate([[*cell] for cell in embeddings])
            if arguments.mode == "gene"
            else embeddings
        )
        tokens = dataset["input_ids"]
        save_vectors(arguments.vectors, rows, tokens)
        ragged = np.concatenate(tokens).astype(np.int32), np.cumsum([0, *map(len, tokens)])
        figures = describe_parts(geneformer.embedder, ragged)
        stages.end("parts")
    return {
        "model_name": geneformer.checkpoint.name,
        "mode": arguments.mode,
        "threads": arguments.threads,
        "versions": versions(*PACKAGES),
        "n_vars": cells.n_vars,
        **describe_tokens(np.asarray(dataset["length"])),
        **stages.figures(),
        **figures,
    }


def measure_tokens(arguments: argparse.Namespace, stages: Stages) -> dict[str, Any]:
    """Run the encoder alone on given tokens."""
    import numpy as np
    import torch

    from rankformer import Checkpoint, Embedder

    torch.set_num_threads(arguments.threads)
    stages.end("import")
    checkpoint = Checkpoint.open(arguments.checkpoint)
    embedder = Embedder(checkpoint, device=arguments.device, dtype=arguments.dtype)
    stages.end("construct")
    with np.load(arguments.tokens) as saved:
        ragged = saved["values"], saved["offsets"]
    embedder.cells((ragged[0][: ragged[1][1]], ragged[1][:2]))
    stages.end("warm_up")
    rows = embedder.cells(ragged)
    stages.end("embed")
    save_vectors(arguments.vectors, rows, np.split(ragged[0], ragged[1][1:-1]))
    figures = describe_parts(embedder, ragged)
    stages.end("parts")
    return {
        "model_name": checkpoint.name,
        "threads": arguments.threads,
        "versions": versions(*PACKAGES),
        **describe_tokens(np.diff(ragged[1])),
        **stages.figures(),
        **figures,
    }


def describe_parts(embedder: Embedder, ragged: Ragged) -> dict[str, Any]:
    """The machine's ceilings for this model and these cells, and the encoder's time over them."""
    from rankformer.embed.bench import measure_rounds

    result = measure_rounds(embedder, ragged, n_rounds=3)
    return {
        "dtype": str(embedder.dtype).removeprefix("torch."),
        "flops": result.product_flops + result.attention_flops,
        "seconds_of_parts": [result.seconds_of_parts(each) for each in result.rounds],
        "rounds": [asdict(each) for each in result.rounds],
        "times_over_parts": result.ratios_to_parts,
    }


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    add_token_arguments(parser)
    parser.add_argument("--mode", choices=("cell", "gene", "cls"), default="cell")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only-tokenize", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_arguments()
    write_figures(given.out, measure(given))
