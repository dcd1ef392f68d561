"""Cells of other species, by a table of orthologs: against human cells, and a plain re-statement.

No ortholog table may be shipped, so these are made here in the published layouts. The pairs of
human and mouse genes are real ones; which are in several pairs is stated at each.
"""

import csv
import gzip
import json
import logging
import pickle

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tests.conftest import shared_path

import rankformer
from rankformer import ReadingOptions, read_orthologs, tokenize_cells
from rankformer.checkpoints.model_folder import open_vocabulary
from rankformer.errors import GeneError, SettingsError
from rankformer.genes.map_genes import map_genes
from rankformer.genes.rules import GeneFate, GeneRule
from rankformer.runs.options import plain_reading
from rankformer.tokens.tokenize import open_tokens
from rankformer.vocabulary.vocabulary import Vocabulary

TP53, GAPDH, GSTM1, GSTM2 = (
    "ENSG00000141510",
    "ENSG00000111640",
    "ENSG00000134184",
    "ENSG00000213366",
)
INS, CYP = "ENSG00000254647", "ENSG00000140505"
TRP53, GAPDH_M = "ENSMUSG00000059552", "ENSMUSG00000057666"
INS1, INS2 = "ENSMUSG00000035804", "ENSMUSG00000000215"
GSTM_M, CYP_M = "ENSMUSG00000058135", "ENSMUSG00000032310"
# Human id and symbol, mouse id and symbol, support. INS has two mouse genes, Gstm1 two human ones.
PAIRS = (
    (TP53, "TP53", TRP53, "Trp53", 9),
    (GAPDH, "GAPDH", GAPDH_M, "Gapdh", 4),
    (INS, "INS", INS1, "Ins1", 5),
    (INS, "INS", INS2, "Ins2", 8),
    (GSTM1, "GSTM1", GSTM_M, "Gstm1", 7),
    (GSTM2, "GSTM2", GSTM_M, "Gstm1", 3),
    (CYP, "CYP1A2", CYP_M, "Cyp1a2", 6),
)
MEDIANS = {TP53: 0.5, GAPDH: 8.0, INS: 2.0, GSTM1: 1.25, GSTM2: 3.0}
SYMBOLS = {name: gene for gene, name, *_ in PAIRS}
MOUSE = (TRP53, GAPDH_M, INS1, INS2, GSTM_M, CYP_M, "ENSMUSG00000099999", "Gm12345")
TAKEN = {
    "one-to-one": {TRP53: TP53, GAPDH_M: GAPDH, CYP_M: CYP},
    "best": {TRP53: TP53, GAPDH_M: GAPDH, CYP_M: CYP, INS2: INS, GSTM_M: GSTM1},
    "summed": {TRP53: TP53, GAPDH_M: GAPDH, CYP_M: CYP, INS1: INS, INS2: INS, GSTM_M: GSTM1},
}


def write(path, header, rows, separator="\t"):
    text = "\n".join(separator.join(map(str, row)) for row in (header, *rows)) + "\n"
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def hcop(path, pairs=PAIRS):
    """As human_mouse_hcop_fifteen_column.txt: an unknown id is a dash."""
    header = (
        "human_entrez_gene", "human_ensembl_gene", "hgnc_id", "human_name", "human_symbol",
        "human_chr", "human_assert_ids", "mouse_entrez_gene", "mouse_ensembl_gene", "mgi_id",
        "mouse_name", "mouse_symbol", "mouse_chr", "mouse_assert_ids", "support",
    )  # fmt: skip
    rows = [
        ("-", human, "-", name, symbol, "1", "-", "-", mouse, "-", other, other, "1", "-",
         ",".join(f"Db{i}" for i in range(support)))
        for human, symbol, mouse, other, support in pairs for name in (symbol,)
    ]  # fmt: skip
    return write(path, header, [*rows, ("-",) * len(header)])


