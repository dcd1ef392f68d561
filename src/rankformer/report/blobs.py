"""Arrays as text of a page: zlib, then base64, which every browser can undo by itself."""

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix

# Natural log of 1 + 10,000, the largest value that log counts of 10,000 a cell can have.
LARGEST_LOG_COUNT = float(np.log1p(1e4))


def encode_array(values: NDArray[Any]) -> str:
    """Base64 of the zlib-compressed bytes, little-endian."""
    plain = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return base64.b64encode(zlib.compress(plain, 9)).decode("ascii")


def scale_coordinates(coordinates: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """(n_cells, 2) of any unit → whole numbers of which 65,535 spans the longer side.

    Both axes keep one scale, and the picture its place in the middle.
    """
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    side = float((high - low).max()) or 1.0
    centred = (coordinates - (low + high) / 2) / side + 0.5
    return np.asarray(np.rint(np.clip(centred, 0, 1) * 65_535), dtype=np.uint16)


def encode_gene_block(log_counts: csc_matrix) -> str:
    """Expression of some genes, which a page decodes when it needs them.

    For all genes one after the other, the steps from each cell with counts to the next, low bytes
    first and high bytes after them, and then the values.

    Parameters
    ----------
    log_counts
        (n_cells, n_genes) log1p of counts scaled to 10,000 a cell; at most 65,536 cells, ascending.
    """
    steps, values = _steps_between_cells(log_counts), _quantise(log_counts.data)
    low, high = (steps & 255).astype(np.uint8), (steps >> 8).astype(np.uint8)
    return encode_array(np.concatenate([low, high, values]))


def _steps_between_cells(log_counts: csc_matrix) -> NDArray[np.uint16]:
    """From the cell before, and for the first of each gene from cell 0."""
    indices = log_counts.indices.astype(np.int64)
    steps = np.diff(indices, prepend=0)
    starts = log_counts.indptr[:-1][np.diff(log_counts.indptr) > 0]
    steps[starts] = indices[starts]
    return np.asarray(steps, dtype=np.uint16)


def _quantise(values: NDArray[Any]) -> NDArray[np.uint8]:
    """On 255 steps of the possible range; what is above 0 stays above it."""
    scaled = np.rint(values / LARGEST_LOG_COUNT * 255)
    return np.clip(scaled, 1, 255).astype(np.uint8)


def join_blobs(blobs: Mapping[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
    """All texts as one, and where each of them begins and ends."""
    places, end = {}, 0
    for name, text in blobs.items():
        places[name] = (end, end + len(text))
        end += len(text)
    return "".join(blobs.values()), places
