"""The models that have a name: what they are, and which are on this machine."""

from dataclasses import dataclass
from pathlib import Path

from rankformer.checkpoints.find import find_folder, packaged_folder
from rankformer.checkpoints.registry import MODELS, PACKAGED_MODEL, PublishedModel
from rankformer.model.spec import CONFIG_FILE, WEIGHTS_FILES, EncoderSpec


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
    n_bytes = (folder / WEIGHTS_FILES[0]).stat().st_size
    return KnownModel(
        PACKAGED_MODEL, (), spec.n_layers, spec.d_model, spec.max_positions, n_bytes, folder,
        on_hub=False,
    )  # fmt: skip


def _published(model: PublishedModel) -> KnownModel:
    return KnownModel(
        model.name,
        tuple(name for name in model.names if name != model.name),
        model.n_layers,
        model.d_model,
        model.release.input_length,
        model.weights_bytes,
        find_folder(model),
        on_hub=bool(model.hub_folders),
    )