def hcop_of_all_species(path):
    """As human_all_hcop_sixteen_column.txt, with rows of rat among those of mouse."""
    header = (
        "ortholog_species", "human_entrez_gene", "human_ensembl_gene", "hgnc_id", "human_name",
        "human_symbol", "human_chr", "human_assert_ids", "ortholog_species_entrez_gene",
        "ortholog_species_ensembl_gene", "ortholog_species_db_id", "ortholog_species_name",
        "ortholog_species_symbol", "ortholog_species_chr", "ortholog_species_assert_ids",
        "support",
    )  # fmt: skip
    rat = (TP53, "TP53", "ENSRNOG00000010756", "Tp53", 9)
    rows = [
        ("10116" if mouse.startswith("ENSRNO") else "10090", "-", human, "-", "-", symbol, "1", "-",
         "-", mouse, "-", "-", other, "1", "-", ",".join("D" * support))
        for human, symbol, mouse, other, support in (*PAIRS, rat)
    ]  # fmt: skip
    return write(path, header, rows)


def biomart(path, pairs=PAIRS):
    """An export of human genes; genes without an ortholog have empty cells."""
    header = (
        "Gene stable ID", "Gene name", "Mouse gene stable ID", "Mouse gene name",
        "Mouse homology type", "%id. target Mouse gene identical to query gene",
        "%id. query gene identical to target Mouse gene",
        '"Mouse orthology confidence [0 low, 1 high]"',
    )  # fmt: skip
    rows = [
        (human, symbol, mouse, other, _type_of(human, mouse), 10 * support, 5 * support, 1)
        for human, symbol, mouse, other, support in pairs
    ]
    return write(path, header, [*rows, ("ENSG00000210049", "MT-TF", *[""] * 6)], ",")


def biomart_of_mouse(path):
    """An export of mouse genes with their human orthologs."""
    header = (
        "Gene stable ID", "Gene name", "Human gene stable ID", "Human gene name",
        "Human homology type", "%id. target Human gene identical to query gene",
        "Human orthology confidence [0 low, 1 high]",
    )  # fmt: skip
    rows = [
        (f"{mouse}.3", other, human, symbol, _type_of(human, mouse), 10 * support, 0)
        for human, symbol, mouse, other, support in PAIRS
    ]
    return write(path, header, rows)


def _type_of(human, mouse):
    is_single = sum(human == each[0] or mouse == each[2] for each in PAIRS) == 1
    return "ortholog_one2one" if is_single else "ortholog_one2many"


def mgi(path):
    """As HOM_MouseHumanSequence.rpt: classes of genes, symbols alone."""
    header = (
        "DB Class Key", "Common Organism Name", "NCBI Taxon ID", "Symbol", "EntrezGene ID",
        "Mouse MGI ID", "HGNC ID",
    )  # fmt: skip
    rows = []
    for key, names in enumerate(
        (("Trp53", "TP53"), ("Gapdh", "GAPDH"), ("Ins1", "Ins2", "INS"), ("Cyp1a2", "CYP1A2"))
    ):
        for name in names:
            is_human = name.isupper()
            species = ("human", "9606") if is_human else ("mouse, laboratory", "10090")
            rows.append((key, *species, name, "1", "" if is_human else "MGI:1", ""))
    return write(path, header, rows)


LAYOUTS = {
    "hcop.txt": hcop, "hcop.txt.gz": hcop, "all.txt": hcop_of_all_species, "mart.csv": biomart,
    "mart_mouse.txt": biomart_of_mouse,
}  # fmt: skip


@pytest.fixture(scope="module")
def human() -> Vocabulary:
    tokens = {"<pad>": 0, "<mask>": 1, **{gene: i for i, gene in enumerate(MEDIANS, 2)}}
    return Vocabulary.from_tables(tokens, MEDIANS, symbols=SYMBOLS, name="small")


def var_of(*names):
    return pd.DataFrame(index=pd.Index(list(names), dtype=object))


def genes_of(mapping):
    """Identifier → Ensembl id, of those that have one."""
    pairs = zip(mapping.identifiers, mapping.ensembl_ids, strict=True)
    return {name: gene for name, gene in pairs if gene is not None}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("choice", TAKEN)
