"""Identifiers that are not those of human genes, or stand elsewhere."""

from pathlib import Path

from tests.faults.bad_input import EMBED, BadInput
from tests.faults.cells import N_VARS, adata_of, counts, write

MOUSE_SYMBOLS = ("Gapdh", "Actb", "Cd3e", "Cd4", "Cd8a", "Lyz2", "Hbb-bs", "mt-Co1", "Ins2", "Alb")


def named(name):
    """Sound counts; the variable i is named by `name`."""

    def prepare(folder: Path) -> None:
        write(folder, names=[name(i) for i in range(N_VARS)])

    return prepare


def mouse_symbol(i: int) -> str:
    return MOUSE_SYMBOLS[i] if i < len(MOUSE_SYMBOLS) else f"Gm{10000 + i}"


def antibodies(folder: Path) -> None:
    adata = adata_of(counts())
    adata.var["feature_types"] = "Antibody Capture"
    adata.write_h5ad(folder / "pbmc.h5ad")


def table(content: str):
    def prepare(folder: Path) -> None:
        named(lambda i: f"XLOC_{i:06d}")(folder)
        (folder / "names.csv").write_text(content)

    return prepare


def sound(folder: Path) -> None:
    write(folder)


CASES = (
    BadInput(
        "mouse symbols",
        named(mouse_symbol),
        ("120 of 120", "of mouse", "Gapdh", "Human genes", "orthologs", "--gene-table"),
    ),
    BadInput(
        "mouse Ensembl ids",
        named(lambda i: f"ENSMUSG{i:011d}"),
        ("120 of 120", "of mouse", "ENSMUSG00000000000", "orthologs", "--gene-table"),
    ),
    BadInput(
        "a cell line of two species, mostly mouse (`GRCh38_…`, `mm10_…`)",
        named(lambda i: f"GRCh38_G{i + 1}" if i < 40 else f"mm10_Gene{i}"),
        ("80 of 120", "of mouse", "mm10_Gene40", "human variables and cells only"),
    ),
    BadInput(
        "names that nobody knows",
        named(lambda i: f"XLOC_{i:06d}"),
        ("None of 120", "XLOC_000000", "symbols of human genes", "--gene-ids"),
    ),
    BadInput(
        "Entrez numbers",
        named(lambda i: str(1000 + 7 * i)),
        ("None of 120", "1000", "Entrez", "--gene-table", "--gene-ids"),
    ),
    BadInput(
        "row numbers for names",
        named(str),
        ("None of 120", "row numbers", "--gene-ids", "Ensembl ids or symbols"),
    ),
    BadInput(
        "transcripts",
        named(lambda i: f"ENST{i:011d}.2"),
        ("None of 120", "ENST00000000000.2", "transcript", "Sum the counts of each gene"),
    ),
    BadInput(
        "probes of a microarray",
        named(lambda i: f"{200000 + i}_s_at"),
        ("None of 120", "200000_s_at", "probe", "--gene-table"),
    ),
    BadInput(
        "peaks of an ATAC experiment",
        named(lambda i: f"chr1:{1000 * i}-{1000 * i + 500}"),
        ("None of 120", "chr1:0-500", "genomic intervals", "peaks are no genes"),
    ),
    BadInput(
        "antibodies alone",
        antibodies,
        ("None of 120", "feature_types", "Gene Expression"),
    ),
    BadInput(
        "a file of which 25 % of the variables are known",
        named(lambda i: f"G{i + 1}" if i < 30 else f"XLOC_{i:06d}"),
        ("30 of 120", "25%", "at least 50%", "--gene-ids", "--min-recognised 0.25"),
    ),
    BadInput(
        "`--gene-ids` with a column that is not there",
        sound,
        ("no column 'ensembl'", "--gene-ids", "index"),
        f"{EMBED} --gene-ids ensembl",
    ),
    BadInput(
        "`--min-recognised 50`",
        sound,
        ("min_recognised is 50", "between 0 and 1", "--min-recognised 0.5"),
        f"{EMBED} --min-recognised 50",
    ),
    BadInput(
        "a gene table whose columns are not recognised",
        table("probe,target,chromosome\nXLOC_000001,G1,1\n"),
        ("names.csv", "probe, target, chromosome", "--identifier-column", "--ensembl-column"),
        f"{EMBED} --gene-table names.csv",
    ),
    BadInput(
        "a gene table without the column that is named",
        table("probe,ensembl_id\nXLOC_000001,ENSG00000000001\n"),
        ("no column 'name'", "probe, ensembl_id", "--identifier-column"),
        f"{EMBED} --gene-table names.csv --identifier-column name",
    ),
    BadInput(
        "a gene table of mouse ids",
        table("probe,ensembl_id\nXLOC_000001,ENSMUSG00000000001\n"),
        ("no human Ensembl gene id", "ENSMUSG00000000001", "ENSG00000141510", "--ensembl-column"),
        f"{EMBED} --gene-table names.csv",
    ),
    BadInput(
        "a gene table that is not there",
        sound,
        ("gene table nowhere.csv cannot be read", "header line", "--gene-table"),
        f"{EMBED} --gene-table nowhere.csv",
        varies=r"\[Errno 2\] .*?(?=\. Expected)",
    ),
    BadInput(
        "`--identifier-column` without `--gene-table`",
        sound,
        ("--identifier-column", "--gene-table"),
        f"{EMBED} --identifier-column symbol",
    ),
)
