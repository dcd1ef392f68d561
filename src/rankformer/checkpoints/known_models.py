"""The models that have a name: what they are, and which are on this machine."""

from dataclasses import dataclass
from pathlib import Path

from rankformer.checkpoints.find import find_folder, packaged_folder
from rankformer.checkpoints.registry import MODELS, PACKAGED_MODEL, PublishedModel
from rankformer.model.spec import CONFIG_FILE, WEIGHTS_FILES, EncoderSpec

# <pad>, <mask>, <cls> and <eos>
_SPECIAL_TOKENS = 4


@dataclass(frozen=True)
class KnownModel:
    """A model that has a name.

    Attributes
    ----------
    name, other_names
        Each of them works wherever a model is asked for.
    n_layers, d_model
        Layers, and width of an embedding.
    input_length
        The most tokens of a cell.
    n_bytes
        Size of its weights on disk.
    trained_on, left_out
        The cells of its corpus, and those that were left out of it on purpose; None where that is
        not known.
    dictionary
        The genes it knows.
    licence
        That its source states.
    helical_names, package_names
        Which of its names Helical has, and which the hub's repository and the published package.
    note
        What else is to be known of it, or None.
    folder
        Where it lies on this machine, or None.
    on_hub
        Whether ``rankformer models fetch NAME`` can bring it.
    """

    name: str
    other_names: tuple[str, ...]
    n_layers: int
    d_model: int
    input_length: int
    n_bytes: int
    trained_on: str
    left_out: str | None
    dictionary: str
    licence: str
    helical_names: tuple[str, ...]
    package_names: tuple[str, ...]
    note: str | None
    folder: Path | None
    on_hub: bool


def list_models() -> tuple[KnownModel, ...]:
    """List the models that have a name: the one that ships first, then the published ones.

    Nothing is downloaded, and no weights are read. ``pandas.DataFrame(rankformer.list_models())``
    is a table of them.

    Examples
    --------
    >>> import rankformer
    >>> [model.name for model in rankformer.list_models()][0]
    'rankformer-mini'
    """
    return (_packaged(), *map(_published, MODELS))


def _packaged() -> KnownModel:
    folder = packaged_folder()
    spec = EncoderSpec.read(folder / CONFIG_FILE)
    return KnownModel(
        name=PACKAGED_MODEL,
        other_names=(),
        n_layers=spec.n_layers,
        d_model=spec.d_model,
        input_length=spec.max_positions,
        n_bytes=(folder / WEIGHTS_FILES[0]).stat().st_size,
        trained_on="few cells of few tissues, which the page on its limits lists",
        left_out="all other tissues",
        dictionary=f"of its own, {spec.vocab_size - _SPECIAL_TOKENS:,} genes",
        licence="Apache-2.0",
        helical_names=(),
        package_names=(),
        note="It is for trying out, tests and teaching, not for research.",
        folder=folder,
        on_hub=False,
    )


def _published(model: PublishedModel) -> KnownModel:
    return KnownModel(
        name=model.name,
        other_names=tuple(name for name in model.names if name != model.name),
        n_layers=model.n_layers,
        d_model=model.d_model,
        input_length=model.release.input_length,
        n_bytes=model.weights_bytes,
        trained_on=model.corpus.cells,
        left_out=model.corpus.left_out,
        dictionary=f"{model.release.generation}, {model.release.n_genes:,} genes",
        licence=model.licence,
        helical_names=model.helical_names,
        package_names=model.package_names,
        note=model.note,
        folder=find_folder(model),
        on_hub=bool(model.hub_folders),
    )