def test_each_layout_gives_the_orthologs_that_were_chosen(tmp_path, human, layout, choice):
    table = read_orthologs(LAYOUTS[layout](tmp_path / layout), "Mouse", choice=choice)
    assert (table.species, table.choice, table.name) == ("mouse", choice, layout)
    mapping = map_genes(var_of(*MOUSE), human, orthologs=table)
    assert genes_of(mapping) == TAKEN[choice]
    assert mapping.species == "mouse"
    # CYP1A2 is an ortholog that this vocabulary does not have.
    assert mapping.fates[list(MOUSE).index(CYP_M)] == GeneFate.OUTSIDE
    assert mapping.fates[-1] == mapping.fates[-2] == GeneFate.NO_ORTHOLOG
    n_several = 5 - len(set(TAKEN[choice]) - {CYP_M})
    assert mapping.fate_counts[GeneFate.SEVERAL_ORTHOLOGS] == n_several


@pytest.mark.parametrize("choice", ["one-to-one", "summed"])
def test_the_table_of_mgi_goes_by_symbols_alone(tmp_path, human, choice):
    table = read_orthologs(mgi(tmp_path / "HOM_MouseHumanSequence.rpt"), "mouse", choice=choice)
    names = ("Trp53", "Gapdh", "Ins1", "Ins2", "Cyp1a2")
    mapping = map_genes(var_of(*names), human, orthologs=table)
    expected = {"Trp53": TP53, "Gapdh": GAPDH, "Cyp1a2": SYMBOLS["CYP1A2"]}
    if choice == "summed":
        expected |= {"Ins1": INS, "Ins2": INS}
    assert genes_of(mapping) == expected
    with pytest.raises(GeneError, match="none is of a gene in the vocabulary") as refused:
        map_genes(var_of(*MOUSE[:6]), human, orthologs=table)
    assert "MGI's has symbols alone" in refused.value.fix


@pytest.mark.parametrize(
    ("name", "gene", "rule"),
    [
        (f"{TRP53}.17", TP53, GeneRule.ORTHOLOG_OF_ID),
        (TRP53.lower(), TP53, GeneRule.ORTHOLOG_OF_ID),
        ("Trp53", TP53, GeneRule.ORTHOLOG_OF_NAME),
        ("trp53", TP53, GeneRule.ORTHOLOG_OF_NAME),
        ("mm10_Trp53", TP53, GeneRule.ORTHOLOG_OF_NAME),
        (f"Trp53_{TRP53}", TP53, GeneRule.ORTHOLOG_OF_ID),
    ],
)
def test_identifiers_of_mouse_are_found_as_human_ones_are(tmp_path, human, name, gene, rule):
    table = read_orthologs(hcop(tmp_path / "hcop.txt"), "mouse")
    row = map_genes(var_of(name, GAPDH_M), human, orthologs=table).report().iloc[0]
    assert (row.ensembl_id, row.rule, row.token) == (gene, rule, human.token_of[gene])


def test_names_in_capitals_are_not_taken_for_those_of_mouse(tmp_path, human):
    table = read_orthologs(hcop(tmp_path / "hcop.txt"), "mouse")
    mapping = map_genes(var_of("TRP53", TRP53, GAPDH_M, INS1), human, orthologs=table)
    assert mapping.ensembl_ids[0] is None


def test_of_equal_support_none_is_guessed(tmp_path, human):
    pairs = [(*pair[:4], 4) for pair in PAIRS]
    for choice, expected in (("best", {TP53, GAPDH, CYP}), ("summed", {TP53, GAPDH, CYP, INS})):
        path = hcop(tmp_path / f"{choice}.txt", pairs)
        mapping = map_genes(
            var_of(*MOUSE), human, orthologs=read_orthologs(path, "mouse", choice=choice)
        )
        assert set(genes_of(mapping).values()) == expected


