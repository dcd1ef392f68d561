"""Networks of genes by perturbation, attention and similarity, beside co-expression.

Known pairs are those of genes of one set: interferon-response genes (Schoggins et al., Nature 472,
481, 2011), antigen presentation by MHC class II, ribosomal proteins, and the actin cytoskeleton
with annexins. A pair could be known where both genes are of any of these sets.
"""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from itertools import permutations
from pathlib import Path

import anndata as ad
import torch
from machine import describe_machine
from reporting import markdown_table, write_json

from rankformer.embed.embedder import Embedder
from rankformer.networks.gene_network import build_network
from rankformer.networks.settings import BY, NetworkSettings
from rankformer.tokens.tokenize import open_tokens

SETS = {
    "interferon": """
        ISG15 ISG20 IFI6 IFI27 IFI35 IFI44 IFI44L IFIH1 IFIT1 IFIT2 IFIT3 IFIT5 IFITM1 IFITM2 IFITM3
        IRF7 LY6E MX1 MX2 OAS1 OAS2 OAS3 OASL RSAD2 STAT1 STAT2 TNFSF10 TRIM22 USP18 XAF1 HERC5
        EIF2AK2 BST2 APOBEC3A""",
    "MHC class II": """
        CD74 CIITA HLA-DRA HLA-DRB1 HLA-DRB5 HLA-DPA1 HLA-DPB1 HLA-DQA1 HLA-DQB1 HLA-DMA HLA-DMB
        CTSS IFI30""",
    "ribosome": " ".join(
        [f"RPL{i}" for i in range(3, 42)] + [f"RPS{i}" for i in range(2, 30)]
        + ["RPLP0", "RPLP1", "RPLP2", "RPSA"]
    ),
    "cytoskeleton": """
        ACTB ACTG1 ARPC1B ARPC2 ARPC3 ARPC5 CFL1 CORO1A MYL6 MYL12A MYL12B PFN1 TMSB4X TMSB10 TPM3
        TPM4 VIM ANXA1 ANXA2 ANXA5 S100A4 S100A6 S100A10 S100A11""",
}  # fmt: skip
HEADER = (
    "cells",
    "by",
    "score",
    "pairs",
    "known",
    "average precision",
    "times chance",
    "in the first 100",
    "s",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=Path, help="a .h5ad of counts with cell_type and stim in obs")
    parser.add_argument("--model", default="rankformer-mini")
    parser.add_argument(
        "--states", nargs="+", default=["CD14 Mono/STIM", "CD4 Naive T/STIM", "B/STIM"]
    )
    parser.add_argument("--n-cells", type=int, default=60)
    parser.add_argument("--by", nargs="+", default=list(BY))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    known = [pair for names in SETS.values() for pair in permutations(names.split(), 2)]
    embedder = Embedder(arguments.model, device="cpu", dtype="float32")
    adata = ad.read_h5ad(arguments.cells)
    rows, report = [], []
    for state in arguments.states:
        cell_type, stim = state.split("/")
        own = adata[(adata.obs["cell_type"] == cell_type) & (adata.obs["stim"] == stim)].copy()
        for by in arguments.by:
            began = time.perf_counter()
            with closing(open_tokens(own, embedder.checkpoint.vocabulary)) as stream:
                settings = NetworkSettings(by=by, n_cells=arguments.n_cells)
                network = build_network([stream], [stream.kept], embedder, settings, known)
            seconds = time.perf_counter() - began
            for figures in network.recovery.to_dict("records"):
                n_cells = network.provenance["n_cells"]
                report.append(
                    {"state": state, "by": by, "n_cells": n_cells, "seconds": seconds, **figures}
                )
                rows.append((
                    f"{state} ({n_cells})", by, figures["score"],
                    f"{figures['n_pairs']:,}", f"{figures['n_known']:,}",
                    f"{figures['average_precision']:.3f}", f"{figures['times_chance']:.2f}",
                    f"{figures['precision_at_100']:.2f}", f"{seconds:.0f}",
                ))  # fmt: skip
                print(" | ".join(rows[-1]), flush=True)
    print(markdown_table(HEADER, rows))
    if arguments.out:
        write_json(
            arguments.out,
            {"machine": describe_machine(), "model": arguments.model, "figures": report},
        )


if __name__ == "__main__":
    main()
