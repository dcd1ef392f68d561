"""Masking of genes, the task that Geneformer was pretrained on.

Of the genes of a cell 15 % are chosen; of these, 80 % become ``<mask>``, 10 % another gene and 10 %
stay as they are (Devlin et al., NAACL 2019; Theodoris et al., Nature 618, 616, 2023).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankformer.vocabulary.vocabulary import Vocabulary

_BECOME_MASK, _BECOME_MASK_OR_GENE = 0.8, 0.9


class MaskedTokens(NamedTuple):
    """Tokens with some genes hidden.

    Attributes
    ----------
    tokens
        (n_tokens,) int32 as the model sees them.
    places
        (n_masked,) int64: which of them it has to name.
    genes
        (n_masked,) int32: the tokens that stood there.
    """

    tokens: NDArray[np.int32]
    places: NDArray[np.int64]
    genes: NDArray[np.int32]


def mask_genes(
    tokens: NDArray[np.int32],
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    share: float,
) -> MaskedTokens:
    """Hide a share of the genes; special tokens are never hidden and never put in.

    Parameters
    ----------
    tokens
        (n_tokens,) of one cell or of several end to end; left as they are.
    vocabulary
        Says which tokens are genes.
    rng
        Decides which genes are chosen and what becomes of them.
    share
        The chance of each gene to be chosen.
    """
    is_special = np.isin(tokens, list(vocabulary.special_tokens.values()))
    places = np.flatnonzero((rng.random(len(tokens)) < share) & ~is_special)
    genes = tokens[places]
    fate = rng.random(len(places))
    any_gene = vocabulary.tokens[rng.integers(0, len(vocabulary.tokens), len(places))]
    shown = np.where(fate < _BECOME_MASK_OR_GENE, any_gene, genes)
    masked = tokens.copy()
    masked[places] = np.where(fate < _BECOME_MASK, vocabulary.mask_token, shown)
    return MaskedTokens(masked, places, genes)
