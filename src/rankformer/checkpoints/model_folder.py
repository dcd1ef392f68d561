"""The folder of a model: its shape, its weights file and its vocabulary, bound together."""

import json
import os
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeAlias

from rankformer.checkpoints.find import find_folder, models_folder, packaged_folder, weights_in
from rankformer.checkpoints.hashes import hash_of, written_hash
from rankformer.checkpoints.registry import (
    PACKAGED_MODEL,
    PublishedModel,
    find_model,
    require_model,
)
from rankformer.errors import CheckpointError, VocabularyError
from rankformer.model.spec import CONFIG_FILE, WEIGHTS_FILES, EncoderSpec
from rankformer.own_files import expect_own_files
from rankformer.vocabulary.files import VOCABULARY_FILE, find_releases
from rankformer.vocabulary.vocabulary import Vocabulary

# Where the dictionaries lie, seen from the folder of the model: in our own layout and in copies
# made by hand, beside it; in Helical's cache, above it; in the hub's repository, in its package,
# from where fine-tuned models lie one folder deeper.
_VOCABULARY_PLACES = (
    ".", "..", "../geneformer", "../geneformer/gene_dictionaries_30m", "../../geneformer",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """The folder of a model on this machine, verified to belong to its vocabulary.

    No weights are read, and no torch is loaded: `Checkpoint` does that.

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
    def open(cls, model: "str | os.PathLike[str] | ModelFolder") -> Self:
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
            If it is unknown, not on this machine, incomplete or inconsistent, or has links that
            lead out of it.
        VocabularyError
            If its vocabulary is missing, damaged, or another model's.
        """
        if isinstance(model, ModelFolder):
            own = {each.name: getattr(model, each.name) for each in fields(model)}
            return model if isinstance(model, cls) else cls(**own)
        if not isinstance(model, str | os.PathLike):
            raise CheckpointError(
                f"The model is given as {type(model).__name__}.",
                "A name, a folder, or a Checkpoint.",
                'Name a model, such as model="rankformer-mini"; rankformer.list_models() lists '
                "those there are.",
            )
        folder = Path(model)
        if folder.is_dir():
            return cls._of_folder(folder, find_model(folder.resolve().name))
        if str(model) == PACKAGED_MODEL:
            return cls._of_folder(packaged_folder(), None)
        published = require_model(str(model))
        found = find_folder(published)
        if found is None:
            raise _not_here(published)
        return cls._of_folder(found, published)

    @classmethod
    def _of_folder(cls, folder: Path, published: PublishedModel | None) -> Self:
        expect_own_files(folder, CheckpointError)
        spec = EncoderSpec.read(folder / CONFIG_FILE)
        weights = weights_in(folder)
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
        return cls(name, folder, weights, spec, vocabulary, published, written_hash(weights))

    def __getstate__(self) -> dict[str, Any]:
        """Sent to another process, it is found there from any working directory."""
        paths = {"folder": self.folder.absolute(), "weights_file": self.weights_file.absolute()}
        return {**vars(self), **paths}

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the weights file."""
        return hash_of(self.weights_file)

    def provenance(self) -> dict[str, str]:
        """What identifies it in a result."""
        return {
            "model": self.name,
            "weights_sha256": self.weights_sha256,
            "vocabulary": self.vocabulary.name,
            "vocabulary_sha256": self.vocabulary.sha256,
        }


AnyModel: TypeAlias = ModelFolder | str | os.PathLike[str]
"""A model, or its name or folder; see `ModelFolder.open`."""
AnyVocabulary: TypeAlias = Vocabulary | AnyModel
"""A vocabulary, its file, or the model that has it; see `open_vocabulary`."""


def open_vocabulary(source: AnyVocabulary) -> Vocabulary:
    """Open a vocabulary by its file or folder, or by the model that has it; see `ModelFolder.open`.

    Needs no torch. A vocabulary is given back as it is.

    Raises
    ------
    CheckpointError, VocabularyError
        If there is none, or it is damaged.
    """
    if isinstance(source, Vocabulary):
        return source
    if isinstance(source, ModelFolder):
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
    return ModelFolder.open(source).vocabulary


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
        f"A folder with its config.json, its weights, and the gene dictionaries of its release, "
        f"{published.release.name}.",
        f"{where} these files into {by_hand} by hand.",
    )
