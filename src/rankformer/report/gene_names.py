"""Names by which genes are shown and found."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import SettingsError
from rankformer.genes.columns import symbols_or_index


def gene_names(var: pd.DataFrame) -> NDArray[np.object_]:
    """Symbols where there are any, made different from each other as scanpy makes them.

    Returns
    -------
    (n_vars,) texts; the index stands in where a symbol is missing.
    """
    from anndata.utils import make_index_unique

    return np.asarray(make_index_unique(pd.Index(symbols_or_index(var))), dtype=object)


def find_genes(
    var: pd.DataFrame, names: NDArray[np.object_], wanted: Sequence[str]
) -> NDArray[np.int64]:
    """Columns of genes that are named by what is shown of them, or by the index of ``var``.

    Raises
    ------
    SettingsError
        If one is not there.
    """
    places = {str(name): column for column, name in reversed(list(enumerate(var.index)))}
    places |= {str(name): column for column, name in enumerate(names)}
    missing = [name for name in wanted if name not in places]
    if missing:
        near = _similar(missing[0], places)
        raise SettingsError(
            f"No gene of the file is named {missing[0]!r}.",
            f"A name as the file has it{', such as ' + ' or '.join(near) if near else ''}.",
            "Correct genes (--gene).",
        )
    return np.asarray(list(dict.fromkeys(places[name] for name in wanted)), dtype=np.int64)


def _similar(name: str, names: Iterable[str]) -> list[str]:
    """Names that begin alike, as those of a family of genes do, or else are spelt alike."""
    known = list(names)
    family = sorted(each for each in known if each.startswith(name[:3]) and len(name) > 2)
    return family[:3] or get_close_matches(name, known, n=3)
