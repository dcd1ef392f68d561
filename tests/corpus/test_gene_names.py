"""Which names a new vocabulary keeps: told by hand."""

from tests.conftest import small_vocabulary

from rankformer.corpus.gene_names import choose_names, names_in_table
from rankformer.genes.tables import GeneTable

A, B, C = (f"ENSG0000000000{i}" for i in (1, 2, 3))


def test_the_most_common_name_is_the_symbol_and_the_others_are_aliases():
    symbols, aliases = choose_names({A: {"OLD": 10, "New": 11}, B: {"Y": 5, "X": 5}})
    assert symbols == {"New": A, "X": B}
    assert aliases == {"OLD": A, "Y": B}


def test_a_symbol_of_two_genes_is_not_guessed():
    symbols, aliases = choose_names({A: {"TBCE": 9}, B: {"TBCE": 1}, C: {"FINE": 1}})
    assert (symbols, aliases) == ({"FINE": C}, {})


def test_an_alias_that_another_gene_has_as_symbol_or_alias_is_left_out():
    met = {A: {"ONE": 9, "TWO": 1, "old": 1}, B: {"TWO": 9, "OLD": 1, "own": 1}}
    assert choose_names(met) == ({"ONE": A, "TWO": B}, {"OWN": B})


def test_known_names_stand_as_they_are_and_go_before_those_met():
    known = small_vocabulary(n_genes=3)
    met = {A: {"NEW1": 9}, B: {"G3": 9, "ALIAS3": 9}, C: {"G3": 2}, "ENSG99999999999": {"G1": 5}}
    symbols, aliases = choose_names(met, known)
    assert symbols == dict(known.symbols)
    assert aliases == {**known.aliases, "NEW1": A}


def test_a_table_is_a_vocabulary_of_names():
    table = GeneTable(
        {"G1": (A,), "G2": (B,), "BOTH": (A, B)}, {"PREV": (A,)}, {"ALIAS": (A, B), "G2": (A,)}, "t"
    )
    names = names_in_table(table)
    assert names.ensembl_ids == (A, B)
    assert (dict(names.symbols), dict(names.aliases)) == ({"G1": A, "G2": B}, {"PREV": A})
