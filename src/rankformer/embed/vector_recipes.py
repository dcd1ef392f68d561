"""Models of runs, here or as work for other processes, and embeddings of cells as such work."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.embedder import Embedder
from rankformer.embed.gene_shards import GeneShards
from rankformer.embed.settings import Mode
from rankformer.embed.settled_model import SettledModel, settle_model
from rankformer.embed.vector_shards import VectorShards
from rankformer.errors import SettingsError
from rankformer.model.device import choose_device, list_devices
from rankformer.runs.compute import ShardTask
from rankformer.runs.engines.recipes import Recipe
from rankformer.runs.manifest import Manifest
from rankformer.runs.settings import RunSettings

_WARMING_TOKENS = 256

AnyEmbedding: TypeAlias = Embedder | SettledModel
"""An embedder, or how one will run in other processes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelRecipe(Recipe):
    """Work for which a worker loads a model; see `Recipe`.

    Attributes
    ----------
    model
        The model, with layer and number format as settled for the whole run.
    batch_size
        As of `Embedder`.
    """

    model: SettledModel
    batch_size: int | None = None

    @property
    def device(self) -> str:  # type: ignore[override]  # of the settled model
        return self.model.device.type

    def start(self, device: str, n_threads: int) -> ShardTask:
        """Load the weights on the worker's device, with its CPU threads."""
        import torch

        torch.set_num_threads(n_threads)
        if device.startswith("cuda"):
            # Otherwise each worker would take some memory of the first GPU, too.
            torch.cuda.set_device(device)
        return self.task(open_settled(self.model, device, self.batch_size))

    @abstractmethod
    def task(self, embedder: Embedder) -> ShardTask:
        """What computes shards with the model."""


@dataclass(frozen=True, eq=False, kw_only=True)
class VectorRecipe(ModelRecipe):
    """Embeds cells or their genes.

    Attributes
    ----------
    mode
        What a cell's vector is; or ``"gene"``: each of its genes has one.
    """

    mode: Mode

    def task(self, embedder: Embedder) -> ShardTask:
        return task_of(embedder, self.mode)


def task_of(embedder: Embedder, mode: Mode) -> ShardTask:
    """What computes shards of vectors: of cells, or of their genes."""
    return GeneShards(embedder) if mode == "gene" else VectorShards(embedder, mode)


def open_model(
    checkpoint: Checkpoint,
    embedding: Mapping[str, Any],
    before: Manifest | None,
    settings: RunSettings,
) -> AnyEmbedding:
    """Make the embedder of a run, or where others compute settle how it will run there.

    Where the dtype is ``"auto"``, it is that of an earlier run: what ``"auto"`` takes depends on
    the machine, and may have been another one there.

    Parameters
    ----------
    checkpoint
        The model.
    embedding
        Settings of the `Embedder`; several devices, or ``"cuda:all"``, are worker processes.
    before
        The manifest of an earlier run.
    settings
        Of the run.

    Raises
    ------
    RankformerError
        If a setting is outside what model and machine allow, or weights cannot be read.
    """
    embedding = dict(embedding)
    if embedding.get("dtype", "auto") == "auto" and before is not None:
        embedding["dtype"] = before.work.options.get("dtype", "auto")
    if settings.engine == "ray":
        return settle_on_ray(checkpoint, settings, **embedding)
    devices = list_devices(embedding.get("device", "auto"))
    if not devices:
        return Embedder(checkpoint, **embedding)
    embedding |= {"device": devices[0]}
    embedding.pop("batch_size", None)
    return settle_model(checkpoint, **embedding)


def opens_beside(embedding: Mapping[str, Any], settings: RunSettings) -> bool:
    """Whether a model may be made ready in this process while its inputs are opened.

    Not where it may be timed on the CPU in which number format, or with which attention, it is
    faster: other work would have a part in what is found.
    """
    device, dtype = embedding.get("device", "auto"), embedding.get("dtype", "auto")
    try:
        is_here = settings.engine == "local" and not list_devices(device)
        is_timed = dtype in ("auto", "bfloat16") and choose_device(device).type == "cpu"
        return is_here and not is_timed
    except SettingsError:
        # It is raised again when the model is opened, behind errors of the inputs.
        return False


def warm_up(embedder: Embedder) -> None:
    """Have a GPU choose and load its kernels, which takes seconds, before cells are there."""
    if embedder.device.type != "cuda":
        return
    vocabulary = embedder.checkpoint.vocabulary
    tokens = vocabulary.tokens[: min(_WARMING_TOKENS, vocabulary.input_length)]
    ragged = tokens.astype(np.int32), np.array([0, len(tokens)])
    for _ in embedder.stream_cells(iter([ragged]), lambda cells: cells):
        pass


def settle_on_ray(
    checkpoint: Checkpoint,
    settings: RunSettings,
    *,
    device: str = "auto",
    **embedding: Any,
) -> SettledModel:
    """Have a worker of Ray find out how the model runs there: the machine here may be another.

    Parameters
    ----------
    checkpoint
        The model.
    settings
        Of the run.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    **embedding
        Further settings of the `Embedder`.

    Raises
    ------
    SettingsError
        If a device is named that Ray would have to choose, or a setting is outside what model and
        machine allow.
    """
    from rankformer.runs.engines.ray_engine import ask_on_ray

    if device not in ("auto", "cpu", "cuda"):
        raise SettingsError(
            f"The device {device!r} was asked for, with the engine ray.",
            "auto, cpu or cuda: which GPU a worker gets is for Ray to say.",
            "Leave device (--device) out, and say with workers and gpus_per_worker (--workers, "
            "--gpus-per-worker) how many there are to be.",
        )
    embedding.pop("batch_size", None)
    settle = partial(settle_model, checkpoint, **embedding)
    settled = ask_on_ray(lambda there: settle(device=there), settings, device)
    return replace(settled, checkpoint=checkpoint)


def open_here(model: SettledModel) -> Embedder:
    """Load a model in this process, on its device if there is one here, else on the CPU."""
    import torch

    here = model.device.type != "cuda" or torch.cuda.is_available()
    return open_settled(model, str(model.device) if here else "cpu")


def open_settled(model: SettledModel, device: str, batch_size: int | None = None) -> Embedder:
    """Load the weights of a model that was settled, on a device of this machine."""
    return Embedder(
        model.checkpoint, emb_layer=model.layer, device=device, dtype=model.precision,
        batch_size=batch_size,
    )  # fmt: skip
