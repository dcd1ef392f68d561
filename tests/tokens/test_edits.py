"""Edits of tokens beside a plain statement of each on Python lists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankformer.errors import SettingsError
from rankformer.ragged import join_ragged
from rankformer.tokens.edits import Frame, find_originals, plan_edits

CLS, EOS = 900, 901
LIMIT = 12
FRAMES = {False: Frame(0, 0, LIMIT), True: Frame(1, 1, LIMIT)}


def plain_edit(genes, group, kind, share, room):
    """What becomes of a cell's genes; None where the cell is left out."""
    present = [gene for gene in genes if gene in group]
    if kind != "overexpress" and len(present) < len(group):
        return None
    rest = [gene for gene in genes if gene not in group]
    if kind == "delete":
        return rest or None
    if kind == "overexpress":
        return [*group, *rest][:room]
    step = round(share * len(genes))
    # One after the other, from the end that they move to: each goes as far as it can.
    moved = dict.fromkeys(range(len(genes)))
    if kind == "inhibit":
        last = len(genes)
        for gene in present[::-1]:
            last = min(genes.index(gene) + step, last - 1)
            moved[last] = gene
    else:
        first = -1
        for gene in present:
            first = max(genes.index(gene) - step, first + 1)
            moved[first] = gene
    others = iter(rest)
    return [next(others) if gene is None else gene for gene in moved.values()]


def pack(cells, frame):
    around = [CLS] * frame.n_before, [EOS] * frame.n_behind
    rows = [np.array([*around[0], *genes, *around[1]], np.int32) for genes in cells]
    return join_ragged([(row, np.array([0, len(row)])) for row in rows])


def unpack(edits, ragged, frame):
    """(cell, genes) of each edit."""
    pool, offsets = edits.pool(ragged), edits.token_offsets
    tokens = pool[edits.indices(ragged, frame, 0, len(edits))]
    found = []
    for edit, cell in enumerate(edits.cells.tolist()):
        own = tokens[offsets[edit] : offsets[edit + 1]].tolist()
        assert own[: frame.n_before] == [CLS] * frame.n_before
        assert own[len(own) - frame.n_behind :] == [EOS] * frame.n_behind
        found.append((cell, own[frame.n_before : len(own) - frame.n_behind]))
    return found


@st.composite
def cases(draw):
    framed = draw(st.booleans())
    room = LIMIT - FRAMES[framed].n_tokens
    cells = draw(st.lists(st.lists(st.integers(1, 20), max_size=room, unique=True), max_size=5))
    groups = st.lists(st.integers(1, 25), min_size=1, max_size=4, unique=True)
    return framed, cells, draw(st.lists(groups, min_size=1, max_size=4))


@settings(deadline=None)
@given(cases(), st.sampled_from(["delete", "overexpress", "inhibit", "activate"]),
       st.sampled_from([0.01, 0.25, 0.5, 1.0]))  # fmt: skip
def test_groups_of_genes(case, kind, share):
    framed, cells, groups = case
    frame = FRAMES[framed]
    room = LIMIT - frame.n_tokens
    ragged = pack(cells, frame)
    edits = plan_edits(ragged, frame, kind, groups=groups, share=share)
    expected, asked = [], []
    for cell, genes in enumerate(cells):
        for number, group in enumerate(groups):
            edited = plain_edit(genes, group, kind, share, room)
            # Of a cell that keeps none of its own genes there is nothing to compare.
            if edited is None or (kind == "overexpress" and not set(edited) & set(genes)):
                continue
            expected.append((cell, edited))
            asked.append(number)
    assert unpack(edits, ragged, frame) == expected
    assert edits.groups.tolist() == asked


