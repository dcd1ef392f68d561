"""A vocabulary on one terminal screen."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rankformer.genes.species import species_of_genes
from rankformer.show.screen import Screen
from rankformer.vocabulary.vocabulary import Vocabulary

_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def vocabulary_figures(vocabulary: Vocabulary) -> dict[str, Any]:
    """What a vocabulary holds, as plain values."""
    medians = np.quantile(vocabulary.medians, _QUANTILES)
    return {
        "name": vocabulary.name,
        "n_genes": len(vocabulary.ensembl_ids),
        "species": species_of_genes(vocabulary.ensembl_ids),
        "special_tokens": vocabulary.special_tokens,
        "size": vocabulary.size,
        "input_length": vocabulary.input_length,
        "n_symbols": len(vocabulary.symbols),
        "n_aliases": len(vocabulary.aliases),
        "quantiles_of_medians": dict(zip(map(str, _QUANTILES), medians.tolist(), strict=True)),
        "sha256": vocabulary.sha256,
    }


def render_vocabulary(vocabulary: Vocabulary, console: Console | None = None) -> None:
    """Print genes, tokens, names and the quantiles of the medians."""
    console = console or Screen()
    table = Table(title=escape(vocabulary.name), title_justify="left", box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(vocabulary).items():
        table.add_row(name, escape(value))
    console.print(table)


def _lines(vocabulary: Vocabulary) -> dict[str, str]:
    special = sorted(vocabulary.special_tokens.items(), key=lambda each: each[1])
    named = {*vocabulary.symbols.values(), *vocabulary.aliases.values()}
    return {
        "genes with a token": f"{len(vocabulary.ensembl_ids):,}",
        "genes known by name only": f"{len(named - vocabulary.token_of.keys()):,}",
        "species": species_of_genes(vocabulary.ensembl_ids),
        "special tokens": ", ".join(f"{token} {name}" for name, token in special),
        "size": f"{vocabulary.size:,} rows of the token embedding",
        "input length": f"{vocabulary.input_length:,} tokens",
        "symbols": f"{len(vocabulary.symbols):,}",
        "aliases": f"{len(vocabulary.aliases):,}",
        "medians": _describe_medians(vocabulary),
        "SHA-256": vocabulary.sha256,
    }


def _describe_medians(vocabulary: Vocabulary) -> str:
    values = np.quantile(vocabulary.medians, _QUANTILES)
    shown = zip(_QUANTILES, values.tolist(), strict=True)
    return ", ".join(f"{share:.0%} {value:.3g}" for share, value in shown)
