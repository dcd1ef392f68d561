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


HCOP = "human_ensembl_gene\thuman_symbol\tmouse_ensembl_gene\tmouse_symbol\tsupport\n"
TRP53 = "ENSG00000141510\tTP53\tENSMUSG00000059552\tTrp53\tOMA,Panther\n"
OF_MOUSE = f"{EMBED} --species mouse --orthologs hcop.txt"


def orthologs(content: str = HCOP + TRP53, name=None):
    """A table of orthologs, beside sound counts of human genes unless `name` says otherwise."""

    def prepare(folder: Path) -> None:
        (named(name) if name else sound)(folder)
        (folder / "hcop.txt").write_text(content)

    return prepare


ORTHOLOG_CASES = (
    BadInput(
        "a human file with `--species mouse`",
        orthologs(),
        ("120 of 120", "of human genes", "Genes of mouse", "Leave out species and orthologs"),
        OF_MOUSE,
    ),
    BadInput(
        "a rat file with `--species mouse`",
        orthologs(name=lambda i: f"ENSRNOG{i:011d}"),
        ("120 of 120", "of rat", "Genes of mouse", "Name the species"),
        OF_MOUSE,
    ),
    BadInput(
        "a mouse file, and a table of orthologs that has none of its genes",
        orthologs(name=lambda i: f"ENSMUSG{i:011d}"),
        ("120 of 120", "none is of a gene in the vocabulary", "hcop.txt is the whole table"),
        OF_MOUSE,
    ),
    BadInput(
        "`--species` without `--orthologs`",
        sound,
        ("--species was given without --orthologs", "Pass both"),
        f"{EMBED} --species mouse",
    ),
    BadInput(
        "`--ortholog-choice` without `--species`",
        sound,
        ("--ortholog-choice was given without --species", "Pass both"),
        f"{EMBED} --ortholog-choice best",
    ),
    BadInput(
        "`--species human`",
        orthologs(),
        ("human need no orthologs", "mouse, rat", "--species"),
        f"{EMBED} --species human --orthologs hcop.txt",
    ),
    BadInput(
        "a species that has no such name",
        orthologs(),
        ("No species 'mus' is known", "mouse, rat", "--species"),
        f"{EMBED} --species mus --orthologs hcop.txt",
    ),
    BadInput(
        "a table of orthologs of another species than is named",
        orthologs(),
        ("no pair of a gene of rat", "of human and mouse", "--species"),
        f"{EMBED} --species rat --orthologs hcop.txt",
    ),
    BadInput(
        "a table of orthologs with columns that nobody knows",
        orthologs("mouse,human\nTrp53,TP53\n"),
        ("hcop.txt is not known as a table of orthologs", "mouse, human", "HCOP's", "MGI's"),
        OF_MOUSE,
    ),
    BadInput(
        "a table of orthologs with more fields in a row than in the header line",
        orthologs(HCOP + TRP53.replace("\n", "\tmore\n")),
        ("line 2 has 6 fields", "header line has 5", "Correct this row"),
        OF_MOUSE,
    ),
    BadInput(
        "a table of orthologs that was cut as it was downloaded",
        orthologs(HCOP + TRP53 + TRP53[:30]),
        ("hcop.txt was cut", "3 of the 5 fields", "Download the table again"),
        OF_MOUSE,
    ),
    BadInput(
        "a table of orthologs that is not there",
        sound,
        ("table of orthologs hcop.txt cannot be read", "--orthologs"),
        OF_MOUSE,
        varies=r"\[Errno 2\] .*?(?=\. Expected)",
    ),
    BadInput(
        "the best supported orthologs, and a table that does not say which these are",
        orthologs(HCOP + TRP53.replace("OMA,Panther", "")),
        ("best supported orthologs", "does not say", "one-to-one or summed"),
        f"{OF_MOUSE} --ortholog-choice best",
    ),
    BadInput(
        "orthologs for a vocabulary, and no human genes that they stand for",
        orthologs(),
        ("no human genes are named", "--names-from", "--species"),
        "vocabulary build pbmc.h5ad -o v.parquet --species mouse --orthologs hcop.txt",
    ),
)

CASES = (
    BadInput(
        "mouse symbols",
        named(mouse_symbol),
        ("120 of 120", "of mouse", "Gapdh", "Human genes", "--species SPECIES --orthologs TABLE"),
    ),
    BadInput(
        "mouse Ensembl ids",
        named(lambda i: f"ENSMUSG{i:011d}"),
        ("120 of 120", "of mouse", "ENSMUSG00000000000", "--orthologs", "--gene-table"),
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
    *ORTHOLOG_CASES,
)
