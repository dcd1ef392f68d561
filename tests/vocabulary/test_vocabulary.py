"""Vocabularies: the published tables, their formats, damage, and files that would run code."""

import pickle
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.conftest import shared_path, small_vocabulary
from tests.damage import (
    PAYLOADS,
    TABLES,
    flip_byte,
    largest_file,
    little_memory,
    payloads,
    tables_of,
    write_tables,
)

from rankformer.checkpoints.registry import V1, V2
from rankformer.errors import OutputError, RankformerError, VocabularyError
from rankformer.names import few_names
from rankformer.vocabulary.files import VOCABULARY_FILE
from rankformer.vocabulary.vocabulary import Vocabulary

QUICK = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def content(vocabulary: Vocabulary) -> tuple:
    return (
        vocabulary.ensembl_ids, vocabulary.tokens.tolist(), vocabulary.medians.tolist(),
        dict(vocabulary.special_tokens), vocabulary.input_length,
        dict(vocabulary.symbols), dict(vocabulary.aliases),
    )  # fmt: skip


# The published tables. Figures of the facts page, section 2.


@pytest.mark.parametrize(
    ("series", "n_genes", "special", "input_length", "n_symbols", "n_mapped"),
    [
        ("v1", 25_424, {"<pad>": 0, "<mask>": 1}, 2048, 40_248, 25_424),
        ("v2", 20_271, {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3}, 4096, 63_675, 173_697),
    ],
)
def test_published_tables(request, series, n_genes, special, input_length, n_symbols, n_mapped):
    vocabulary = request.getfixturevalue(series)

    assert len(vocabulary.ensembl_ids) == n_genes
    assert vocabulary.special_tokens == special
    assert vocabulary.tokens[0] == len(special)
    assert vocabulary.size == n_genes + len(special)
    assert vocabulary.input_length == input_length
    assert vocabulary.n_frame_tokens == len(special) - 2
    assert (vocabulary.cls_token, vocabulary.eos_token) == (
        special.get("<cls>"),
        special.get("<eos>"),
    )
    assert len(vocabulary.symbols) == n_symbols
    # Some keys may differ in case only.
    assert n_mapped * 0.999 < len(vocabulary.aliases) <= n_mapped


def test_the_releases_share_genes_but_hardly_any_token(v1, v2):
    tokens = [{**each.special_tokens, **each.token_of} for each in (v1, v2)]
    shared = tokens[0].keys() & tokens[1].keys()

    # <pad> and <mask> are two of either figure.
    assert len(shared) == 19_625
    assert sum(tokens[0][name] == tokens[1][name] for name in shared) == 193


def test_tiny_medians_are_kept_as_published(v2):
    assert np.sum(v2.medians < 0.01) == 55
    assert 6.5e-7 < v2.medians.min() < 7.5e-7


def test_genes_that_v2_lacks_are_still_known_by_name(v2):
    for symbol in ("MALAT1", "XIST"):
        assert v2.symbols[symbol] not in v2.token_of


@pytest.mark.parametrize(("series", "release"), [("v1", V1), ("v2", V2)])
def test_published_tables_are_the_registrys_releases(request, series, release):
    vocabulary = request.getfixturevalue(series)

    assert vocabulary.sha256 == release.sha256
    assert (vocabulary.size, vocabulary.input_length) == (release.size, release.input_length)


@pytest.mark.parametrize("series", ["v1", "v2"])
def test_tokens_and_medians_equal_the_pickles_entry_by_entry(request, series):
    """The trusted files, read by the plain unpickler."""
    vocabulary = request.getfixturevalue(series)
    [tokens] = shared_path("geneformer", series).glob("token_dictionary*")
    [medians] = shared_path("geneformer", series).glob("gene_median_dictionary*")
    tokens, medians = (pickle.loads(file.read_bytes()) for file in (tokens, medians))

    assert {**vocabulary.special_tokens, **vocabulary.token_of} == tokens
    for gene, token in vocabulary.token_of.items():
        assert vocabulary.median_of_token[token] == medians[gene]
        assert vocabulary.ensembl_id_of[token] == gene