def test_a_type_that_the_table_states_goes_before_the_pairs_that_are_left_in_it(tmp_path, human):
    """Of a table that was cut to INS and Ins2, one might think that they are one-to-one."""
    cut = [pair for pair in PAIRS if pair[3] != "Ins1"]
    mapping = map_genes(
        var_of(*MOUSE),
        human,
        orthologs=read_orthologs(biomart(tmp_path / "mart.csv", cut), "mouse"),
    )
    assert INS2 not in genes_of(mapping)


def counts_of(n_vars, seed=0):
    generator = np.random.default_rng(seed)
    return sparse.csr_matrix(generator.poisson(2.0, (40, n_vars)).astype(np.float32))


@pytest.mark.parametrize("choice", TAKEN)
def test_tokens_are_those_of_a_plain_re_statement(tmp_path, human, choice):
    counts = counts_of(len(MOUSE))
    cells = ad.AnnData(counts, var=var_of(*MOUSE))
    table = read_orthologs(hcop(tmp_path / "hcop.txt"), "mouse", choice=choice)
    found = tokenize_cells(cells, human, ReadingOptions(orthologs=table))
    expected = []
    for row in counts.toarray().astype(np.float64):
        values = dict.fromkeys(MEDIANS, 0.0)
        for name, count in zip(MOUSE, row, strict=True):
            gene = TAKEN[choice].get(name)
            if gene in values:
                values[gene] += count
        ranked = {g: x / row.sum() * 10_000 / MEDIANS[g] for g, x in values.items() if x}
        # Ties go by token.
        genes = sorted(ranked, key=lambda gene: (-round(ranked[gene], 9), human.token_of[gene]))
        expected.append([human.token_of[gene] for gene in genes])
    assert found.table["input_ids"].to_pylist() == expected


def test_human_cells_renamed_as_mouse_have_the_tokens_of_the_genes_that_are_one_to_one(tmp_path):
    """Blood cells with the genes of mini's vocabulary: three in four are given a mouse gene."""
    cells = ad.read_h5ad(shared_path("cells", "pbmc3k.h5ad"))[:200].copy()
    vocabulary = open_vocabulary("rankformer-mini")
    known = map_genes(cells.var, vocabulary, gene_ids="ensembl_id").ensembl_ids
    genes = [gene for gene in dict.fromkeys(known) if gene is not None]
    mouse_of = {gene: f"ENSMUSG{i:011d}" for i, gene in enumerate(genes) if i % 4}
    pairs = [(gene, "-", mouse, f"M{i}a", 3) for i, (gene, mouse) in enumerate(mouse_of.items())]
    # The first has a second mouse gene, so that it is not one-to-one.
    twice, *_ = mouse_of
    pairs.append((twice, "-", "ENSMUSG00000999999", "M0b", 3))
    symbols = {mouse: symbol for _, _, mouse, symbol, _ in pairs}
    table = read_orthologs(hcop(tmp_path / "hcop.txt", pairs), "mouse")
    cut = cells[:, [gene in mouse_of and gene != twice for gene in known]]
    expected = tokenize_cells(cut.copy(), vocabulary, ReadingOptions(gene_ids="ensembl_id"))
    ids = [mouse_of.get(gene, f"ENSMUSG09{i:09d}") for i, gene in enumerate(known)]
    for names in (ids, [f"{each}.2" for each in ids], [symbols.get(each, each) for each in ids]):
        renamed = ad.AnnData(cells.X, obs=cells.obs, var=var_of(*names))
        found = tokenize_cells(renamed, vocabulary, ReadingOptions(orthologs=table))
        assert found.table["input_ids"].equals(expected.table["input_ids"])


