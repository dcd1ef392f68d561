"""Embeddings of cells as work for other processes."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.embedder import Embedder
from rankformer.embed.gene_shards import GeneShards
from rankformer.embed.settings import Mode
from rankformer.embed.settled_model import SettledModel, settle_model
from rankformer.embed.vector_shards import VectorShards
from rankformer.errors import SettingsError
from rankformer.runs.compute import ShardTask
from rankformer.runs.engines.recipes import Recipe
from rankformer.runs.settings import RunSettings


@dataclass(frozen=True, eq=False)
class VectorRecipe(Recipe):
    """Loads the model in a worker; see `Recipe`.

    Attributes
    ----------
    model
        The model, with layer and number format as settled for the whole run.
    mode
        What a cell's vector is; or ``"gene"``: each of its genes has one.
    batch_size
        As of `Embedder`.
    """

    model: SettledModel
    mode: Mode
    batch_size: int | None = None

    @property
    def device(self) -> str:  # type: ignore[override]  # of the settled model
        return self.model.device.type

    def start(self, device: str, n_threads: int) -> ShardTask:
        """Load the weights on the worker's device."""
        import torch

        torch.set_num_threads(n_threads)
        if device.startswith("cuda"):
            # Otherwise each worker would take some memory of the first GPU, too.
            torch.cuda.set_device(device)
        return task_of(open_settled(self.model, device, self.batch_size), self.mode)


def task_of(embedder: Embedder, mode: Mode) -> ShardTask:
    """What computes shards of vectors: of cells, or of their genes."""
    return GeneShards(embedder) if mode == "gene" else VectorShards(embedder, mode)


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
