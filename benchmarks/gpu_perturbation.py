"""Exact deletions a second: each a whole run of the edited cell."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gpu_models import Sizes, draw_encoder, make_checkpoint, make_embedder

from rankformer.perturb.exact import ExactPerturber
from rankformer.tokens.edits import Frame, plan_edits

MODEL = "gf-12L-95M-i4096"
_N_CELLS, _N_GENES = 4, 1_400


def measure_deletions(sizes: Sizes) -> dict[str, Any]:
    """Deletions of single genes, spread over some cells."""
    checkpoint = make_checkpoint(MODEL, sizes)
    vocabulary = checkpoint.vocabulary
    embedder = make_embedder(
        checkpoint, draw_encoder(checkpoint.spec, sizes.device), sizes, dtype=sizes.dtype
    )
    rng = np.random.default_rng(0)
    n_genes = min(_N_GENES, vocabulary.input_length - 2)
    cells = [
        [vocabulary.cls_token, *rng.permutation(vocabulary.tokens)[:n_genes], vocabulary.eos_token]
        for _ in range(_N_CELLS)
    ]
    ragged = np.concatenate(cells).astype(np.int32), np.cumsum([0, *map(len, cells)])
    edits = plan_edits(ragged, Frame.of(vocabulary), "delete")
    chosen = np.unique(np.linspace(0, len(edits) - 1, sizes.n_edits).astype(int))
    perturber = ExactPerturber(embedder, "cell")
    few = edits.select(chosen[: max(len(chosen) // 8, 1)])
    # What is set up once is not measured.
    for _ in perturber.run(ragged, few):
        pass
    own = edits.select(chosen)
    began = time.perf_counter()
    cosines = np.concatenate([each.cosines for *_, each in perturber.run(ragged, own)])
    seconds = time.perf_counter() - began
    return {
        "model": MODEL,
        "dtype": sizes.dtype,
        "genes_of_a_cell": n_genes,
        "deletions": len(cosines),
        "seconds": seconds,
        "deletions_per_second": len(cosines) / seconds,
        "least_cosine": float(cosines.min()),
    }