def test_what_was_kept_is_told_and_recorded(tmp_path, human, caplog):
    table = read_orthologs(hcop(tmp_path / "hcop.txt"), "mouse", choice="best")
    counts = sparse.csr_matrix(np.array([[1, 2, 3, 4, 5, 6, 7, 2]] * 3, np.float32))
    cells = ad.AnnData(counts, var=var_of(*MOUSE))
    with caplog.at_level(logging.INFO, "rankformer"):
        stream = open_tokens(cells, human, ReadingOptions(orthologs=table))
    genes = stream.provenance()["genes"]
    # Trp53, Gapdh, Ins2 and Gstm1 have 1 + 2 + 4 + 5 of 30 counts.
    assert genes["counts_kept"] == 0.4
    # Cyp1a2, of 6, has an ortholog too, which the vocabulary lacks.
    assert genes["counts_with_ortholog"] == 0.6
    assert genes["orthologs_in_vocabulary"] == round(2 / 3, 4)
    assert genes["orthologs"]["choice"] == "best"
    assert genes["orthologs"]["species"] == "mouse"
    assert len(genes["orthologs"]["table_sha256"]) == 64
    assert genes["fates"]["no human ortholog in the table"] == 2
    said = [each for each in caplog.records if "human orthologs" in each.getMessage()]
    assert "4 of 8 variables (50 %) and 40.0 % of the counts" in said[0].getMessage()
    assert "60.0 % of the counts are in human genes, and of these 66.7 %" in said[0].getMessage()
    assert said[0].levelno == logging.WARNING


def test_a_run_is_bound_to_the_table_and_the_choice(tmp_path):
    path = hcop(tmp_path / "hcop.txt")
    plain = [
        plain_reading(ReadingOptions(orthologs=read_orthologs(path, "mouse", choice=choice)))
        for choice in ("one-to-one", "best")
    ]
    hcop(path, PAIRS[:-1])
    plain.append(plain_reading(ReadingOptions(orthologs=read_orthologs(path, "mouse"))))
    assert [each["ortholog_choice"] for each in plain] == ["one-to-one", "best", "one-to-one"]
    assert plain[0]["orthologs"] == plain[1]["orthologs"] != plain[2]["orthologs"]
    assert "orthologs" not in plain_reading(ReadingOptions())


def test_a_table_goes_to_other_processes_as_it_is(tmp_path, human):
    table = read_orthologs(hcop(tmp_path / "hcop.txt"), "mouse", choice="summed")
    sent = pickle.loads(pickle.dumps(table))
    assert sent.told() == table.told()
    assert genes_of(map_genes(var_of(*MOUSE), human, orthologs=sent)) == TAKEN["summed"]


@pytest.mark.parametrize(
    "names",
    [(TP53, GAPDH, INS), (f"{TP53}.2", f"{GAPDH}.1", INS), ("TP53", "GAPDH", "INS", "GSTM1")],
)
def test_a_human_file_that_is_said_to_be_of_mouse_is_refused(tmp_path, human, names):
    table = read_orthologs(hcop(tmp_path / "hcop.txt"), "mouse")
    with pytest.raises(GeneError, match=r"are of human genes") as refused:
        map_genes(var_of(*names, "Gapdh"), human, orthologs=table)
    assert "--species" in refused.value.expected
    assert "Leave out species and orthologs" in refused.value.fix


def as_of_pig(path):
    """Symbols as human has them; of most genes HCOP lists several pairs, so few are one-to-one."""
    header = ("human_ensembl_gene", "human_symbol", "pig_ensembl_gene", "pig_symbol", "support")
    rows = [
        (human, symbol, f"ENSSSCG{i:011d}", symbol, "A,B" if i < 3 else "A")
        for i, (symbol, human) in enumerate(SYMBOLS.items())
    ]
    more = (GAPDH, "GAPDH", "ENSSSCG00000000099", "GAPDHS", "A")
    return write(path, header, [*rows, more, (INS, "INS", *more[2:4], "A")])


@pytest.mark.parametrize(("choice", "taken"), [("one-to-one", 4), ("best", 6), ("summed", 6)])
def test_symbols_that_a_species_shares_with_human_do_not_make_the_file_human(
    tmp_path, human, choice, taken
):
    table = read_orthologs(as_of_pig(tmp_path / "hcop.txt"), "pig", choice=choice)
    mapping = map_genes(var_of(*SYMBOLS), human, orthologs=table)
    assert len(genes_of(mapping)) == taken
    assert mapping.ensembl_ids[list(SYMBOLS).index("TP53")] == TP53


