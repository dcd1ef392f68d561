"""A checkpoint: the shape of a model, its weights and its vocabulary, bound together.

Finding one reads no weights and needs no torch; `Checkpoint.encoder` loads them.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rankformer.errors import CheckpointError, OutputError, VocabularyError
from rankformer.model.registry import PACKAGED_MODEL, PublishedModel, find_model, require_model
from rankformer.model.spec import CONFIG_FILE, WEIGHTS_FILES, EncoderSpec
from rankformer.scratch import make_folder, whole_or_nothing
from rankformer.vocabulary import VOCABULARY_FILE, Vocabulary
from rankformer.vocabulary_files import find_releases

if TYPE_CHECKING:
    import torch

    from rankformer.model.encoder import Encoder, MaskedLanguageModel

MODELS_FOLDER_VARIABLE = "RANKFORMER_MODELS"
# Where the dictionaries lie, seen from the folder of the model: in our own layout and in copies
# made by hand, beside it; in Helical's cache, above it; in the hub's repository, in its package.
_VOCABULARY_PLACES = (".", "..", "../geneformer", "../geneformer/gene_dictionaries_30m")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model on this machine, verified to belong to its vocabulary.

    Attributes
    ----------
    name
        The published name, or the folder's.
    folder, weights_file
        Where it lies.
    spec
        Its shape.
    vocabulary
        Its genes and tokens; `input_length` is the model's.
    published
        Its row in the registry, where it has one.
    bound_weights
        Hash of the weights file when it was written, or None where that is not known.
    """

    name: str
    folder: Path
    weights_file: Path
    spec: EncoderSpec
    vocabulary: Vocabulary
    published: PublishedModel | None = None
    bound_weights: str | None = None

    @classmethod
    def open(cls, model: "str | os.PathLike[str] | Checkpoint") -> "Checkpoint":
        """Find a model on this machine; nothing is downloaded.

        Parameters
        ----------
        model
            A folder, ``rankformer-mini``, which ships with rankformer, or a published name in any
            of its forms. Published names are looked for in
            ``$RANKFORMER_MODELS`` (or ``~/.cache/rankformer/models``), in the Hugging Face cache
            and in Helical's cache. A checkpoint is given back as it is.

        Raises
        ------
        CheckpointError
            If it is unknown, not on this machine, incomplete or inconsistent.
        VocabularyError
            If its vocabulary is missing, damaged, or another model's.
        """
        if isinstance(model, Checkpoint):
            return model
        folder = Path(model)
        if folder.is_dir():
            return _open_folder(folder, find_model(folder.resolve().name))
        if str(model) == PACKAGED_MODEL:
            return _open_folder(packaged_folder(), None)
        published = require_model(str(model))
        found = find_folder(published)
        if found is None:
            raise _not_here(published)
        return _open_folder(found, published)

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the weights file."""
        return _sha256(self.weights_file)

    def encoder(self, dtype: "torch.dtype | None" = None) -> "Encoder":
        """Load the encoder, on the CPU, not in training mode.

        Parameters
        ----------
        dtype
            float32 unless given.

        Raises
        ------
        CheckpointError
            If the weights are damaged, do not fit the configuration, or are not those that were
            written with it.
        """
        import torch

        from rankformer.model.weights import load_encoder

        encoder = load_encoder(self.weights_file, self.spec, dtype or torch.float32)
        self._check_weights()
        return encoder

    def masked_language_model(self) -> "MaskedLanguageModel":
        """Load the encoder with its masked-LM head; as `encoder`."""
        from rankformer.model.weights import load_masked_language_model

        model = load_masked_language_model(self.weights_file, self.spec)
        self._check_weights()
        return model

    def provenance(self) -> dict[str, str]:
        """What identifies it in a result."""
        return {
            "model": self.name,
            "weights_sha256": self.weights_sha256,
            "vocabulary": self.vocabulary.name,
            "vocabulary_sha256": self.vocabulary.sha256,
        }

    def _check_weights(self) -> None:
        if self.bound_weights in (None, self.weights_sha256):
            return
        raise CheckpointError(
            f"{self.weights_file} has the hash {self.weights_sha256[:8]}.",
            f"The weights as they were written, of the hash {str(self.bound_weights)[:8]}.",
            "The file was changed or damaged since: take the folder from where it came from "
            f"again. Where you changed it knowingly, remove {_hash_file(self.weights_file)}.",
        )


def save_checkpoint(
    folder: str | os.PathLike[str],
    model: "MaskedLanguageModel",
    vocabulary: Vocabulary,
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
    """
    with new_checkpoint(folder) as part:
        write_checkpoint(part, model, vocabulary, documents)
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
    model: "MaskedLanguageModel | Encoder",
    vocabulary: Vocabulary,
    documents: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the files of a checkpoint into a folder that is there; see `save_checkpoint`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from rankformer.model.encoder import Encoder
    from rankformer.model.weights import hugging_face_tensors

    spec = model.spec if isinstance(model, Encoder) else model.encoder.spec
    _check_binding(vocabulary, spec, folder.name, None)
    weights = folder / WEIGHTS_FILES[0]
    try:
        save_file(hugging_face_tensors(model), weights, {"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{weights.name}: {error}") from error
    _hash_file(weights).write_text(f"{_sha256(weights)}  {weights.name}\n", encoding="utf-8")
    config = {**spec.to_config(), "rankformer": {"vocabulary_sha256": vocabulary.sha256}}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    # safetensors lets nobody but the owner read the file.
    weights.chmod((folder / CONFIG_FILE).stat().st_mode & 0o777)
    vocabulary.save(folder)
    for name, text in documents.items():
        (folder / name).write_text(text, encoding="utf-8")


def open_vocabulary(source: str | os.PathLike[str]) -> Vocabulary:
    """Open a vocabulary by its file or folder, or by the model that has it; see `Checkpoint.open`.

    Raises
    ------
    CheckpointError, VocabularyError
        If there is none, or it is damaged.
    """
    path = Path(source)
    if path.is_file() or (path.is_dir() and not (path / CONFIG_FILE).exists()):
        return Vocabulary.load(path)
    return Checkpoint.open(source).vocabulary


def packaged_folder() -> Path:
    """Where the model that ships with rankformer lies."""
    return Path(__file__).resolve().parents[1] / "models" / PACKAGED_MODEL


def models_folder() -> Path:
    """Where models put by hand are looked for by name."""
    return Path(
        os.environ.get(MODELS_FOLDER_VARIABLE) or Path.home() / ".cache" / "rankformer" / "models"
    )


def find_folder(published: PublishedModel) -> Path | None:
    """The folder of a published model on this machine, or None."""
    candidates = [models_folder() / name for name in published.names]
    candidates += _hub_folders(published)
    helical = Path.home() / ".cache" / "helical" / "models" / "geneformer"
    candidates += [place / name for place in sorted(helical.glob("v*")) for name in published.names]
    return next((each for each in candidates if _weights_in(each)), None)


def _hub_folders(published: PublishedModel) -> list[Path]:
    from rankformer.model.hub import cached_folder

    return [each for name in published.hub_folders if (each := cached_folder(name)) is not None]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _weights_in(folder: Path) -> Path | None:
    return next((folder / name for name in WEIGHTS_FILES if (folder / name).is_file()), None)


def _open_folder(folder: Path, published: PublishedModel | None) -> Checkpoint:
    spec = EncoderSpec.read(folder / CONFIG_FILE)
    weights = _weights_in(folder)
    if weights is None:
        raise CheckpointError(
            f"{folder} holds no weights.",
            f"{' or '.join(WEIGHTS_FILES)} beside config.json.",
            "Name the folder of one model (not of the whole repository), or fetch it again.",
        )
    vocabulary = _find_vocabulary(folder, spec)
    bound = _bound_sha256(folder)
    release = published.release if published else None
    _check_binding(vocabulary, spec, str(folder), bound or (release.sha256 if release else None))
    name = published.name if published else folder.resolve().name
    return Checkpoint(name, folder, weights, spec, vocabulary, published, _written_sha256(weights))


def _bound_sha256(folder: Path) -> str | None:
    own = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("rankformer")
    if own is None:
        return None
    sha256 = own.get("vocabulary_sha256") if isinstance(own, dict) else None
    if not isinstance(sha256, str):
        raise CheckpointError(
            f'The part "rankformer" of {folder / CONFIG_FILE} names no vocabulary.',
            'The hash of the vocabulary as "vocabulary_sha256".',
            "Take config.json from where the checkpoint came from again.",
        )
    return sha256


def _hash_file(weights: Path) -> Path:
    """Beside the weights, as `sha256sum` writes and checks it.

    Not in config.json, which transformers copies to weights that it has trained on.
    """
    return weights.with_name(f"{weights.name}.sha256")


def _written_sha256(weights: Path) -> str | None:
    file = _hash_file(weights)
    if not file.is_file():
        return None
    words = file.read_text(encoding="utf-8", errors="replace").split()
    return words[0] if words else ""


def _find_vocabulary(folder: Path, spec: EncoderSpec) -> Vocabulary:
    misfits: list[VocabularyError] = []
    # Resolved, so that a link to a model's folder finds the dictionaries beside its target.
    for near in ((folder.resolve() / place).resolve() for place in _VOCABULARY_PLACES):
        if near.is_dir() and ((near / VOCABULARY_FILE).is_file() or find_releases(near)):
            try:
                return Vocabulary.load(near, size=spec.vocab_size)
            except VocabularyError as error:
                misfits.append(error)
    if misfits:
        raise misfits[0]
    raise VocabularyError(
        f"No vocabulary lies in or near {folder}.",
        f"{VOCABULARY_FILE}, or the token and median dictionaries of the model's release, in the "
        "folder, above it, or in geneformer/ beside it as in the hub's repository.",
        "Copy the dictionaries into the folder.",
    )


def _check_binding(
    vocabulary: Vocabulary, spec: EncoderSpec, model: str, sha256: str | None
) -> None:
    problems = []
    if vocabulary.size != spec.vocab_size:
        problems.append(f"{vocabulary.size:,} tokens, the model {spec.vocab_size:,}")
    if vocabulary.pad_token != spec.pad_token:
        problems.append(f"<pad> = {vocabulary.pad_token}, the model {spec.pad_token}")
    if vocabulary.input_length > spec.max_positions:
        problems.append(
            f"cells of up to {vocabulary.input_length:,} tokens, the model {spec.max_positions:,}"
        )
    if sha256 is not None and vocabulary.sha256 != sha256:
        problems.append(f"the hash {vocabulary.sha256[:8]}, the model was made with {sha256[:8]}")
    if problems:
        raise VocabularyError(
            f"The vocabulary {vocabulary.name} is not that of {model}: it has "
            f"{'; it has '.join(problems)}.",
            "The vocabulary that the model was trained with; with another one every token means "
            "another gene.",
            "Put the dictionaries of the model's own release (V1: gc30M; V2: gc95M or gc104M) "
            "into its folder.",
        )


def _not_here(published: PublishedModel) -> CheckpointError:
    by_hand = models_folder() / published.name
    where = (
        f"Fetch it with `rankformer models fetch {published.name}`, or put"
        if published.hub_folders
        else "It is not on the hub: put"
    )
    return CheckpointError(
        f"The model {published.name} is not on this machine.",
        f"Its config.json, weights and dictionaries ({published.release.name}).",
        f"{where} these files into {by_hand} by hand.",
    )
