"""Models that are unknown, not here, incomplete, damaged, or put together wrongly."""

import json
import os
import pickle
import shutil
from pathlib import Path

from tests.conftest import small_vocabulary
from tests.damage import Payload, tables_of, write_tables
from tests.faults.bad_input import BadInput
from tests.faults.cells import write

from rankformer.vocabulary.vocabulary import Vocabulary

MINE = "embed pbmc.h5ad -o out.h5ad -m mine"


def copied(change, model: str = "model"):
    """Sound cells, and a copy of a sound model that `change` spoils."""

    def prepare(folder: Path) -> None:
        write(folder)
        shutil.copytree(folder / model, folder / "mine")
        change(folder / "mine")

    return prepare


def without(name: str):
    return copied(lambda mine: (mine / name).unlink())


def configured(**changes):
    def change(mine: Path) -> None:
        config = json.loads((mine / "config.json").read_text())
        (mine / "config.json").write_text(json.dumps({**config, **changes}))

    return copied(change)


def published_layout(mine: Path) -> None:
    """As the hub has it: no own vocabulary file, and no hash in the configuration."""
    (mine / "vocabulary.parquet").unlink()
    config = json.loads((mine / "config.json").read_text())
    config.pop("rankformer")
    (mine / "config.json").write_text(json.dumps(config))


def v1_dictionaries(mine: Path) -> None:
    published_layout(mine)
    write_tables(mine, tables_of(small_vocabulary(special=False)))


def lacking_medians(mine: Path) -> None:
    published_layout(mine)
    tables = tables_of(small_vocabulary())
    tables["gene_median_dictionary"].popitem()
    write_tables(mine, tables, "_gc95M.pkl")


def code_in_dictionary(mine: Path) -> None:
    published_layout(mine)
    write_tables(mine, tables_of(small_vocabulary()), "_gc95M.pkl")
    (mine / "token_dictionary_gc95M.pkl").write_bytes(
        pickle.dumps({"ENSG00000000001": Payload(os.system, "touch ran")})
    )


def edited_vocabulary(mine: Path) -> None:
    """Two genes change places: every size still fits."""
    tokens, medians, symbols, aliases = tables_of(small_vocabulary()).values()
    first, second = "ENSG00000000001", "ENSG00000000002"
    tokens[first], tokens[second] = tokens[second], tokens[first]
    edited = Vocabulary.from_tables(
        tokens, medians, symbols=symbols, aliases=aliases, input_length=64, name="edited"
    )
    edited.save(mine)


def cut_weights(mine: Path) -> None:
    weights = mine / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def pointer_weights(mine: Path) -> None:
    (mine / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid")


def code_in_weights(mine: Path) -> None:
    (mine / "model.safetensors").unlink()
    content = {"bert.embeddings.word_embeddings.weight": Payload(os.system, "touch ran")}
    (mine / "pytorch_model.bin").write_bytes(pickle.dumps(content))


def cut_config(mine: Path) -> None:
    (mine / "config.json").write_text((mine / "config.json").read_text()[:40])


def sound(folder: Path) -> None:
    write(folder)


CASES = (
    BadInput(
        "a name that no model has",
        sound,
        ("'gf-12L-95M'", "neither a folder nor a known model", "gf-12L-95M-i4096",
         "`rankformer models`"),
        "embed pbmc.h5ad -o out.h5ad -m gf-12L-95M",
    ),
    BadInput(
        "a model that is not on this machine",
        sound,
        ("not on this machine", "config.json, its weights",
         "`rankformer models fetch gf-12L-95M-i4096`", ".cache/rankformer/models"),
        "embed pbmc.h5ad -o out.h5ad -m gf-12L-38M-i4096",
        in_process=False,
    ),
    BadInput(
        "a model that is neither here nor on the hub",
        sound,
        ("not on this machine", "not on the hub: put these files into", "by hand"),
        "embed pbmc.h5ad -o out.h5ad -m gf-12L-40M-i2048-CZI-CellxGene",
    ),
    BadInput(
        "`models fetch` with `--offline`, and an empty cache",
        sound,
        ("does not hold all of gf-6L-30M-i2048", "config.json", "once with a network"),
        "--offline models fetch gf-6L-30M-i2048",
        in_process=False,
    ),
    BadInput(
        "`models fetch` of a name that no model has",
        sound,
        ("'scGPT'", "known model", "`rankformer models`"),
        "models fetch scGPT",
    ),
    BadInput(
        "a folder without `config.json`",
        without("config.json"),
        ("mine holds no config.json", "config.json and weights", "Name such a folder"),
        MINE,
    ),
    BadInput(
        "a folder without weights",
        without("model.safetensors"),
        ("mine", "model.safetensors", "pytorch_model.bin"),
        MINE,
    ),
    BadInput(
        "a folder without a vocabulary",
        without("vocabulary.parquet"),
        ("No vocabulary lies in or near mine", "token and median dictionaries", "Copy"),
        MINE,
    ),
    BadInput(
        "V1 dictionaries in the folder of a V2 model",
        copied(v1_dictionaries),
        ("gc30M", "202 tokens", "204", "release"),
        MINE,
    ),
    BadInput(
        "a vocabulary in which two genes changed places",
        copied(edited_vocabulary),
        ("is not that of mine", "the hash", "trained with", "release"),
        MINE,
    ),
    BadInput(
        "a dictionary of medians that lacks a gene",
        copied(lacking_medians),
        ("1 genes", "no median", "ENSG00000000200", "one release together"),
        MINE,
    ),
    BadInput(
        "a dictionary that would run code when unpickled",
        copied(code_in_dictionary),
        ("token_dictionary_gc95M.pkl could not be read", "system", "nothing else is unpickled",
         "release again"),
        MINE,
    ),
    BadInput(
        "weights that would run code when unpickled",
        copied(code_in_weights),
        ("pytorch_model.bin could not be read", "no code is run", "Fetch the checkpoint again"),
        MINE,
        varies=r"(?<=could not be read: ).*?(?= Expected:)",
    ),
    BadInput(
        "weights that were cut short",
        copied(cut_weights),
        ("model.safetensors could not be read", "cut short", "Fetch the checkpoint again"),
        MINE,
        varies=r"(?<=could not be read: ).*?(?= Expected:)",
    ),
    BadInput(
        "a Git LFS pointer for weights",
        copied(pointer_weights),
        ("model.safetensors could not be read", "Git LFS pointer", "Fetch the checkpoint again"),
        MINE,
        varies=r"(?<=could not be read: ).*?(?= Expected:)",
    ),
    BadInput(
        "weights of another shape than the configuration says",
        configured(intermediate_size=128),
        ("model.safetensors", "has the shape (64, 32)", "(128, 32)", "one checkpoint together"),
        MINE,
    ),
    BadInput(
        "the configuration of a GPT",
        configured(model_type="gpt2", is_decoder=True),
        ("mine/config.json says model_type = 'gpt2'", "is_decoder = True", "a BERT encoder",
         "Geneformer checkpoint"),
        MINE,
    ),
    BadInput(
        "a `config.json` that was cut short",
        copied(cut_config),
        ("config.json could not be read", "config.json of a BERT model", "again"),
        MINE,
        varies=r"(?<=could not be read: ).*?(?= Expected:)",
    ),
)  # fmt: skip