@settings(deadline=None)
@given(cases(), st.sampled_from(["delete", "overexpress", "inhibit", "activate"]))
def test_every_gene_of_each_cell(case, kind):
    framed, cells, _ = case
    frame = FRAMES[framed]
    ragged = pack(cells, frame)
    expected = []
    for cell, genes in enumerate(cells):
        for gene in genes:
            edited = plain_edit(genes, [gene], kind, 0.25, LIMIT)
            if edited is not None and edited != genes:
                expected.append((cell, edited))
    assert unpack(plan_edits(ragged, frame, kind), ragged, frame) == expected


@settings(deadline=None)
@given(cases(), st.integers(1, 25), st.sampled_from(["delete", "overexpress", "inhibit"]))
def test_an_anchor_is_edited_along(case, anchor, kind):
    framed, cells, groups = case
    frame = FRAMES[framed]
    ragged = pack(cells, frame)
    with_anchor = [[anchor, *group] for group in groups if anchor not in group]
    edits = plan_edits(ragged, frame, kind, groups=groups, anchor=anchor)
    expected = plan_edits(ragged, frame, kind, groups=with_anchor) if with_anchor else None
    found = unpack(edits, ragged, frame)
    assert found == ([] if expected is None else unpack(expected, ragged, frame))
    single = plan_edits(ragged, frame, kind, anchor=anchor)
    pairs = [
        (cell, genes, [anchor, gene])
        for cell, genes in enumerate(cells)
        for gene in genes
        if gene != anchor
    ]
    wanted = [
        (cell, plain_edit(genes, pair, kind, 0.25, LIMIT - frame.n_tokens))
        for cell, genes, pair in pairs
    ]
    assert unpack(single, ragged, frame) == [each for each in wanted if each[1]]


@settings(deadline=None)
@given(cases())
def test_edited_and_original_hold_the_same_other_genes(case):
    framed, cells, groups = case
    frame = FRAMES[framed]
    ragged = pack(cells, frame)
    edits = plan_edits(ragged, frame, "overexpress", groups=groups)
    originals = find_originals(edits, ragged, frame)
    before = unpack(originals.cells, ragged, frame)
    assert before[: len(cells)] == list(enumerate(cells))
    for (cell, edited), number, original in zip(
        unpack(edits, ragged, frame), edits.groups, originals.of_edit, strict=True
    ):
        group = groups[number]
        own_cell, kept = before[original]
        assert own_cell == cell
        assert [gene for gene in edited if gene not in group] == [
            gene for gene in kept if gene not in group
        ]
        # In the order in which they stand, and no more than needs to be is left out.
        assert kept == [gene for gene in cells[cell] if gene in kept]
        n_over = len(cells[cell]) + len(set(group) - set(cells[cell])) + frame.n_tokens - LIMIT
        assert len(cells[cell]) - len(kept) == max(n_over, 0)


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("length", range(LIMIT - 2, LIMIT + 1))
def test_a_gene_is_put_into_cells_near_the_input_length(framed, length):
    """Cells of LIMIT + 1 and + 2 tokens are cropped to LIMIT when they are tokenized."""
    frame = FRAMES[framed]
    genes = list(range(1, length - frame.n_tokens + 1))
    ragged = pack([genes], frame)
    edits = plan_edits(ragged, frame, "overexpress", groups=[[25]])
    ((_, edited),) = unpack(edits, ragged, frame)
    kept = genes[: LIMIT - frame.n_tokens - 1]
    assert edited == [25, *kept]
    originals = find_originals(edits, ragged, frame)
    assert unpack(originals.cells, ragged, frame)[originals.of_edit[0]] == (0, kept)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"kind": "remove"}, "'remove'.*delete, overexpress"),
        ({"share": 0.0}, "share of ranks is 0.0"),
        ({"share": "half"}, "share of ranks is 'half'"),
        ({"groups": [[3, 3]]}, "holds a gene twice"),
        ({"groups": [[]]}, "empty"),
    ],
)
def test_settings_that_mean_nothing_are_refused(odd, message):
    frame = FRAMES[False]
    with pytest.raises(SettingsError, match=message):
        plan_edits(pack([[1, 2]], frame), frame, **{"kind": "delete", **odd})
