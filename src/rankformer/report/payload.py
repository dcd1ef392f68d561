"""What the scatter plots of a page are drawn from: a description, and compressed arrays."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.report.blobs import LARGEST_LOG_COUNT, encode_array, join_blobs, scale_coordinates
from rankformer.report.columns import MISSING, ShownColumn
from rankformer.report.layout import Layout
from rankformer.report.shown_genes import GENES_IN_BLOCK, ShownGenes
from rankformer.show.palette import CATEGORIES


@dataclass(frozen=True)
class Payload:
    """Data beside the code of a page.

    Attributes
    ----------
    description
        Plain values: what there is, and where it lies in `blobs`.
    blobs
        Arrays as one text.
    """

    description: Mapping[str, Any]
    blobs: str


def make_payload(
    layouts: Sequence[Layout],
    columns: Sequence[ShownColumn],
    genes: ShownGenes,
    cell_names: "pd.Index[Any]",
    first_column: str,
    opens_on_gene: bool,
) -> Payload:
    """Encode what is drawn.

    Parameters
    ----------
    layouts
        The pictures, the embedding's first.
    columns
        Of obs, and clusters.
    genes
        Expression.
    cell_names
        Of the cells.
    first_column
        The column that cells are coloured by when the page is opened.
    opens_on_gene
        Colour them by the first gene instead.
    """
    blobs = {"cell_names": _encode_texts(cell_names.astype(str).tolist())}
    for place, layout in enumerate(layouts):
        blobs[f"view_{place}"] = encode_array(scale_coordinates(layout.coordinates))
    for place, column in enumerate(columns):
        blobs[f"column_{place}"] = encode_array(column.values)
        if column.kind == "text":
            blobs[f"texts_{place}"] = _encode_texts(column.categories)
    blobs["gene_names"] = _encode_texts(genes.names)
    blobs["gene_sizes"] = encode_array(genes.sizes)
    blobs |= {f"genes_{place}": block for place, block in enumerate(genes.blocks)}
    text, places = join_blobs(blobs)
    description = {
        "n_cells": len(cell_names),
        "views": [layout.title for layout in layouts],
        "columns": [_describe_column(column) for column in columns],
        "missing": MISSING,
        "palette": list(CATEGORIES),
        "first_column": first_column,
        "opens_on_gene": opens_on_gene,
        "genes": {
            "n": len(genes.names), "in_block": GENES_IN_BLOCK, "n_left_out": genes.n_left_out,
            "step": LARGEST_LOG_COUNT / 255,
        },
        "places": places,
    }  # fmt: skip
    return Payload(description, text)


def _describe_column(column: ShownColumn) -> dict[str, Any]:
    described: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if column.kind == "category":
        described["categories"] = list(column.categories)
    if column.kind == "number":
        described["range"] = _range(column.values)
    return described


def _range(values: NDArray[np.float32]) -> list[float]:
    """Least and largest value that is a finite number; 0 and 1 where there is none."""
    finite = values[np.isfinite(values)].astype(float)
    return [float(finite.min()), float(finite.max())] if finite.size else [0.0, 1.0]


def _encode_texts(texts: Sequence[str]) -> str:
    plain = json.dumps(list(texts), ensure_ascii=False).encode("utf-8", "replace")
    return encode_array(np.frombuffer(plain, dtype=np.uint8))
