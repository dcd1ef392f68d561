"""The tables of genes that a caller passes: that they are tables, and not paths of such."""

from rankformer.errors import expect_type


def check_tables(gene_table: object, orthologs: object) -> None:
    """Raise where a table that was given is none; None is one that was not given.

    Raises
    ------
    SettingsError
        If so.
    """
    if gene_table is not None:
        from rankformer.genes.tables import GeneTable

        expect_type(
            gene_table, GeneTable, "gene_table", "A GeneTable.",
            "Read the file first: gene_table=read_gene_table(path).",
        )  # fmt: skip
    if orthologs is not None:
        from rankformer.genes.orthologs import OrthologTable

        expect_type(
            orthologs, OrthologTable, "orthologs", "An OrthologTable.",
            "Read the file first: orthologs=read_orthologs(path, species).",
        )  # fmt: skip