@pytest.mark.parametrize("names", [SYMBOLS.values(), [f"GRCh38_{each}" for each in SYMBOLS]])
def test_human_ids_that_are_said_to_be_of_pig_are_refused(tmp_path, human, names):
    table = read_orthologs(as_of_pig(tmp_path / "hcop.txt"), "pig")
    with pytest.raises(GeneError, match=r"are of human"):
        map_genes(var_of(*names), human, orthologs=table)


def test_the_advice_is_about_what_was_found(tmp_path, human):
    table = read_orthologs(hcop(tmp_path / "hcop.txt"), "mouse")
    with pytest.raises(GeneError) as of_ids:
        map_genes(var_of(TP53, GAPDH, INS), human, orthologs=table)
    with pytest.raises(GeneError) as of_symbols:
        map_genes(var_of("TP53", "GAPDH", "INS"), human, orthologs=table)
    assert "capitals" not in of_ids.value.fix
    assert "put into capitals" in of_symbols.value.fix
    assert "--save-reference" not in of_symbols.value.fix


def test_the_path_of_a_table_is_not_taken_for_the_table(tmp_path, human):
    path = hcop(tmp_path / "hcop.txt")
    cells = ad.AnnData(counts_of(len(MOUSE)), var=var_of(*MOUSE))
    for name, how in (("orthologs", "read_orthologs"), ("gene_table", "read_gene_table")):
        given = {name: str(path)}
        for call in (
            lambda given=given: map_genes(cells.var, human, **given),
            lambda given=given: rankformer.tl.embed(cells, model="rankformer-mini", **given),
        ):
            with pytest.raises(SettingsError, match=f"{name} is given as") as refused:
                call()
            assert how in refused.value.fix
    with pytest.raises(SettingsError, match="species is given as NoneType"):
        read_orthologs(path, None)


def test_symbols_of_the_species_of_an_export_are_not_taken_for_human_ones(tmp_path):
    """An export of pig genes, with the rat and the human genes beside them."""
    header = (
        "Gene stable ID", "Gene name", "Rat gene stable ID", "Rat gene name",
        "Human gene stable ID", "Human gene name",
    )  # fmt: skip
    row = ("ENSSSCG00000017950", "TP53", "ENSRNOG00000010756", "Tp53", TP53, "TP53")
    path = write(tmp_path / "pig.txt", header, [row])
    assert [(each.gene, each.human) for each in read_orthologs(path, "pig").pairs] == [
        (row[0], TP53)
    ]
    with pytest.raises(GeneError, match="no pair of a gene of rat and a human gene"):
        read_orthologs(path, "rat")


