"""Tables that a user brings: HGNC, two columns, pyensembl."""

import gzip
import sys

import pandas as pd
import pytest
from tests.conftest import shared_path

from rankformer.errors import GeneError
from rankformer.genes.map_genes import map_genes
from rankformer.genes.rules import GeneFate, GeneRule
from rankformer.genes.tables import GeneTable, gene_table_from_pyensembl, read_gene_table
from rankformer.vocabulary.vocabulary import Vocabulary

TP53, GAPDH = "ENSG00000141510", "ENSG00000111640"
HGNC = (
    "hgnc_id\tsymbol\talias_symbol\tprev_symbol\tensembl_gene_id\n"
    f'HGNC:1\tTP53\t"p53|LFS1"\tOLD1\t{TP53}\n'
    f"HGNC:2\tGAPDH\tLFS1\t\t{GAPDH}\n"
    "HGNC:3\tNOID\tX|Y\t\t\n"
)


@pytest.fixture(scope="module")
def tiny() -> Vocabulary:
    tokens = {"<pad>": 0, "<mask>": 1, TP53: 2, GAPDH: 3}
    return Vocabulary.from_tables(tokens, {TP53: 1.0, GAPDH: 1.0}, name="tiny")


@pytest.mark.parametrize("name", ["hgnc.txt", "hgnc.tsv.gz"])
def test_hgnc_gives_approved_previous_and_alias_symbols(tmp_path, name):
    path = tmp_path / name
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as stream:
        stream.write(HGNC)
    table = read_gene_table(path)
    assert dict(table.symbols) == {"TP53": (TP53,), "GAPDH": (GAPDH,)}
    assert dict(table.previous) == {"OLD1": (TP53,)}
    assert dict(table.aliases) == {"p53": (TP53,), "LFS1": (TP53, GAPDH)}


def test_the_real_hgnc_table_holds_what_its_own_rows_say():
    path = shared_path("genes", "hgnc_slim.tsv.gz")
    rows = pd.read_csv(path, sep="\t", dtype=str).dropna(subset="ensembl_gene_id")
    table = read_gene_table(path)
    by_symbol = rows.set_index("symbol")["ensembl_gene_id"]
    assert dict(table.symbols) == {symbol: (gene,) for symbol, gene in by_symbol.items()}
    n_previous = rows["prev_symbol"].dropna().str.split("|").explode().nunique()
    assert len(table.previous) == n_previous


@pytest.mark.parametrize(
    "written",
    [TP53, f"{TP53}.17", f"{TP53}.17_PAR_Y", f"{TP53.lower()}_PAR_Y", "ENSGR0000141510",
     "ENSGR0000141510.5"],
)  # fmt: skip
def test_ids_are_read_in_each_way_that_they_are_written(tmp_path, written):
    """ENSGR is GENCODE's old way to write the copy on Y of a gene of X and Y."""
    (tmp_path / "names.tsv").write_text(f"symbol\tensembl_gene_id\nTP53\t{written}\n")
    assert dict(read_gene_table(tmp_path / "names.tsv").symbols) == {"TP53": (TP53,)}


@pytest.mark.parametrize("written", ["ENSMUSG00000059552", "ENSG0000014151", "ENSGR00000141510"])
def test_ids_of_other_species_and_of_another_length_are_none(tmp_path, written):
    lines = f"symbol\tensembl_gene_id\nA\t{written}\nB\t{TP53}\n"
    (tmp_path / "names.tsv").write_text(lines)
    assert dict(read_gene_table(tmp_path / "names.tsv").symbols) == {"B": (TP53,)}


@pytest.mark.parametrize("separator", [",", "\t"])
def test_two_columns_are_recognised_or_named(tmp_path, separator):
    path = tmp_path / "names.csv"
    rows = [("probe", "gene_name", "gene_id"), ("7_at", "TP53", f"{TP53}.17"), ("8_at", "", GAPDH)]
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    assert dict(read_gene_table(path).symbols) == {"TP53": (TP53,)}
    pair = tmp_path / "pair.csv"
    pair.write_text(f"human{separator}fish\n{TP53}{separator}tp53\n")
    assert dict(read_gene_table(pair).symbols) == {"tp53": (TP53,)}
    named = read_gene_table(path, identifier="probe", ensembl_id="gene_id")
    assert dict(named.symbols) == {"7_at": (TP53,), "8_at": (GAPDH,)}


def test_a_custom_table_maps_other_identifiers(tmp_path, tiny):
    path = tmp_path / "orthologs.csv"
    path.write_text(f"mouse,human\nTrp53,{TP53}\nENSMUSG00000057666,{GAPDH}\n")
    table = read_gene_table(path, identifier="mouse", ensembl_id="human")
    mapping = map_genes(pd.DataFrame(index=["Trp53", "ENSMUSG00000057666"]), tiny, gene_table=table)
    assert mapping.ensembl_ids.tolist() == [TP53, GAPDH]
    assert set(mapping.rules) == {GeneRule.TABLE_SYMBOL}