def test_published_tables_survive_our_format(v2, tmp_path):
    again = Vocabulary.load(v2.save(tmp_path))

    assert content(again) == content(v2)
    assert again.sha256 == v2.sha256
    assert (tmp_path / VOCABULARY_FILE).stat().st_size < 4_000_000


# Formats.


@pytest.mark.parametrize("suffix", ["_gc30M.pkl", ".pkl", ".json", "_gc30M.json"])
def test_every_format_gives_the_same_vocabulary(vocabulary, tmp_path, suffix):
    tables = tables_of(vocabulary)
    loaded = Vocabulary.load(write_tables(tmp_path, tables, suffix))

    assert content(loaded)[:4] == content(vocabulary)[:4]
    assert content(loaded)[5:] == content(vocabulary)[5:]
    assert loaded.sha256 == vocabulary.sha256


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16])
def test_numpy_scalars_are_read_as_published(vocabulary, tmp_path, dtype):
    tables = tables_of(vocabulary)
    tables["token_dictionary"] = {k: dtype(v) for k, v in tables["token_dictionary"].items()}
    medians = tables["gene_median_dictionary"]
    tables["gene_median_dictionary"] = {k: np.float64(v) for k, v in medians.items()}

    assert Vocabulary.load(write_tables(tmp_path, tables)).sha256 == vocabulary.sha256


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickle_protocols_of_python_3_are_read(vocabulary, tmp_path, protocol):
    tables = tables_of(vocabulary)
    write_tables(tmp_path, tables)
    medians = {k: np.float64(v) for k, v in tables["gene_median_dictionary"].items()}
    file = tmp_path / "gene_median_dictionary_gc30M.pkl"
    file.write_bytes(pickle.dumps(medians, protocol=protocol))

    assert Vocabulary.load(tmp_path).sha256 == vocabulary.sha256


def test_symbols_and_aliases_may_be_absent(vocabulary, tmp_path):
    tables = tables_of(vocabulary)
    loaded = Vocabulary.load(write_tables(tmp_path, {key: tables[key] for key in TABLES[:2]}))

    assert loaded.sha256 == vocabulary.sha256
    assert not loaded.symbols
    assert not loaded.aliases


def test_our_format_keeps_everything(vocabulary, tmp_path):
    path = vocabulary.save(tmp_path / "mine.parquet")
    loaded = Vocabulary.load(path)

    assert content(loaded) == content(vocabulary)
    assert loaded.name == vocabulary.name
    assert loaded.symbol_of == vocabulary.symbol_of
    assert [each.name for each in tmp_path.iterdir()] == ["mine.parquet"]


def test_a_folder_of_two_releases_is_chosen_from_by_size(tmp_path):
    small, large = small_vocabulary(special=False), small_vocabulary(special=True)
    write_tables(tmp_path, tables_of(small), "_gc30M.pkl")
    write_tables(tmp_path, tables_of(large), "_gc95M.pkl")

    assert Vocabulary.load(tmp_path, size=202).sha256 == small.sha256
    assert Vocabulary.load(tmp_path, size=204).sha256 == large.sha256
    with pytest.raises(VocabularyError, match=r"2 release.*gc30M: 202 tokens, gc95M: 204 tokens"):
        Vocabulary.load(tmp_path)
    with pytest.raises(VocabularyError, match="One of 999 tokens"):
        Vocabulary.load(tmp_path, size=999)


def test_equal_releases_are_no_choice(vocabulary, tmp_path):
    """The hub holds the same tables as gc95M and gc104M."""
    for suffix in ("_gc95M.pkl", "_gc104M.pkl"):
        write_tables(tmp_path, tables_of(vocabulary), suffix)

    assert Vocabulary.load(tmp_path).sha256 == vocabulary.sha256


# The hash decides what a vocabulary is.

_GENES = [f"ENSG{i:011d}" for i in range(12)]


@given(order=st.permutations(range(12)))
def test_the_hash_does_not_depend_on_the_order_of_the_tables(order):
    tokens = {gene: i + 2 for i, gene in enumerate(_GENES)}
    special = {"<pad>": 0, "<mask>": 1}
    medians = dict.fromkeys(_GENES, 1.5)
    shuffled = {_GENES[i]: tokens[_GENES[i]] for i in order}

    plain = Vocabulary.from_tables({**special, **tokens}, medians)
    assert Vocabulary.from_tables({**shuffled, **special}, medians).sha256 == plain.sha256