def test_genes_of_mgi_without_a_class_are_no_pairs(tmp_path):
    path = mgi(tmp_path / "mgi.rpt")
    path.write_text(
        path.read_text()
        + "\tmouse, laboratory\t10090\tAlone\t1\t-\t-\n\thuman\t9606\tSINGLE\t2\t-\t-\n"
    )
    genes = {pair.gene for pair in read_orthologs(path, "mouse").pairs}
    assert genes == {"Trp53", "Gapdh", "Ins1", "Ins2", "Cyp1a2"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_separator_at_the_end_of_each_row_moves_no_column(tmp_path, layout):
    plain = LAYOUTS[layout](tmp_path / layout)
    content = plain.read_bytes()
    text = (gzip.decompress(content) if plain.suffix == ".gz" else content).decode()
    separator = "\t" if "\t" in text else ","
    header, *rows = text.splitlines()
    ended = tmp_path / "ended.txt"
    ended.write_text("\n".join([header, *(row + separator for row in rows)]) + "\n")
    expected = read_orthologs(plain, "mouse")
    assert read_orthologs(ended, "mouse").pairs == expected.pairs


def test_a_row_with_more_fields_than_the_header_is_named(tmp_path):
    header, *rows = hcop(tmp_path / "hcop.txt").read_text().splitlines()
    (tmp_path / "more.txt").write_text("\n".join([header, *(row + "\tmore" for row in rows)]))
    with pytest.raises(GeneError, match="line 2 has 16 fields, and the header line has 15"):
        read_orthologs(tmp_path / "more.txt", "mouse")
    rows[1] += "\tmore"
    (tmp_path / "one.txt").write_text("\n".join([header, *rows]))
    with pytest.raises(GeneError, match="line 3"):
        read_orthologs(tmp_path / "one.txt", "mouse")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_that_was_cut_is_refused(tmp_path, layout):
    """Wherever its last row ends; one that only lacks the end of its last line is whole."""
    plain = LAYOUTS[layout](tmp_path / layout)
    content = plain.read_bytes()
    whole = gzip.decompress(content) if plain.suffix == ".gz" else content
    expected = read_orthologs(plain, "mouse").pairs
    separator = b"\t" if b"\t" in whole else b","
    start = whole.rstrip().rindex(b"\n") + 1
    for name in ("cut.txt", "cut.txt.gz"):
        file = tmp_path / name

        def put(data, file=file):
            file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
            return file

        assert read_orthologs(put(whole.rstrip(b"\n")), "mouse").pairs == expected
        for end in range(start + 1, start + whole[start:].rindex(separator) + 1):
            with pytest.raises(GeneError, match=r"^The table of orthologs \S+ was cut: it ends"):
                read_orthologs(put(whole[:end]), "mouse")


def test_a_gzipped_table_that_was_cut_is_refused(tmp_path):
    data = gzip.compress(hcop(tmp_path / "hcop.txt").read_bytes())
    for n_bytes in (len(data) - 1, len(data) - 20, len(data) // 2, 12):
        (tmp_path / "cut.txt.gz").write_bytes(data[:n_bytes])
        with pytest.raises(GeneError, match="cannot be read"):
            read_orthologs(tmp_path / "cut.txt.gz", "mouse")


def test_a_file_of_a_third_species_is_refused(tmp_path, human):
    table = read_orthologs(hcop(tmp_path / "hcop.txt"), "mouse")
    with pytest.raises(GeneError, match=r"2 of 2 identifiers in the index of var are of rat"):
        map_genes(var_of("ENSRNOG00000010756", "ENSRNOG00000000001"), human, orthologs=table)


def test_rat_is_taken_from_the_table_of_all_species(tmp_path, human):
    table = read_orthologs(hcop_of_all_species(tmp_path / "all.txt"), "rat")
    mapping = map_genes(var_of("ENSRNOG00000010756"), human, orthologs=table)
    assert genes_of(mapping) == {"ENSRNOG00000010756": TP53}


def test_without_a_table_the_refusal_says_how(human):
    with pytest.raises(GeneError) as refused:
        map_genes(var_of(*MOUSE), human)
    assert "--species SPECIES --orthologs TABLE" in refused.value.fix


def test_a_mouse_vocabulary_takes_no_human_orthologs(tmp_path):
    genes = (TRP53, GAPDH_M)
    tokens = {"<pad>": 0, "<mask>": 1, TRP53: 2, GAPDH_M: 3}
    mouse = Vocabulary.from_tables(tokens, dict.fromkeys(genes, 1.0), name="mouse")
    table = read_orthologs(hcop(tmp_path / "hcop.txt"), "mouse")
    with pytest.raises(GeneError, match="The vocabulary is of mouse"):
        map_genes(var_of(*genes), mouse, orthologs=table)


@pytest.mark.parametrize(
    ("layout", "species", "choice", "error", "match"),
    [
        (hcop, "human", "one-to-one", SettingsError, "human need no orthologs"),
        (hcop, "moose", "one-to-one", SettingsError, "No species 'moose' is known"),
        (hcop, "rat", "one-to-one", GeneError, "its ids are of human and mouse"),
        (mgi, "zebrafish", "one-to-one", GeneError, "no pair of a gene of zebrafish"),
        (mgi, "mouse", "best", SettingsError, "does not say how well its pairs are supported"),
        (hcop, "mouse", "all", SettingsError, "orthologs to be taken are 'all'"),
    ],
)
def test_what_a_table_cannot_give_is_an_error(tmp_path, layout, species, choice, error, match):
    with pytest.raises(error, match=match):
        read_orthologs(layout(tmp_path / "table.txt"), species, choice=choice)


def test_other_tables_are_told_by_their_header(tmp_path):
    path = write(tmp_path / "names.csv", ("symbol", "ensembl_id"), [("TP53", TP53)], ",")
    with pytest.raises(GeneError, match=r"not known as a table of orthologs.*symbol, ensembl_id"):
        read_orthologs(path, "mouse")
    with pytest.raises(GeneError, match=r"table of orthologs .* cannot be read"):
        read_orthologs(tmp_path / "nowhere.txt", "mouse")


def test_a_command_tells_both_shares_of_counts(command, tmp_path):
    """Of ten genes with as many counts, eight have orthologs, and two of these are unknown."""
    vocabulary = open_vocabulary("rankformer-mini")
    genes = [*vocabulary.ensembl_ids[:6], "ENSG00000999998", "ENSG00000999999"]
    pairs = [(gene, f"H{i}", f"ENSMUSG{i:011d}", f"M{i}a", 3) for i, gene in enumerate(genes)]
    path = hcop(tmp_path / "hcop.txt", pairs)
    cells = ad.AnnData(sparse.csr_matrix(np.ones((4, 10), np.float32)))
    cells.var_names = [f"ENSMUSG{i:011d}" for i in range(10)]
    cells.write_h5ad(tmp_path / "mouse.h5ad")
    words = [
        "embed", tmp_path / "mouse.h5ad", "-o", tmp_path / "out.h5ad", "-m", "rankformer-mini",
        "--species", "mouse", "--orthologs", path, "--overwrite",
    ]  # fmt: skip
    status, _, said = command(*words)
    assert status == 0
    assert (
        "of the counts, 80.0 % lie in genes with a human ortholog, and 75.0 % of these in genes of "
        "the model" in " ".join(said.split())
    )
    status, document, _ = command(*words, "--json")
    shares = {
        "counts_with_ortholog": 0.8, "orthologs_in_vocabulary": 0.75, "counts_kept": 0.6,
    }  # fmt: skip
    assert json.loads(document)["figures"]["inputs"][0].items() >= shares.items()
    told = ad.read_h5ad(tmp_path / "out.h5ad").uns["rankformer"]["X_geneformer"]
    (source,) = told["sources"].values()
    assert source["genes"].items() >= shares.items()


def test_the_gene_report_says_what_became_of_each_gene(tmp_path, small_adata):
    """By the command, with the options, and a run of the same cells under Helical's interface."""
    vocabulary = open_vocabulary("rankformer-mini")
    genes = vocabulary.ensembl_ids[:20]
    pairs = [(gene, f"H{i}", f"ENSMUSG{i:011d}", f"M{i}a", 3) for i, gene in enumerate(genes)]
    path = hcop(tmp_path / "hcop.txt", pairs)
    names = [f"ENSMUSG{i:011d}" for i in range(25)]
    cells = ad.AnnData(counts_of(len(names)), var=var_of(*names))
    cells.write_h5ad(tmp_path / "mouse.h5ad")
    from typer.testing import CliRunner

    from rankformer.cli import app

    words = [
        "tokenize", tmp_path / "mouse.h5ad", "-o", tmp_path / "tokens", "-m", "rankformer-mini",
        "--species", "mouse", "--orthologs", path, "--gene-report", tmp_path / "genes.csv",
    ]  # fmt: skip
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    with (tmp_path / "genes.csv").open() as stream:
        rules = [row["rule"] for row in csv.DictReader(stream)]
    assert rules == [str(GeneRule.ORTHOLOG_OF_ID)] * 20 + [""] * 5
    model = rankformer.Geneformer(rankformer.GeneformerConfig(model_name="rankformer-mini"))
    dataset = model.process_data(cells, orthologs=read_orthologs(path, "mouse"))
    saved = rankformer.TokenizedCells.load(tmp_path / "tokens")
    assert dataset["input_ids"] == saved.table["input_ids"].to_pylist()
