"""Tokens of a source, part after part."""

import pytest
from datasets import load_from_disk

from rankformer.data.tokens import save_tokens
from rankformer.tasks.tokenize import ReadingOptions, open_tokens


@pytest.mark.parametrize("values", [[None] * 29 + ["B"], ["B"] + [None] * 29])
def test_an_attribute_may_be_missing_in_a_whole_part(small_adata, vocabulary, tmp_path, values):
    small_adata.obs["label"] = values
    options = ReadingOptions(attributes={"label": "label"}, chunk_cells=7)
    stream = open_tokens(small_adata, vocabulary, options)
    path = save_tokens((part.cells for part in stream.parts()), tmp_path / "tokens")
    assert load_from_disk(str(path))["label"][:] == values