def _swap_two_tokens(tables):
    tokens = tables["token_dictionary"]
    a, b = list(tokens)[-2:]
    tokens[a], tokens[b] = tokens[b], tokens[a]


def _last_bit_of_a_median(tables):
    gene = next(iter(tables["gene_median_dictionary"]))
    medians = tables["gene_median_dictionary"]
    medians[gene] = float(np.nextafter(medians[gene], 1))


def _drop_the_last_gene(tables):
    tables["token_dictionary"].popitem()


def _swap_pad_and_mask(tables):
    tables["token_dictionary"].update({"<pad>": 1, "<mask>": 0})


def _rename_a_gene(tables):
    for name in TABLES[:2]:
        last, value = tables[name].popitem()
        tables[name][last[:-1] + "X"] = value


@pytest.mark.parametrize(
    "change",
    [
        _swap_two_tokens, _last_bit_of_a_median, _drop_the_last_gene, _swap_pad_and_mask,
        _rename_a_gene,
    ],
)  # fmt: skip
def test_the_hash_sees_every_change_of_meaning(vocabulary, tmp_path, change):
    tables = tables_of(vocabulary)
    change(tables)

    assert Vocabulary.load(write_tables(tmp_path, tables)).sha256 != vocabulary.sha256


# Tables that cannot be a vocabulary.


@pytest.mark.parametrize(
    ("tokens", "medians", "sentence"),
    [
        ({"<pad>": 0, "<mask>": 1, "A": 2}, {}, "1 genes .* have a token but no median, A"),
        ({"<pad>": 0, "<mask>": 1, "A": 2}, {"A": 0.0}, "no positive median: A"),
        ({"<pad>": 0, "<mask>": 1, "A": 2}, {"A": float("nan")}, "no positive median: A"),
        ({"<pad>": 0, "<mask>": 1, "A": 2}, {"A": float("inf")}, "no positive median: A"),
        ({"<pad>": 0, "<mask>": 1, "A": 2}, {"A": -1.0}, "no positive median: A"),
        ({"<pad>": 0, "<mask>": 1, "A": 2}, {"A": "many"}, "not all numbers"),
        ({"<pad>": 0, "<mask>": 1, "A": 2, "B": 2}, {"A": 1, "B": 1}, "not unique"),
        ({"<pad>": 0, "<mask>": 1, "A": 1}, {"A": 1}, "not unique"),
        ({"<pad>": 0, "<mask>": 1, "A": -2}, {"A": 1}, "not whole numbers from 0 on: A"),
        ({"<pad>": 0, "<mask>": 1, "A": 2.5}, {"A": 1}, "not whole numbers from 0 on: A"),
        ({"<pad>": 0, "<mask>": 1, "A": float("nan")}, {"A": 1}, "not whole numbers"),
        ({"<pad>": 0, "<mask>": 1, "A": 2**31}, {"A": 1}, "not whole numbers from 0 on: A"),
        ({"<pad>": 0, "<mask>": 1, "A": None}, {"A": 1}, "not whole numbers"),
        ({"<pad>": 0, "A": 2}, {"A": 1}, "special tokens <pad>"),
        ({"<pad>": 0, "<mask>": 1}, {}, "not unique"),
        ({}, {}, "not unique"),
    ],
)
def test_impossible_tables_are_refused(tokens, medians, sentence):
    with pytest.raises(VocabularyError, match=sentence):
        Vocabulary.from_tables(tokens, medians)


def test_a_vocabulary_checks_itself_however_it_is_made(vocabulary):
    with pytest.raises(VocabularyError, match="no positive median"):
        replace(vocabulary, medians=vocabulary.medians * 0)


