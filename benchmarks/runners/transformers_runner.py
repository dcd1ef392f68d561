"""Time transformers' BertModel as most people write it, and write the figures as JSON.

Batches padded to their longest cell, in the file's order or sorted by length; no masked-LM head.
The tokens are those of rankformer, made before the clock runs. Runs in rankformer's environment.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
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
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from transformers import BertModel

    from rankformer import Vocabulary

PACKAGES = ("transformers", "torch", "numpy")
Cells = list["NDArray[np.int32]"]


def read_tokens(arguments: argparse.Namespace) -> tuple[Cells, Vocabulary]:
    """Tokens of the first cells, one array a cell, and the vocabulary that they belong to."""
    import anndata
    import numpy as np

    from rankformer import Checkpoint, ReadingOptions, tokenize_cells

    vocabulary = Checkpoint.open(arguments.checkpoint).vocabulary
    if arguments.tokens:
        with np.load(arguments.tokens) as saved:
            return np.split(saved["values"], saved["offsets"][1:-1]), vocabulary
    adata = anndata.read_h5ad(arguments.cells)[: arguments.n_cells].copy()
    cells = tokenize_cells(adata, vocabulary, ReadingOptions(gene_ids="ensembl_id"))
    return [cells.cell(index) for index in range(len(cells))], vocabulary


def pad(cells: Cells) -> torch.Tensor:
    """(cells, longest) int64, 0 = <pad> behind each cell."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence([torch.tensor(cell).long() for cell in cells], batch_first=True)


def embed(
    model: BertModel, cells: Cells, arguments: argparse.Namespace, special: list[int]
) -> torch.Tensor:
    """(n_cells, d_model): the mean over gene tokens of the last hidden state."""
    import torch

    lengths = torch.tensor([len(cell) for cell in cells])
    order = lengths.argsort().tolist() if arguments.sort else range(len(cells))
    means = torch.empty(len(cells), model.config.hidden_size)
    with torch.inference_mode():
        for chosen in batched(order, arguments.batch_size):
            tokens = pad([cells[index] for index in chosen]).to(model.device)
            mask = (tokens != 0).long()
            hidden = model(tokens, attention_mask=mask).last_hidden_state
            genes = ~torch.isin(tokens, torch.tensor(special, device=model.device))
            sums = (hidden * genes.unsqueeze(-1)).sum(dim=1)
            means[list(chosen)] = (sums / genes.sum(dim=1, keepdim=True)).cpu()
    return means


def batched(order: Iterable[int], size: int) -> Iterator[list[int]]:
    """Split into lists of at most `size`; itertools has it from Python 3.12 on."""
    indices = list(order)
    yield from (indices[start : start + size] for start in range(0, len(indices), size))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run BertModel stage by stage and return what was measured."""
    stages = Stages()
    limit_threads(arguments.threads)
    import numpy as np
    import torch
    from transformers import BertModel

    torch.set_num_threads(arguments.threads)
    stages.end("import")
    model = BertModel.from_pretrained(arguments.checkpoint, add_pooling_layer=False)
    model = model.eval().to(arguments.device)
    stages.end("construct")
    cells, vocabulary = read_tokens(arguments)
    stages.end("tokens")
    special = list(vocabulary.special_tokens.values())
    embed(model, cells[:1], arguments, special)  # What is set up once is not measured.
    stages.end("warm_up")
    rows = embed(model, cells, arguments, special)
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
    add_token_arguments(parser)
    parser.add_argument("--sort", action="store_true", help="batches of cells of like lengths")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_arguments()
    write_figures(given.out, measure(given))
