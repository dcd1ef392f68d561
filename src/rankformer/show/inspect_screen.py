"""An inspection on one terminal screen."""

import shlex
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rankformer.cells.source import MatrixSurvey
from rankformer.checkpoints.registry import PACKAGED_MODEL
from rankformer.genes.mapping import GeneMapping
from rankformer.show.screen import Screen
from rankformer.tokens.inspection import GenesPerCell, Inspection, ModelMatch


def inspection_tables(
    inspection: Inspection,
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Figures and tables of an inspection, as plain values."""
    cells = inspection.cells
    figures: dict[str, Any] = {
        "path": inspection.path,
        "n_cells": cells.n_cells if cells else None,
        "n_variables": cells.n_vars if cells else None,
        "obs_columns": list(map(str, cells.obs.columns)) if cells else [],
        "counts": cells.location if cells else None,
        "undo_log1p": inspection.undo_log1p,
        "problem": str(inspection.problem) if inspection.problem else None,
    }
    matrices = [
        {
            "location": each.location, "shape": each.shape, "stored_as": each.layout,
            "dtype": str(each.dtype), "holds": str(each.figures or each.problem),
        }
        for each in inspection.matrices
    ]  # fmt: skip
    identifiers = [
        {
            "column": name, "kind": each.kind, "species": each.species,
            "examples": each.examples,
        }
        for name, each in inspection.identifiers.items()
    ]  # fmt: skip
    matches = [_match_row(each) for each in inspection.matches]
    return figures, {"matrices": matrices, "identifiers": identifiers, "models": matches}


def _match_row(match: ModelMatch) -> dict[str, Any]:
    row: dict[str, Any] = {
        "models": match.models, "vocabulary": match.vocabulary.name,
        "vocabulary_sha256": match.vocabulary.sha256,
        "problem": str(match.problem) if match.problem else None,
    }  # fmt: skip
    if match.mapping is not None:
        row |= {
            "mapped_by": match.mapping.column, "n_variables": match.mapping.n_vars,
            "n_variables_mapped": match.mapping.n_mapped, "n_genes": match.mapping.n_genes,
        }  # fmt: skip
        if match.mapping.orthologs is not None:
            row["orthologs"] = dict(match.mapping.orthologs)
    if match.genes_per_cell is not None:
        row["genes_per_cell"] = asdict(match.genes_per_cell)
    return row


def render_inspection(inspection: Inspection, console: Console | None = None) -> None:
    """Print what a file holds, and what to pass to ``rankformer embed``."""
    console = console or Screen()
    _print_file(inspection, console)
    _print_matrices(inspection, console)
    _print_identifiers(inspection, console)
    _print_matches(inspection, console)
    _print_advice(inspection, console)


def _print_file(inspection: Inspection, console: Console) -> None:
    console.print(f"[bold]{escape(inspection.path)}[/bold]", soft_wrap=True)
    cells = inspection.cells
    if cells:
        columns = ", ".join(map(str, cells.obs.columns[:8])) or "none"
        more = f" and {cells.obs.shape[1] - 8} more" if cells.obs.shape[1] > 8 else ""
        console.print(f"{cells.n_cells:,} cells, {cells.n_vars:,} variables")
        console.print(f"obs columns: {escape(columns)}{more}")


def _print_matrices(inspection: Inspection, console: Console) -> None:
    table = _table("matrices", "size", "stored as", "holds")
    used = inspection.cells.location if inspection.cells else None
    for matrix in inspection.matrices:
        mark = "  [green]← counts[/green]" if matrix.location == used else ""
        size = "{:,} x {:,}".format(*matrix.shape) if matrix.shape else "?"
        table.add_row(
            escape(matrix.location),
            size,
            escape(f"{matrix.layout} {matrix.dtype}"),
            _holds(matrix) + mark,
        )
    console.print(table)


def _holds(matrix: MatrixSurvey) -> str:
    if matrix.figures:
        return escape(str(matrix.figures))
    return f"[red]{escape(str(matrix.problem or 'cannot be read'))}[/red]"


def _print_identifiers(inspection: Inspection, console: Console) -> None:
    table = _table("identifiers", "kind", "species", "examples")
    for name, summary in inspection.identifiers.items():
        table.add_row(
            escape(name), summary.kind, summary.species, escape(", ".join(summary.examples))
        )
    console.print(table)


def _print_matches(inspection: Inspection, console: Console) -> None:
    if inspection.variables_per_cell and not any(each.mapping for each in inspection.matches):
        console.print(f"variables a cell: {_describe(inspection.variables_per_cell, ', ')}")
    if inspection.matches:
        console.print()
        table = _table("vocabulary", *(escape(each.vocabulary.name) for each in inspection.matches))
        columns = [_match_column(match) for match in inspection.matches]
        for row in zip(_MATCH_ROWS, *columns, strict=True):
            table.add_row(*row)
        console.print(table)
    for match in inspection.matches:
        _print_what_the_index_gives(match, console)
    problems = {each.vocabulary.name: each.problem for each in inspection.matches if each.problem}
    for name, problem in {**inspection.broken, **problems}.items():
        console.print(f"[red]{escape(name)}: {escape(str(problem))}[/red]")


def _print_what_the_index_gives(match: ModelMatch, console: Console) -> None:
    if match.mapping is None or not match.n_otherwise_by_index:
        return
    by_index = (
        f"by which {match.n_otherwise_by_index:,} variables get another gene or none"
        if match.index_mapping
        else "and refuses that of this file"
    )
    console.print(
        f"{escape(match.vocabulary.name)}: Geneformer.process_data takes the index unless told, "
        f"{by_index}. For the same tokens as embed, pass "
        f"gene_names={escape(repr(match.mapping.column))}.",
        style="yellow",
    )


_MATCH_ROWS = ("mapped by", "variables mapped", "genes", "genes a cell", "models")


def _match_column(match: ModelMatch) -> tuple[str, ...]:
    models = escape("\n".join(match.models))
    mapping = match.mapping
    if mapping is None:
        return "-", "[red]none[/red]", "-", "-", models
    share = mapping.n_mapped / mapping.n_vars
    return (
        escape(_mapped_by(mapping)),
        f"{mapping.n_mapped:,} of {mapping.n_vars:,} ({share:.0%})",
        f"{mapping.n_genes:,} of {len(match.vocabulary.ensembl_ids):,}",
        _describe(match.genes_per_cell) if match.genes_per_cell else "-",
        models,
    )


def _mapped_by(mapping: GeneMapping) -> str:
    if mapping.orthologs is None:
        return mapping.column
    told = mapping.orthologs
    return f"{mapping.column}\n{told['species']} by {told['table']}\n({told['choice']})"


def _describe(genes: GenesPerCell, between: str = "\n") -> str:
    parts = [f"{genes.median:,.0f} ({genes.least:,} to {genes.most:,})"]
    if genes.n_empty:
        parts.append(f"{genes.n_empty:,} of {genes.n_cells:,} cells empty")
    if genes.cropped_share:
        parts.append(f"{genes.cropped_share:.0%} of cells have more genes than the model reads")
    return between.join(parts)


def _print_advice(inspection: Inspection, console: Console) -> None:
    if inspection.problem:
        console.print(escape(str(inspection.problem)), style="yellow")
    if inspection.arguments:
        command = shlex.join(["rankformer", "embed", *inspection.arguments])
        console.print(f"\n[bold]{escape(command)}[/bold]", soft_wrap=True)
    if any(PACKAGED_MODEL in match.models for match in inspection.matches):
        console.print(
            f"{PACKAGED_MODEL} ships for trying out. For research fetch a published model: "
            "`rankformer models`.",
            style="dim",
        )


def _table(*headings: str) -> Table:
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
