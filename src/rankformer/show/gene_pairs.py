"""Pairs of genes as plots read them: of AnnData, or of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import pandas as pd
from anndata import AnnData

from rankformer.errors import SettingsError, TableError, expect_type
from rankformer.results.anndata_files import UNS_KEY
from rankformer.show.cell_values import did_you_mean, require

Network: TypeAlias = AnnData | pd.DataFrame
_SIDES = ("source", "target")
_SPOKEN: Mapping[str, str] = MappingProxyType(
    {
        "excess": "excess over pairs of like ranks",
        "place": "place among pairs of like ranks",
        "coexpression": "co-expression (Pearson's r)",
    }
)


@dataclass(frozen=True, eq=False)
class GenePairs:
    """Pairs of genes by their labels.

    Attributes
    ----------
    edges
        ``source`` and ``target``, labels that are told apart, and figures.
    is_directed
        Whether A on B is another thing than B on A.
    by
        How they were measured, such as "attention"; "" where that is not known.
    """

    edges: pd.DataFrame
    is_directed: bool
    by: str


def read_pairs(network: Network, key: str) -> GenePairs:
    """Pairs of AnnData after `rankformer.tl.gene_network`, or of the table of one.

    Raises
    ------
    SettingsError, TableError
        If there is no network, or it has no pair.
    """
    expect_type(
        network, (AnnData, pd.DataFrame), "The network",
        "AnnData after rankformer.tl.gene_network, or a table of pairs.",
        "Pass one of these; a file is read first: pandas.read_parquet(path).",
    )  # fmt: skip
    by = ""
    if isinstance(network, pd.DataFrame):
        edges = network
    else:
        require(network.uns, key, "key", "uns", "network")
        edges = network.uns[key]
        told = network.uns.get(UNS_KEY, {}).get(key, {})
        by = str(told.get("network", {}).get("by", ""))
    missing = [name for name in _SIDES if name not in edges]
    if missing or not len(edges):
        raise TableError(
            f"The table has no column {' or '.join(missing)}." if missing else "It has no pair.",
            "Pairs of genes, as rankformer.tl.gene_network and `rankformer network` give them.",
            "Pass such a table.",
        )
    is_directed = by != "similarity" if by else _has_both_ways(edges)
    return GenePairs(_tell_apart(edges), is_directed, by)


def known_names(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names that are all there, each once."""
    absent = [each for each in names if each not in known]
    if absent:
        raise SettingsError(
            f"The network has no gene {absent[0]!r}{did_you_mean(absent[0], known)}",
            f"Genes of the {len(known):,} that its pairs have.",
            "Correct genes, or keep more pairs when the network is made: top=None (--top 0).",
        )
    return list(dict.fromkeys(names))


def say_value(value: str, by: str) -> str:
    """What a column of pairs means, measured in some way."""
    if value == "effect":
        return {"attention": "attention", "similarity": "cosine of the genes' vectors",
                "perturbation": "1 - cosine after deletion"}.get(by, "effect")  # fmt: skip
    return _SPOKEN.get(value, value)


def _has_both_ways(edges: pd.DataFrame) -> bool:
    """A table of pairs without direction has each pair once."""
    there = {*zip(edges["source"], edges["target"], strict=True)}
    return any((target, source) in there for source, target in there)


def _tell_apart(edges: pd.DataFrame) -> pd.DataFrame:
    """Symbols, with the Ensembl id where two genes have the same."""
    edges = edges.reset_index(drop=True).copy()
    ids = [f"{side}_ensembl_id" for side in _SIDES]
    for side in _SIDES:
        edges[side] = edges[side].astype(str)
    if set(ids) <= set(edges.columns):
        named = pd.concat([
            edges[[f"{side}_ensembl_id", side]].set_axis(["id", "symbol"], axis=1)
            for side in _SIDES
        ]).drop_duplicates()  # fmt: skip
        double = set(named.loc[named["symbol"].duplicated(keep=False), "symbol"])
        for side in _SIDES:
            own = edges[side].isin(double)
            told = edges[side] + " " + edges[f"{side}_ensembl_id"].astype(str)
            edges[side] = edges[side].where(~own, told)
    return edges