@pytest.mark.parametrize(
    "table",
    [
        ["a", "list"],
        {"ENSG00000000001": "two"},
        {7: 2},
        {"<pad>": 0.0, "<mask>": 1.0, "ENSG00000000001": 2.0},
        {"ENSG00000000001": np.timedelta64(4, "s")},
        "text",
        None,
    ],
    ids=repr,
)
def test_a_token_dictionary_of_something_else_is_named(vocabulary, tmp_path, table):
    write_tables(tmp_path, tables_of(vocabulary))
    (tmp_path / "token_dictionary_gc30M.pkl").write_bytes(pickle.dumps(table))

    with pytest.raises(VocabularyError, match="gc30M"):
        Vocabulary.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "could not be read"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 788424\n", "Git LFS"),
        (b"<!DOCTYPE html><html>Not found</html>", "could not be read"),
        (b"\x80\x04", "could not be read"),
        (b"[" * 100_000, "could not be read"),
    ],
    ids=["empty", "git-lfs", "html", "cut", "brackets"],
)
@pytest.mark.parametrize("suffix", [".pkl", ".json"])
def test_files_that_are_no_tables(vocabulary, tmp_path, content, sentence, suffix):
    write_tables(tmp_path, tables_of(vocabulary), suffix)
    (tmp_path / f"token_dictionary{suffix}").write_bytes(content)

    with pytest.raises(VocabularyError, match=sentence):
        Vocabulary.load(tmp_path)


def test_no_vocabulary_is_told_from_none_there(tmp_path, vocabulary):
    with pytest.raises(VocabularyError, match="There is no vocabulary at"):
        Vocabulary.load(tmp_path / "nowhere")
    with pytest.raises(VocabularyError, match="holds no vocabulary"):
        Vocabulary.load(tmp_path)
    tables = tables_of(vocabulary)
    write_tables(tmp_path, {"token_dictionary": tables["token_dictionary"]})
    with pytest.raises(VocabularyError, match="with gene_median_dictionary"):
        Vocabulary.load(tmp_path)


# Pickles that would run code.


def test_the_payloads_work_where_they_are_believed(tmp_path):
    """Else the next test could not fail."""
    believed = []
    for name, payload in payloads(tmp_path / "marker").items():
        with suppress(Exception):
            pickle.loads(payload)
        if (tmp_path / "marker").exists():
            (tmp_path / "marker").unlink()
            believed.append(name)

    assert set(believed) >= {*PAYLOADS} - {"attribute of an allowed module"}


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("table", TABLES)
def test_no_dictionary_runs_code(tmp_path, name, table):
    marker = tmp_path / "marker"
    write_tables(tmp_path, tables_of(small_vocabulary()))
    (tmp_path / f"{table}_gc30M.pkl").write_bytes(payloads(marker)[name])

    with pytest.raises(VocabularyError, match="nothing else is unpickled"):
        Vocabulary.load(tmp_path)
    assert not marker.exists()


# Damage: any cut or changed byte is told, or changes nothing.


@pytest.fixture(scope="module")
def small_files(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("small")
    vocabulary = small_vocabulary(n_genes=20)
    tables = tables_of(vocabulary)
    medians = tables["gene_median_dictionary"]
    tables["gene_median_dictionary"] = {k: np.float64(v) for k, v in medians.items()}
    write_tables(folder, tables)
    vocabulary.save(folder)
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def _load_or_error(folder: Path) -> Vocabulary | None:
    try:
        with little_memory():
            return Vocabulary.load(folder)
    except RankformerError as error:
        return None if error.found and error.fix else pytest.fail("says nothing")


@QUICK
@given(data=st.data())
def test_a_cut_file_is_told(small_files, tmp_path, data):
    name = data.draw(st.sampled_from(sorted(small_files)))
    length = data.draw(st.integers(0, len(small_files[name]) - 1))
    folder = _lay(tmp_path, small_files, name, small_files[name][:length])

    assert _load_or_error(folder) is None


def test_a_changed_byte_of_our_file_changes_nothing_or_is_told(small_files, tmp_path):
    """Drawn evenly: hypothesis prefers both ends of a file."""
    sound, expected = small_files[VOCABULARY_FILE], content(small_vocabulary(n_genes=20))
    rng = np.random.default_rng(0)
    file = tmp_path / VOCABULARY_FILE
    told = 0
    for place, change in zip(rng.random(800), rng.integers(1, 256, 800), strict=True):
        file.write_bytes(flip_byte(sound, place, int(change)))
        loaded = _load_or_error(tmp_path)
        assert loaded is None or content(loaded) == expected, (place, change)
        told += loaded is None
    assert told > 300


def test_an_edited_setting_is_refused(vocabulary, tmp_path):
    import pyarrow.parquet as pq

    path = vocabulary.save(tmp_path)
    table = pq.read_table(path)
    metadata = {
        key: value.replace(b'"input_length": 64', b'"input_length": 65')
        for key, value in table.schema.metadata.items()
    }
    pq.write_table(table.replace_schema_metadata(metadata), path)

    with pytest.raises(VocabularyError, match="settings were changed"):
        Vocabulary.load(path)


def test_columns_of_another_kind_are_refused(vocabulary, tmp_path):
    import pyarrow.parquet as pq

    path = vocabulary.save(tmp_path)
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "token", table["token"].cast("int64")), path)

    with pytest.raises(VocabularyError, match="has the columns"):
        Vocabulary.load(path)


