"""Saved tokens that do not fit the model, or are damaged."""

from pathlib import Path

import pyarrow as pa
from tests.conftest import small_vocabulary
from tests.faults.bad_input import BadInput
from tests.faults.cells import adata_of, counts

from rankformer.tokens.tokenize import tokenize_cells
from rankformer.tokens.tokenized_cells import TokenizedCells


def saved_tokens(folder: Path, *, special: bool = True) -> None:
    vocabulary = small_vocabulary(special=special)
    tokenize_cells(adata_of(counts(40)), vocabulary).save(folder / "tokens")


def v1_tokens(folder: Path) -> None:
    saved_tokens(folder, special=False)


def save_dataset(folder: Path, **columns) -> None:
    from datasets import Dataset

    Dataset.from_dict(columns).save_to_disk(str(folder / "tokens"))


def without_input_ids(folder: Path) -> None:
    save_dataset(folder, tokens=[[2, 5, 3]], cell_type=["B"])


def unframed(folder: Path) -> None:
    """As the published tokenizer makes them for V1: nothing tells the vocabulary's hash."""
    save_dataset(folder, input_ids=[[5, 7, 9], [6, 8]], length=[3, 2])


def framed(folder: Path) -> None:
    save_dataset(folder, input_ids=[[2, 5, 7, 3], [2, 6, 3]], length=[4, 3])


def too_large(folder: Path) -> None:
    save_dataset(folder, input_ids=[[2, 25000, 3]], length=[3])


def too_long(folder: Path) -> None:
    save_dataset(folder, input_ids=[[2, *range(4, 80), 3]], length=[78])


def padded(folder: Path) -> None:
    save_dataset(folder, input_ids=[[2, 5, 7, 3], [2, 6, 3, 0]], length=[4, 3])


def masked(folder: Path) -> None:
    save_dataset(folder, input_ids=[[2, 5, 1, 3], [2, 6, 3]], length=[4, 3])


def texts(folder: Path) -> None:
    save_dataset(folder, input_ids=[["G1", "G2"]], length=[2])


def cut(folder: Path) -> None:
    saved_tokens(folder)
    (file,) = folder.glob("tokens/data*.arrow")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without_rows(folder: Path) -> None:
    table = pa.table({"input_ids": pa.array([], pa.list_(pa.int32()))})
    TokenizedCells(table).save(folder / "tokens")


RUN = "embed tokens -o out.npy -m model"

CASES = (
    BadInput(
        "tokens that were made for a V1 model, to a V2 model",
        v1_tokens,
        ("were made with the vocabulary", "small-v2", "`rankformer tokenize --model`"),
        RUN,
    ),
    BadInput(
        "the same, made by the published tokenizer, which keeps no hash",
        unframed,
        ("not framed by <cls> and <eos>", "`rankformer tokenize --model`"),
        RUN,
    ),
    BadInput(
        "tokens with `<cls>` and `<eos>`, to a V1 model",
        framed,
        ("begin with 2 and end with 3 in every cell", "small-v1", "`rankformer tokenize --model`"),
        "embed tokens -o out.npy -m model-v1",
    ),
    BadInput(
        "tokens that the model has not",
        too_large,
        ("range from 2 to 25000", "204", "`rankformer tokenize --model`"),
        RUN,
    ),
    BadInput(
        "cells longer than the model's input",
        too_long,
        ("up to 78 a cell", "64", "`rankformer tokenize --model`"),
        RUN,
    ),
    BadInput(
        "a padded dataset",
        padded,
        ("1 of 2 cells are padded", "their own lengths", "Remove the padding"),
        RUN,
    ),
    BadInput(
        "a dataset of masked cells",
        masked,
        ("1 of 2 cells hold <mask>", "Tokens of genes", "before they were masked"),
        RUN,
    ),
    BadInput(
        "a dataset without `input_ids`",
        without_input_ids,
        ("columns tokens, cell_type", "input_ids", "`rankformer tokenize`"),
        RUN,
    ),
    BadInput(
        "a dataset of gene names for tokens",
        texts,
        ("input_ids holds list<", "whole numbers", "Tokenize the cells again"),
        RUN,
        varies=r"(?<=holds list<).*?(?= Expected)",
    ),
    BadInput(
        "a dataset that was cut short",
        cut,
        ("tokens could not be read", "`rankformer tokenize`", "tokenize the cells again"),
        RUN,
        varies=r"(?<=dataset: ).*?(?= Expected:)",
    ),
    BadInput(
        "a dataset without cells",
        without_rows,
        ("0 cells", "At least one"),
        RUN,
    ),
)
