"""What became of each variable of a file: which gene of a vocabulary it is, and by which rule."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.genes.rules import GeneFate, GeneRule

_OF_ORTHOLOGS = (GeneFate.NO_ORTHOLOG, GeneFate.SEVERAL_ORTHOLOGS)
_RECOGNISED = (GeneFate.MAPPED, GeneFate.OUTSIDE, GeneFate.AMBIGUOUS, *_OF_ORTHOLOGS)


@dataclass(frozen=True, eq=False)
class GeneMapping:
    """Which gene of a vocabulary each variable is, and why.

    Attributes
    ----------
    column
        Where the identifiers stood: "index", or the column of ``var``.
    identifiers
        (n_vars,) str: as in the file, less white space; "" where missing.
    ensembl_ids
        (n_vars,) str, or None where the variable was not resolved.
    tokens
        (n_vars,) int32: token of the vocabulary, -1 for none. Variables may share one.
    rules
        (n_vars,) GeneRule, or None where no rule answered.
    fates
        (n_vars,) GeneFate.
    symbols
        (n_vars,) str: symbol of the gene as the vocabulary has it, or None.
    vocabulary_name, vocabulary_sha256
        The vocabulary that the tokens are of.
    species
        Of the identifiers: "human" for the published vocabularies, unless orthologs are taken.
    orthologs
        Where genes were taken for their orthologs: the species, the choice, and the table's name
        and hash.
    """

    column: str
    identifiers: NDArray[np.object_]
    ensembl_ids: NDArray[np.object_]
    tokens: NDArray[np.int32]
    rules: NDArray[np.object_]
    fates: NDArray[np.object_]
    symbols: NDArray[np.object_]
    vocabulary_name: str
    vocabulary_sha256: str
    species: str
    orthologs: Mapping[str, str] | None = None

    @property
    def n_vars(self) -> int:
        return len(self.tokens)

    @cached_property
    def n_mapped(self) -> int:
        """Variables that have a token."""
        return int(np.count_nonzero(self.tokens >= 0))

    @cached_property
    def n_genes(self) -> int:
        """Different genes of the vocabulary that are met."""
        return len(np.unique(self.tokens[self.tokens >= 0]))

    @cached_property
    def variables_summed(self) -> NDArray[np.int64]:
        """(n_vars,) how many variables have the token of this one; 0 without a token."""
        mapped = self.tokens >= 0
        times = np.bincount(self.tokens[mapped], minlength=1)
        return np.where(mapped, times[np.maximum(self.tokens, 0)], 0)

    @property
    def n_summed(self) -> int:
        """Variables that share their gene with another: their counts are summed."""
        return int(np.count_nonzero(self.variables_summed > 1))

    @cached_property
    def fate_counts(self) -> dict[GeneFate, int]:
        """Variables of each fate."""
        counts = Counter(self.fates.tolist())
        return {fate: counts[fate] for fate in GeneFate}

    @cached_property
    def rule_counts(self) -> dict[GeneRule, int]:
        """Mapped variables by the rule that resolved them, in the order of the rules."""
        counts = Counter(self.rules[self.tokens >= 0].tolist())
        return {rule: counts[rule] for rule in GeneRule if counts[rule]}

    @property
    def n_recognised(self) -> int:
        """Variables known to be genes of the species: mapped, outside, ambiguous, no ortholog."""
        return sum(self.fate_counts[fate] for fate in _RECOGNISED)

    @property
    def recognised_share(self) -> float:
        """Share recognised of the variables that are genes, and not of another species."""
        counts = self.fate_counts
        apart = counts[GeneFate.NOT_A_GENE] + counts[GeneFate.OTHER_SPECIES]
        return self.n_recognised / max(self.n_vars - apart, 1)

    def report(self) -> pd.DataFrame:
        """Give one row a variable, in their order.

        Returns
        -------
        Columns ``identifier``, ``ensembl_id``, ``symbol``, ``token`` (-1 for none), ``fate``,
        ``rule`` and ``variables_summed``; missing text is "".
        """
        return pd.DataFrame(
            {
                "identifier": self.identifiers,
                "ensembl_id": _text_or_empty(self.ensembl_ids),
                "symbol": _text_or_empty(self.symbols),
                "token": self.tokens,
                "fate": _text_or_empty(self.fates),
                "rule": _text_or_empty(self.rules),
                "variables_summed": self.variables_summed,
            }
        )

    def summary(self) -> dict[str, Any]:
        """Give the figures as plain strings, numbers and dictionaries, as ``uns`` can hold them."""
        told = {fate: n for fate, n in self.fate_counts.items() if n or fate not in _OF_ORTHOLOGS}
        return {
            "column": self.column,
            "vocabulary": self.vocabulary_name,
            "vocabulary_sha256": self.vocabulary_sha256,
            "n_vars": self.n_vars,
            "n_mapped": self.n_mapped,
            "n_genes": self.n_genes,
            "n_summed": self.n_summed,
            "recognised_share": round(self.recognised_share, 4),
            "fates": {str(fate): count for fate, count in told.items()},
            "rules": {str(rule): count for rule, count in self.rule_counts.items()},
            **({} if self.orthologs is None else {"orthologs": dict(self.orthologs)}),
        }

    def __repr__(self) -> str:
        return (
            f"GeneMapping({self.n_mapped:,} of {self.n_vars:,} variables by {self.column!r} → "
            f"{self.n_genes:,} genes of {self.vocabulary_name})"
        )


def _text_or_empty(values: NDArray[np.object_]) -> list[str]:
    return ["" if value is None else str(value) for value in values]