@settings(QUICK, max_examples=400)
@given(
    name=st.sampled_from([f"{each}_gc30M.pkl" for each in TABLES]),
    place=st.floats(0, 1, exclude_max=True),
    change=st.integers(1, 255),
)
@example(name="token_dictionary_gc30M.pkl", place=0.0, change=255)
def test_a_changed_byte_of_a_pickle_never_ends_in_another_error(
    small_files, tmp_path, name, place, change
):
    """Tokens and medians may change: that is the checkpoint's binding to see."""
    _load_or_error(_lay(tmp_path, small_files, name, flip_byte(small_files[name], place, change)))


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("O8", "<"),
        ("V99999999", "|"),
        ("f8,f8", "<"),
        ("S8", "|"),
        ("f8", "x"),
        ("M8", "<"),
        (8, "<"),
    ],
)
def test_numbers_of_a_damaged_type_are_told_and_not_followed(tmp_path, code, state):
    """Of type object, numpy takes the bytes of a number for a pointer, and ends the process."""
    tables = tables_of(small_vocabulary(n_genes=20))
    tables["gene_median_dictionary"] = dict.fromkeys(
        tables["gene_median_dictionary"], Pickled(code, state)
    )
    write_tables(tmp_path, tables)
    with pytest.raises(VocabularyError, match="has a number of the type"):
        Vocabulary.load(tmp_path)


@dataclass
class PickledType:
    code: object
    order: str

    def __reduce__(self):
        state = (3, self.order, None, None, None, -1, -1, 0)
        return np.dtype, (self.code, False, True), state


@dataclass
class Pickled:
    """Pickles as a number of numpy does, of any type."""

    code: object
    order: str

    def __reduce__(self):
        scalar = np.float64(1).__reduce__()[0]
        return scalar, (PickledType(self.code, self.order), b"12345678")


@QUICK
@given(junk=st.binary(max_size=200))
def test_junk_is_told(small_files, tmp_path, junk):
    for name in ("token_dictionary_gc30M.pkl", VOCABULARY_FILE):
        assert _load_or_error(_lay(tmp_path, small_files, name, junk)) is None


def _lay(folder: Path, files: dict[str, bytes], name: str, damaged: bytes) -> Path:
    """The damaged file with its sound siblings; ours stands alone."""
    own = name == VOCABULARY_FILE
    for each in folder.iterdir():
        each.unlink()
    for sibling, sound in files.items():
        if (sibling == VOCABULARY_FILE) == own:
            (folder / sibling).write_bytes(damaged if sibling == name else sound)
    return folder


