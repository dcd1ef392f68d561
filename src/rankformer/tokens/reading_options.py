"""Where the counts and the genes of a source are found, and what is allowed of them."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rankformer.cores import usable_cores
from rankformer.errors import SettingsError
from rankformer.genes.given_tables import check_tables
from rankformer.genes.recognised_share import check_share
from rankformer.settings import setting, settings

_COUNTS = "Where the counts are"
WHICH_GENES_THEY_ARE = "Which genes they are"


@settings()
class InputFiles:
    """What is read."""

    sources: tuple[Path, ...] = setting(
        options=("FILE…",),
        text="Files with raw counts: .h5ad, .zarr, 10x .h5, a 10x matrix folder, or a folder of "
        "such files. Tokens that `rankformer tokenize` saved are read too. Several are read as "
        "one, one after the other.",
    )


@settings(_COUNTS)
class CountOptions:
    """Where counts lie in a source, and what is allowed of them."""

    layer: str | None = setting(
        common=True, default=None, panel=_COUNTS,
        text="The layer of AnnData that holds the raw counts. By default, rankformer looks for "
        "counts in X, in raw.X and in all layers.",
    )  # fmt: skip
    use_raw: bool | None = setting(
        default=None, panel=_COUNTS, options=("--use-raw/--no-raw",),
        text="Take the counts from raw.X (True), or never take them from there (False). By "
        "default, raw.X is one of the places that are looked at.",
    )  # fmt: skip
    undo_log1p: bool = setting(
        default=False, panel=_COUNTS,
        text="The values are log1p of counts that were scaled for each cell, as scanpy makes them: "
        "undo the logarithm, so that genes are ranked as by the counts.",
    )  # fmt: skip
    estimated_counts: bool = setting(
        default=False, panel=_COUNTS,
        text="The values are estimates of counts with fractions, as SoupX, decontX and RSEM give "
        "them. Estimates that are mostly whole numbers, as of alevin-fry, are recognised by "
        "themselves; values that look like logarithms or normalised counts are refused.",
    )  # fmt: skip
    check: bool = setting(
        default=True, panel=_COUNTS, options=("--check/--no-check",),
        text="Refuse values that are neither counts nor counts scaled for each cell. Without the "
        "check, any values of zero and above are taken.",
    )  # fmt: skip


@settings(WHICH_GENES_THEY_ARE)
class GeneOptions:
    """Where gene identifiers lie in a source, and by which names they are known."""

    gene_ids: str | None = setting(
        default=None, panel=WHICH_GENES_THEY_ARE,
        text='Where the gene identifiers are: "index", or the name of a column of var. By default, '
        'the place from which most genes are recognised is taken.',
    )  # fmt: skip
    gene_table: Any = setting(
        default=None, options=None,
        text="A `GeneTable` with more names of genes, as from HGNC; see `read_gene_table`. They "
        "are looked up before the names in the vocabulary.",
    )  # fmt: skip
    pyensembl_genome: Any = setting(
        default=None, options=None,
        text="A pyensembl database on this machine, whose names are looked up after those in the "
        "vocabulary.",
    )  # fmt: skip
    orthologs: Any = setting(
        default=None, options=None,
        text="An `OrthologTable` of the species that the genes of the file are of; see "
        "`read_orthologs`. They are taken for the human genes that are their orthologs.",
    )  # fmt: skip
    min_recognised: float = setting(
        default=0.5, panel=WHICH_GENES_THEY_ARE,
        text="The minimum share of the genes of the file, from 0 to 1, that must be recognised as "
        "genes of the species. With fewer, the file is refused.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_share(self.min_recognised)
        check_tables(self.gene_table, self.orthologs)


@settings(WHICH_GENES_THEY_ARE)
class ReadingOptions(GeneOptions, CountOptions):
    """Where counts and gene identifiers lie in a source, and what is allowed of them."""

    only_genes: Collection[str] | None = setting(
        default=None, options=None,
        text="Ensembl ids of the only genes that cells are ranked among, such as those that "
        "another data set measured too. By default, all genes of the file that the vocabulary has.",
    )  # fmt: skip
    attributes: Mapping[str, str] = setting(
        default_factory=dict, options=None,
        text="Columns of obs to carry over into the tokens, as {new name: column of obs}.",
    )  # fmt: skip
    n_threads: int | None = setting(
        default=None, options=None,
        text="The number of threads that read and encode. By default, and at most, it is the "
        "number of CPU cores that the process may use.",
    )  # fmt: skip
    chunk_cells: int = setting(
        default=2048, options=None, text="The number of cells that are read at once."
    )

    def __post_init__(self) -> None:
        GeneOptions.__post_init__(self)
        if self.n_threads is not None and self.n_threads < 1:
            raise SettingsError(
                f"n_threads is {self.n_threads}.",
                "A whole number, at least 1.",
                "Leave it out for as many as there are cores.",
            )

    @property
    def threads(self) -> int:
        """Threads to use on this machine."""
        return min(self.n_threads or usable_cores(), usable_cores())
