"""One side of `perturbation_speed.py`: deletions a second, their cosines, memory."""

from __future__ import annotations

import argparse
import json
import time
from itertools import pairwise
from pathlib import Path

import anndata as ad
import numpy as np
import torch
from measuring import peak_rss_mb

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.embedder import Embedder
from rankformer.perturb.exact import ExactPerturber
from rankformer.ragged import join_ragged
from rankformer.tokens.edits import Frame, plan_edits
from rankformer.tokens.tokenize import tokenize_cells


def run_padded(arguments, checkpoint, ragged, edits, frame):
    """As published: padded batches, all hidden states, the masked-LM head; mean over genes."""
    from transformers import BertForMaskedLM

    model = BertForMaskedLM.from_pretrained(arguments.model).eval().to(arguments.device)
    pad = checkpoint.vocabulary.pad_token
    pool, offsets = edits.pool(ragged), edits.token_offsets

    @torch.no_grad()
    def embed(rows):
        longest = max(map(len, rows))
        padded = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
        mask = padded != pad
        out = model(
            padded.to(arguments.device), attention_mask=mask.to(arguments.device).long(),
            output_hidden_states=True,
        )  # fmt: skip
        genes = mask.clone()
        genes[:, : frame.n_before] = False
        for i, row in enumerate(rows):
            genes[i, len(row) - frame.n_behind : len(row)] = False
        hidden = out.hidden_states[-1].cpu()
        return (hidden * genes[..., None]).sum(1) / genes.sum(1, keepdim=True)

    def run():
        values, bounds = ragged
        originals = embed([values[a:b].tolist() for a, b in pairwise(bounds)])
        cosines = []
        for start in range(0, len(edits), arguments.batch_size):
            stop = min(start + arguments.batch_size, len(edits))
            tokens = pool[edits.indices(ragged, frame, start, stop)]
            own = offsets[start : stop + 1] - offsets[start]
            rows = [tokens[a:b].tolist() for a, b in pairwise(own)]
            before = originals[edits.cells[start:stop]]
            cosines += torch.cosine_similarity(embed(rows), before, dim=1).tolist()
        return cosines

    return run


def run_packed(arguments, checkpoint, ragged, edits):
    embedder = Embedder(checkpoint, device=arguments.device, dtype=arguments.dtype)
    perturber = ExactPerturber(embedder, "cell")
    return lambda: np.concatenate(
        [each.cosines for *_, each in perturber.run(ragged, edits)]
    ).tolist()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--n-cells", type=int)
    parser.add_argument("--n-edits", type=int)
    parser.add_argument("--n-genes", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--device")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--padded", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    checkpoint = Checkpoint.open(arguments.model)
    vocabulary = checkpoint.vocabulary
    frame = Frame.of(vocabulary)
    tokens = tokenize_cells(ad.read_h5ad(arguments.cells)[: arguments.n_cells], vocabulary)
    values, offsets = tokens.ragged(0, arguments.n_cells)
    rows = [values[a:b] for a, b in pairwise(offsets)]
    if arguments.n_genes:
        ends = [row[len(row) - frame.n_behind :] for row in rows]
        rows = [
            np.concatenate([row[: frame.n_before + arguments.n_genes], end])
            for row, end in zip(rows, ends, strict=True)
        ]
    ragged = join_ragged([(row, np.array([0, len(row)])) for row in rows])
    edits = plan_edits(ragged, frame, "delete")
    edits = edits.select(np.unique(np.linspace(0, len(edits) - 1, arguments.n_edits).astype(int)))
    if arguments.padded:
        run = run_padded(arguments, checkpoint, ragged, edits, frame)
    else:
        run = run_packed(arguments, checkpoint, ragged, edits)
    # What compiles or fills caches is not measured.
    seconds = []
    for _ in range(1 if arguments.padded else 2):
        began = time.perf_counter()
        cosines = run()
        seconds.append(time.perf_counter() - began)
    figures = {
        "rate": len(edits) / min(seconds), "n_edits": len(edits), "cosines": cosines,
        "mean_tokens": float(edits.lengths.mean()),
        "peak_mb": peak_rss_mb(),
    }  # fmt: skip
    arguments.out.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