def test_an_edited_vocabulary_file_is_refused(vocabulary, tmp_path):
    """A user who edits a median with pandas or pyarrow keeps our metadata."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = vocabulary.save(tmp_path)
    table = pq.read_table(path)
    doubled = table.set_column(2, "median", pc.multiply(table["median"], 2.0))
    pq.write_table(doubled, path)

    with pytest.raises(VocabularyError, match="was changed or damaged"):
        Vocabulary.load(path)


def test_a_parquet_of_something_else_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"gene": ["A"]}), tmp_path / VOCABULARY_FILE)
    with pytest.raises(VocabularyError, match="is not a vocabulary of rankformer"):
        Vocabulary.load(tmp_path)


def test_a_failed_save_leaves_nothing(vocabulary, tmp_path):
    target = tmp_path / "file"
    with pytest.raises(OutputError, match="could not be written"), largest_file(1000):
        vocabulary.save(target)
    assert not list(tmp_path.iterdir())


def grown_of(special=True, **names):
    """The last 20 genes of a small vocabulary and 20 new ones, with medians of its own."""
    genes = [f"ENSG{i:011d}" for i in range(181, 221)]
    special = ["<pad>", "<mask>", *(["<cls>", "<eos>"] if special else [])]
    return Vocabulary.from_tables(
        {name: token for token, name in enumerate([*special, *genes])},
        {gene: 100.0 + i for i, gene in enumerate(genes)},
        **names,
    )


def test_growing_appends_genes_and_leaves_all_else_as_it_is(tmp_path):
    old = small_vocabulary()
    new = [f"ENSG{i:011d}" for i in range(201, 221)]
    other = grown_of(
        symbols={"G201": new[0], "G1": new[1]}, aliases={"ALIAS2": new[2], "A3": new[3]}
    )
    grown = old.grow(other)
    tokens = dict(grown.token_of)
    assert {gene: tokens.pop(gene) for gene in new} == dict(zip(new, range(204, 224), strict=True))
    assert tokens == dict(old.token_of)
    assert grown.medians.tolist() == [*old.medians.tolist(), *(120.0 + i for i in range(20))]
    assert dict(grown.symbols) == {**old.symbols, "G201": new[0]}
    assert dict(grown.aliases) == {**old.aliases, "A3": new[3]}
    assert (grown.size, grown.input_length) == (224, old.input_length)
    assert grown.grow(other).sha256 == grown.sha256
    assert Vocabulary.load(grown.save(tmp_path)).sha256 == grown.sha256


def test_growing_by_nothing_changes_nothing():
    old = small_vocabulary()
    assert old.grow(small_vocabulary(n_genes=150)) is old


def test_a_gene_that_is_here_under_another_id_is_not_new():
    old = small_vocabulary()
    retired = {**old.aliases, "ENSG00000000201": "ENSG00000000001"}
    old = replace(old, aliases=retired)
    grown = old.grow(grown_of())
    assert "ENSG00000000201" not in grown.token_of
    assert len(grown.ensembl_ids) == 219


def test_growing_refuses_other_special_tokens():
    with pytest.raises(VocabularyError, match="special tokens"):
        small_vocabulary().grow(grown_of(special=False))


# In memory.


def test_another_process_gets_the_same_vocabulary(vocabulary):
    again = pickle.loads(pickle.dumps(vocabulary))
    assert content(again) == content(vocabulary)
    assert again.name == vocabulary.name
    for names in (again.special_tokens, again.symbols, again.aliases):
        with pytest.raises(TypeError):
            names["one"] = 1


def test_what_names_mean_here_they_mean_after_growing(vocabulary):
    first, second = vocabulary.ensembl_ids[:2]
    new, unknown = "ENSG00000900001", "ENSG00000900002"
    mine = replace(vocabulary, aliases={**vocabulary.aliases, new: unknown})
    special = {**vocabulary.special_tokens}
    other = Vocabulary.from_tables(
        {**special, new: len(special)},
        {new: 1.5},
        aliases={first: second, "OTHER": new},
        name="new",
    )
    grown = mine.grow(other)
    assert grown.name == f"{vocabulary.name} + new"
    assert grown.token_of[new] == vocabulary.size
    assert first not in grown.aliases
    assert new not in grown.aliases
    assert grown.aliases["OTHER"] == new


def test_an_alias_that_names_itself_is_kept_on_growing(vocabulary):
    new = "ENSG00000900001"
    mine = replace(vocabulary, aliases={**vocabulary.aliases, new: new})
    special = {**vocabulary.special_tokens}
    grown = mine.grow(Vocabulary.from_tables({**special, new: len(special)}, {new: 1.5}))
    assert grown.aliases[new] == new


def test_a_vocabulary_is_shown_by_what_tells_it_apart():
    vocabulary = small_vocabulary()
    assert repr(vocabulary) == (
        "Vocabulary('small-v2': 200 genes, special tokens <pad> <mask> <cls> <eos>, "
        f"input length 64, sha256 {vocabulary.sha256[:8]})"
    )


def test_of_many_names_three_are_told():
    assert few_names(["A", "B", "C"]) == "A, B, C"
    assert few_names(["A", "B", "C", "D"]) == "A, B, C…"
