"""Reference and query mixed in the embedding, so that their batch effect is gone before naming."""

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.harmony import integrate_harmony
from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit
from rankformer.annotate.reference import Reference
from rankformer.annotate.ways import LEAST_SHOWN

logger = logging.getLogger(__name__)

_QUERY = "query"


def mix_with_query(
    reference: Reference, vectors: NDArray[np.float32], cells: NDArray[np.int64]
) -> Reference:
    """Mix a reference and a query by Harmony.

    Parameters
    ----------
    reference
        Its donors or batches, where they are known, are batches of their own.
    vectors
        (n_cells, d_model) float32 of length 1, of the query; mixed in place.
    cells
        Which of these have a vector. Of fewer than 50 nothing is changed, which is told.

    Returns
    -------
    The reference with the mixed vectors.
    """
    if len(cells) < LEAST_SHOWN:
        logger.warning(
            "Harmony was asked for, and %s cells are too few to know a batch by: at least %s. The "
            "embeddings are taken as they are.", f"{len(cells):,}", LEAST_SHOWN,
        )  # fmt: skip
        return reference
    groups = reference.groups
    own = np.full(len(reference), "reference", dtype=object) if groups is None else (
        np.array([f"reference {each}" for each in groups], dtype=object)
    )  # fmt: skip
    batches = np.concatenate([own, np.full(len(cells), _QUERY, dtype=object)])
    both = np.concatenate([reference.index.vectors, vectors[cells]])
    mixed = np.ascontiguousarray(integrate_harmony(both, batches, seed=0))
    scale_to_unit(mixed)
    vectors[cells] = mixed[len(reference) :]
    index = NeighbourIndex.build(mixed[: len(reference)])
    logger.info(
        "The embeddings of %s cells of the reference and %s of the query were mixed by Harmony.",
        f"{len(reference):,}", f"{len(cells):,}",
    )  # fmt: skip
    return replace(reference, index=index)
