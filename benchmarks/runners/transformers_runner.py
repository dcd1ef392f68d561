"""Time transformers' BertModel as most people write it, and write the figures as JSON.

Batches in the file's order, padded to their longest cell; no masked-LM head. The tokens are those
of rankformer, made before the clock runs. Runs in rankformer's environment.
"""

from __future__ import annotations

import argparse
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
    import torch
    from numpy.typing import NDArray
    from transformers import BertModel

    from rankformer import Vocabulary

PACKAGES = ("transformers", "torch", "numpy")
Cells = list["NDArray[np.int32]"]


def read_tokens(path: Path, n_cells: int | None, checkpoint: Path) -> tuple[Cells, Vocabulary]:
    """Tokens of the first cells, one array a cell, and the vocabulary that they belong to."""
    import anndata

    from rankformer import Checkpoint, ReadingOptions, tokenize_cells

    vocabulary = Checkpoint.open(checkpoint).vocabulary
    adata = anndata.read_h5ad(path)[:n_cells].copy()
    cells = tokenize_cells(adata, vocabulary, ReadingOptions(gene_ids="ensembl_id"))
    return [cells.cell(index) for index in range(len(cells))], vocabulary


def pad(cells: Cells) -> torch.Tensor:
    """(cells, longest) int64, 0 = <pad> behind each cell."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence([torch.tensor(cell).long() for cell in cells], batch_first=True)


def embed(model: BertModel, cells: Cells, batch_size: int, special: list[int]) -> torch.Tensor:
    """(n_cells, d_model): the mean over gene tokens of the last hidden state."""
    import torch

    means = []
    with torch.inference_mode():
        for start in range(0, len(cells), batch_size):
            tokens = pad(cells[start : start + batch_size])
            mask = (tokens != 0).long()
            hidden = model(tokens, attention_mask=mask).last_hidden_state
            genes = torch.isin(tokens, torch.tensor(special), invert=True).unsqueeze(-1)
            means.append((hidden * genes).sum(dim=1) / genes.sum(dim=1))
    return torch.cat(means)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run BertModel stage by stage and return what was measured."""
    stages = Stages()
    limit_threads(arguments.threads)
    import numpy as np
    import torch
    from transformers import BertModel

    torch.set_num_threads(arguments.threads)
    stages.end("import")
    model = BertModel.from_pretrained(arguments.checkpoint, add_pooling_layer=False).eval()
    stages.end("construct")
    cells, vocabulary = read_tokens(arguments.cells, arguments.n_cells, arguments.checkpoint)
    stages.end("tokens")
    special = list(vocabulary.special_tokens.values())
    rows = embed(model, cells, arguments.batch_size, special)
    stages.end("embed")
    save_vectors(arguments.vectors, rows.numpy(), cells)
    return {
        "mode": "cell",
        "threads": arguments.threads,
        "versions": versions(*PACKAGES),
        "attention": model.config._attn_implementation,
        "dtype": str(model.dtype).removeprefix("torch."),
        **describe_tokens(np.asarray([len(cell) for cell in cells])),
        **stages.figures(),
    }


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the model")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_arguments()
    write_figures(given.out, measure(given))
