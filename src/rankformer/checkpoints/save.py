"""Writing a checkpoint as a folder, which appears whole or not at all."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from safetensors import SafetensorError
from safetensors.torch import save_file

from rankformer.checkpoints.hashes import write_hash
from rankformer.checkpoints.model_folder import AnyVocabulary, check_binding, open_vocabulary
from rankformer.checkpoints.weights import hugging_face_tensors
from rankformer.errors import OutputError, expect_type
from rankformer.model.encoder import Encoder, MaskedLanguageModel
from rankformer.model.spec import CONFIG_FILE, WEIGHTS_FILES
from rankformer.scratch import make_folder, whole_or_nothing
from rankformer.vocabulary.vocabulary import Vocabulary


def save_checkpoint(
    folder: str | os.PathLike[str],
    model: MaskedLanguageModel,
    vocabulary: AnyVocabulary,
    documents: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write a complete checkpoint in our layout, which `transformers.BertForMaskedLM` opens too.

    Parameters
    ----------
    folder
        A folder that is not there yet; it appears whole or not at all. It gets ``config.json``,
        ``model.safetensors`` with its hash beside it, and ``vocabulary.parquet``.
    model, vocabulary
        What to write; they must fit each other.
    documents
        Further files, such as a model card: name → text.

    Raises
    ------
    OutputError
        If something is already there, or it cannot be written.
    VocabularyError
        If the vocabulary does not fit the model.

    Examples
    --------
    >>> import rankformer
    >>> checkpoint = rankformer.Checkpoint.open("gf-12L-95M-i4096")
    >>> model = checkpoint.masked_language_model()
    >>> folder = rankformer.save_checkpoint("copy", model, checkpoint.vocabulary)
    """
    expect_type(
        model, (MaskedLanguageModel, Encoder), "The model", "A MaskedLanguageModel or an Encoder.",
        "Load one with Checkpoint.open(name).masked_language_model(), or make one with draw_model.",
    )  # fmt: skip
    with new_checkpoint(folder) as part:
        write_checkpoint(part, model, open_vocabulary(vocabulary), documents)
    return Path(folder)


@contextmanager
def new_checkpoint(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` when it is whole.

    Raises
    ------
    OutputError
        If something is already there, or it cannot be written.
    """
    folder = Path(folder)
    if folder.exists():
        raise OutputError(
            f"{folder} exists already.",
            "A folder that is not there yet.",
            "Choose another name, or move the old one away.",
        )
    make_folder(folder.parent)
    with whole_or_nothing(folder, overwrite=False) as part:
        part.mkdir()
        yield part


def write_checkpoint(
    folder: Path,
    model: MaskedLanguageModel | Encoder,
    vocabulary: Vocabulary,
    documents: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the files of a checkpoint into a folder that is there; see `save_checkpoint`."""
    spec = model.spec if isinstance(model, Encoder) else model.encoder.spec
    check_binding(vocabulary, spec, folder.name, None)
    weights = folder / WEIGHTS_FILES[0]
    try:
        save_file(hugging_face_tensors(model), weights, {"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{weights.name}: {error}") from error
    write_hash(weights)
    config = {**spec.to_config(), "rankformer": {"vocabulary_sha256": vocabulary.sha256}}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    # safetensors lets nobody but the owner read the file.
    weights.chmod((folder / CONFIG_FILE).stat().st_mode & 0o777)
    vocabulary.save(folder)
    for name, text in documents.items():
        (folder / name).write_text(text, encoding="utf-8")
