"""Which genes were asked for: names, groups of names and files of these, as tokens."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from rankformer.errors import GeneError, SettingsError
from rankformer.genes.rules import GeneResolver
from rankformer.names import as_names, few_names
from rankformer.perturb.gene_lists import ALL
from rankformer.tokens.edit_types import EditType
from rankformer.vocabulary.vocabulary import Vocabulary

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AskedGenes:
    """Genes to perturb, in the model's vocabulary.

    Attributes
    ----------
    groups
        Tokens of genes that are perturbed together, one tuple each; None for all genes of a cell.
    anchor
        The token of a gene that is perturbed along with each, or None.
    """

    groups: tuple[tuple[int, ...], ...] | None
    anchor: int | None

    @classmethod
    def find(
        cls,
        vocabulary: Vocabulary,
        genes: str | Sequence[str],
        groups: Sequence[Sequence[str]],
        anchor: str | None,
    ) -> "AskedGenes":
        """Look names up: symbols, aliases or Ensembl ids.

        Parameters
        ----------
        vocabulary
            Of the model.
        genes
            ``"all"``, or names of genes that are perturbed one at a time.
        groups
            Names of genes that are perturbed together; they take the place of `genes`.
        anchor
            Name of a gene that is perturbed along with each.

        Raises
        ------
        GeneError
            If a name is unknown, ambiguous, or outside the vocabulary.
        """
        resolver = GeneResolver(vocabulary)
        if groups:
            named = [as_names(group, "groups") for group in groups]
        elif genes == ALL:
            named = None
        else:
            named = [(name,) for name in dict.fromkeys(as_names(genes, "genes"))]
        if named is not None and not named:
            raise SettingsError(
                "No gene was named.", 'Names of genes, or "all".', "Name some (--genes)."
            )
        wanted = [name for group in named or () for name in group]
        token_of = _look_up([*wanted, *([anchor] if anchor else [])], resolver, vocabulary)
        own_anchor = token_of[anchor] if anchor else None
        if named is None:
            return cls(None, own_anchor)
        # Two names of one gene are one gene.
        groups_of = dict.fromkeys(
            tuple(dict.fromkeys(token_of[name] for name in group)) for group in named
        )
        return cls(tuple(groups_of), own_anchor)


def tell_kinds(asked: AskedGenes, kind: EditType) -> None:
    """Say what becomes of cells that lack a gene."""
    if asked.groups is not None and kind != "overexpress":
        logger.info("Cells that do not express a gene, or one of a group, are left out for it.")


def nothing_perturbed(n_cells: int) -> SettingsError:
    """The error of a perturbation for which no cell could be edited."""
    return SettingsError(
        f"None of the {n_cells:,} cells expresses a gene that could be perturbed so.",
        "Cells that express the genes named; of a group, and of an anchor, all of them.",
        "Name other genes or cells; overexpress also puts in what a cell lacks.",
    )


def _look_up(
    names: Sequence[str], resolver: GeneResolver, vocabulary: Vocabulary
) -> dict[str, int]:
    matches = {name: resolver.resolve(name) for name in names}
    token_of = {
        name: vocabulary.token_of[match.ensembl_id]
        for name, match in matches.items()
        if match.ensembl_id is not None and match.ensembl_id in vocabulary.token_of
    }
    lost = {name: match.fate for name, match in matches.items() if name not in token_of}
    if lost:
        reasons = sorted(set(lost.values()))
        raise GeneError(
            f"{len(lost):,} of {len(matches):,} genes cannot be perturbed: "
            + "; ".join(
                f"{few_names([n for n, fate in lost.items() if fate is reason])} ({reason})"
                for reason in reasons
            )
            + ".",
            f"Symbols or Ensembl ids of genes in the vocabulary {vocabulary.name}.",
            "Correct the names, or leave these genes out.",
        )
    return token_of