def test_an_alias_of_two_genes_is_ambiguous_in_a_file(tmp_path, tiny):
    path = tmp_path / "hgnc.txt"
    path.write_text(HGNC)
    var = pd.DataFrame(index=["LFS1", "P53", "OLD1"])
    mapping = map_genes(var, tiny, gene_table=read_gene_table(path))
    assert mapping.fates.tolist() == [GeneFate.AMBIGUOUS, GeneFate.MAPPED, GeneFate.MAPPED]


def test_missing_columns_are_named_with_those_that_are_there(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text(f"foo,bar,third\nTP53,{TP53},x\n")
    with pytest.raises(GeneError, match=r"known to be the identifier; it has foo, bar, third\."):
        read_gene_table(path)
    path.write_text("foo,bar\nTP53,7157\n")
    with pytest.raises(GeneError, match=r"known to be the ensembl_id; it has foo, bar\..*=…"):
        read_gene_table(path)
    path.write_text(f"foo,bar\nTP53,{TP53}\n")
    with pytest.raises(GeneError, match=r"no column 'baz'; it has foo, bar\..*identifier=…"):
        read_gene_table(path, identifier="baz", ensembl_id="bar")
    with pytest.raises(GeneError, match=r"holds no human Ensembl gene id \(it has TP53\)"):
        read_gene_table(path, identifier="bar", ensembl_id="foo")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("absent.tsv", None),
        ("empty.tsv", b""),
        ("not_gzip.tsv.gz", HGNC.encode()),
        ("cut.tsv.gz", gzip.compress(HGNC.encode())[:-20]),
        ("binary.tsv", bytes(range(256))),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GeneError, match=name):
        read_gene_table(path)


# pyensembl


@pytest.fixture
def genome(tmp_path):
    pyensembl = pytest.importorskip("pyensembl", reason='needs pip install "rankformer[genes]"')
    gtf = tmp_path / "small.gtf"
    gtf.write_text(
        "".join(
            "\t".join(["17", "havana", feature, "101", "200", ".", "+", ".", attributes(i, *gene)])
            + "\n"
            for i, gene in enumerate([("TP53", TP53), ("NEWNAME", GAPDH)])
            for feature in ("gene", "transcript", "exon")
        )
    )
    return pyensembl.Genome(
        reference_name="small",
        annotation_name="small",
        gtf_path_or_url=str(gtf),
        cache_directory_path=str(tmp_path / "cache"),
    )


def attributes(i: int, symbol: str, gene_id: str) -> str:
    return (
        f'gene_id "{gene_id}"; gene_name "{symbol}"; gene_biotype "protein_coding"; '
        f'transcript_id "ENST0000000000{i}"; transcript_name "{symbol}-1"; '
        f'transcript_biotype "protein_coding"; exon_number "1"; exon_id "ENSE{i}";'
    )


def test_pyensembl_names_answer_after_the_vocabularys(genome, tiny):
    genome.index()
    table = gene_table_from_pyensembl(genome)
    assert dict(table.symbols) == {"TP53": (TP53,), "NEWNAME": (GAPDH,)}

    var = pd.DataFrame(index=["NEWNAME", "tp53"])
    with pytest.raises(GeneError, match="None of 2"):
        map_genes(var, tiny)
    mapping = map_genes(var, tiny, pyensembl_genome=genome)
    assert mapping.ensembl_ids.tolist() == [GAPDH, TP53]
    assert set(mapping.rules) == {GeneRule.PYENSEMBL}

    named = GeneTable.from_columns(["NEWNAME"], [TP53])
    both = map_genes(var, tiny, gene_table=named, pyensembl_genome=genome)
    assert both.ensembl_ids.tolist() == [TP53, TP53]


def test_a_database_that_is_not_there_is_not_fetched(genome, tmp_path, monkeypatch):
    with pytest.raises(GeneError, match=r"cannot be read.*genome\.index\(\)"):
        gene_table_from_pyensembl(genome)
    import pyensembl

    monkeypatch.setenv("PYENSEMBL_CACHE_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(GeneError, match="its files are not on this machine"):
        gene_table_from_pyensembl(pyensembl.EnsemblRelease(111))


def test_a_missing_pyensembl_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyensembl", None)
    with pytest.raises(GeneError, match=r'pip install "pyensembl>='):
        gene_table_from_pyensembl(object())


def test_biotypes_and_ids_of_any_species_are_read(tmp_path):
    path = tmp_path / "genes.tsv"
    path.write_text(
        "gene_id\tgene_name\tgene_biotype\nENSMUSG00000059552.2\tTrp53\tprotein_coding\n"
    )
    with pytest.raises(GeneError, match="holds no human Ensembl gene id"):
        read_gene_table(path)
    table = read_gene_table(path, any_species=True)
    assert dict(table.symbols) == {"Trp53": ("ENSMUSG00000059552",)}
    assert dict(table.biotypes) == {"ENSMUSG00000059552": "protein_coding"}
