"""A checkpoint: the shape of a model, its weights and its vocabulary, bound together.

Finding one reads no weights and needs no torch; `Checkpoint.encoder` loads them.
"""

import json
import logging
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rankformer.errors import CheckpointError, VocabularyError
from rankformer.model.hashes import hash_file, hash_of, written_hash
from rankformer.model.registry import (
    MODELS,
    PACKAGED_MODEL,
    PublishedModel,
    find_model,
    require_model,
)
from rankformer.model.spec import CONFIG_FILE, WEIGHTS_FILES, EncoderSpec
from rankformer.vocabulary import VOCABULARY_FILE, Vocabulary
from rankformer.vocabulary_files import find_releases

if TYPE_CHECKING:
    import torch

    from rankformer.model.encoder import Encoder, MaskedLanguageModel

logger = logging.getLogger(__name__)
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
        if not isinstance(model, str | os.PathLike):
            raise CheckpointError(
                f"The model is given as {type(model).__name__}.",
                "A name, a folder, or a Checkpoint.",
                'Name a model, such as model="rankformer-mini"; rankformer.list_models() lists '
                "those there are.",
            )
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
        return hash_of(self.weights_file)

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
        check_hash(self.weights_file, self.weights_sha256, self.bound_weights)


def check_hash(file: Path, found: str, written: str | None) -> None:
    """Refuse weights that are not those that were written; None where these are not known.

    Raises
    ------
    CheckpointError
        If the hashes differ.
    """
    if written in (None, found):
        return
    raise CheckpointError(
        f"{file} has the hash {found[:8]}.",
        f"The weights as they were written, of the hash {str(written)[:8]}.",
        "The file was changed or damaged since: take the folder from where it came from again. "
        f"Where you changed it knowingly, remove {hash_file(file)}.",
    )


AnyModel: TypeAlias = Checkpoint | str | os.PathLike[str]
"""A model, or its name or folder; see `Checkpoint.open`."""
AnyVocabulary: TypeAlias = Vocabulary | AnyModel
"""A vocabulary, its file, or the model that has it; see `open_vocabulary`."""


def models_here() -> list[str]:
    """Names of the published models that are on this machine."""
    return [model.name for model in MODELS if find_folder(model)]


def default_model() -> str:
    """The model to take where none is named: the one published model on this machine.

    Where there is none, it is ``rankformer-mini``, and the log says what that is for.

    Raises
    ------
    CheckpointError
        If there are several.
    """
    here = models_here()
    if len(here) > 1:
        raise CheckpointError(
            f"No model was named, and {len(here)} published ones are on this machine.",
            f"One of {', '.join(here)}, or {PACKAGED_MODEL}.",
            "Name it: --model NAME.",
        )
    if here:
        logger.info("No model was named: %s is taken, the one that is on this machine.", here[0])
        return here[0]
    logger.info(
        "No model was named, and no published one is on this machine: %s is taken, which ships "
        "with rankformer and is for trying out, tests and teaching. For research fetch a published "
        "one; `rankformer models` lists them.",
        PACKAGED_MODEL,
    )
    return PACKAGED_MODEL


def open_vocabulary(source: AnyVocabulary) -> Vocabulary:
    """Open a vocabulary by its file or folder, or by the model that has it; see `Checkpoint.open`.

    Needs no torch. A vocabulary is given back as it is.

    Raises
    ------
    CheckpointError, VocabularyError
        If there is none, or it is damaged.
    """
    if isinstance(source, Vocabulary):
        return source
    if isinstance(source, Checkpoint):
        return source.vocabulary
    if not isinstance(source, str | os.PathLike):
        raise VocabularyError(
            f"The vocabulary is given as {type(source).__name__}.",
            "A Vocabulary, its file, or the name or folder of the model that has it.",
            'Name the model, such as "rankformer-mini".',
        )
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
    check_binding(vocabulary, spec, str(folder), bound or (release.sha256 if release else None))
    name = published.name if published else folder.resolve().name
    return Checkpoint(name, folder, weights, spec, vocabulary, published, written_hash(weights))


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


def check_binding(
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
