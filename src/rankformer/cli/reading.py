"""What commands are told about the counts and the genes of their files."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankformer.errors import SettingsError
from rankformer.genes.ortholog_choice import OrthologChoice
from rankformer.settings import setting, settings
from rankformer.summary import Summary, Written
from rankformer.tokens.reading_options import WHICH_GENES_THEY_ARE, GeneOptions, ReadingOptions

if TYPE_CHECKING:
    from rankformer.genes.orthologs import OrthologTable
    from rankformer.genes.tables import GeneTable


@settings(WHICH_GENES_THEY_ARE)
class OtherSpecies:
    """The species of a file that is not human, and the orthologs of its genes."""

    species: str | None = setting(
        default=None,
        text="The species of the file, such as mouse or rat, if it is not human. Its genes are "
        "taken for the human genes that are their orthologs in the table of --orthologs.",
    )
    orthologs: Path | None = setting(
        default=None,
        text="With --species: a table of orthologs, as HCOP, Ensembl BioMart and MGI offer them.",
    )
    ortholog_choice: OrthologChoice = setting(
        default="one-to-one",
        text="With --species: which orthologs are taken. one-to-one: only genes of which each is "
        "the only ortholog of the other. best: of several, also the pair with the best support. "
        "summed: the counts of all genes that are orthologs of one human gene are summed.",
    )

    def open(self) -> "OrthologTable | None":
        """Read the table of orthologs; None where no species is named.

        Raises
        ------
        GeneError, SettingsError
            If the table cannot be read, or one of the options was given without another.
        """
        if self.species is not None and self.orthologs is not None:
            from rankformer.genes.ortholog_files import read_orthologs

            return read_orthologs(self.orthologs, self.species, choice=self.ortholog_choice)
        if self.words():
            raise SettingsError(
                f"{self.words()[0]} was given without "
                f"{'--orthologs' if self.species else '--species'}.",
                "The species of the file, and a table of its genes and their human orthologs.",
                "Pass both, such as --species mouse --orthologs human_mouse_hcop.txt.gz; or "
                "neither for a human file.",
            )
        return None

    def words(self) -> tuple[str, ...]:
        """The options as they were given."""
        given = {
            "--species": self.species, "--orthologs": self.orthologs,
            "--ortholog-choice": None if self.ortholog_choice == "one-to-one" else (
                self.ortholog_choice
            ),
        }  # fmt: skip
        return _words(given)


@settings(WHICH_GENES_THEY_ARE)
class NamesOfGenes:
    """Files and databases that name genes."""

    gene_table: Path | None = setting(
        default=None,
        text="A file with more names of genes: the table of HGNC, or a CSV or TSV file with a "
        "column of names and one of Ensembl ids.",
    )
    identifier_column: str | None = setting(
        default=None, text="With --gene-table: the column of names, where it is not recognised."
    )
    ensembl_column: str | None = setting(
        default=None,
        text="With --gene-table: the column of Ensembl ids, where it is not recognised.",
    )
    ensembl_release: int | None = setting(
        default=None,
        text="Take more names of genes from this Ensembl release, which pyensembl has installed.",
    )

    def open_table(self, *, any_species: bool = False) -> "GeneTable | None":
        """Read the table; None where none is named.

        Raises
        ------
        GeneError, SettingsError
            If it is missing or holds no names, or its columns are named without it.
        """
        if self.gene_table is None:
            if self.identifier_column or self.ensembl_column:
                raise SettingsError(
                    "--identifier-column or --ensembl-column was given without --gene-table.",
                    "These name columns of the file given with --gene-table.",
                    "Add --gene-table FILE, or leave them out. A column of var is named with "
                    "--gene-ids.",
                )
            return None
        from rankformer.genes.tables import read_gene_table

        return read_gene_table(
            self.gene_table, identifier=self.identifier_column, ensembl_id=self.ensembl_column,
            any_species=any_species,
        )  # fmt: skip

    def open_genome(self) -> Any:
        """Open the Ensembl release; None where none is named.

        Raises
        ------
        GeneError
            If pyensembl lacks it.
        """
        if self.ensembl_release is None:
            return None
        from rankformer.genes.tables import open_pyensembl

        return open_pyensembl(self.ensembl_release)

    def words(self) -> tuple[str, ...]:
        """The options as they were given."""
        return _words(
            {
                "--gene-table": self.gene_table, "--identifier-column": self.identifier_column,
                "--ensembl-column": self.ensembl_column, "--ensembl-release": self.ensembl_release,
            }
        )  # fmt: skip


@settings(WHICH_GENES_THEY_ARE)
class Genes:
    """Which genes the variables of a file are."""

    options: GeneOptions = setting(default_factory=GeneOptions, text="See `GeneOptions`.")
    names: NamesOfGenes = setting(default_factory=NamesOfGenes, text="See `NamesOfGenes`.")
    other_species: OtherSpecies = setting(default_factory=OtherSpecies, text="See `OtherSpecies`.")

    def open(self) -> GeneOptions:
        """Read the files that name genes; see `Reading.open`."""
        return replace(
            self.options,
            gene_table=self.names.open_table(),
            pyensembl_genome=self.names.open_genome(),
            orthologs=self.other_species.open(),
        )

    def words(self) -> tuple[str, ...]:
        """The options as they were given, beside those of `options`."""
        return (*self.names.words(), *self.other_species.words())


@settings(WHICH_GENES_THEY_ARE)
class Reading:
    """`ReadingOptions`, and the files and databases that name genes."""

    options: ReadingOptions = setting(default_factory=ReadingOptions, text="See `ReadingOptions`.")
    names: NamesOfGenes = setting(default_factory=NamesOfGenes, text="See `NamesOfGenes`.")
    other_species: OtherSpecies = setting(default_factory=OtherSpecies, text="See `OtherSpecies`.")

    def open(
        self,
        *,
        threads: int | None = None,
        attributes: Mapping[str, str] | None = None,
        any_species: bool = False,
    ) -> ReadingOptions:
        """Read the files that name genes.

        Raises
        ------
        GeneError, SettingsError
            If one is missing or holds no names.
        """
        return replace(
            self.options,
            gene_table=self.names.open_table(any_species=any_species),
            pyensembl_genome=self.names.open_genome(),
            orthologs=self.other_species.open(),
            n_threads=threads,
            attributes=attributes or {},
        )


def _words(given: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        word for name, value in given.items() if value is not None for word in (name, str(value))
    )


def check_gene_report(path: Path | None, files: Sequence[Path], *, overwrite: bool = False) -> None:
    """Refuse, before any work, a gene report that could not be written; None for none."""
    if path is not None:
        from rankformer.results.gene_report import check_gene_report

        check_gene_report(path, files, overwrite=overwrite)


def write_gene_report(path: Path | None, summary: Summary, *, overwrite: bool = False) -> Summary:
    """Write what became of each gene of the inputs, and add it to what was made; None for not."""
    if path is None:
        return summary
    from rankformer.results.gene_report import write_gene_report

    write_gene_report(path, summary.sources, overwrite=overwrite)
    written = Written(path, "what became of each gene of the input")
    return replace(summary, written=(*summary.written, written))
