"""Where the folders of models lie on this machine, by their names; nothing is downloaded."""

import logging
import os
from pathlib import Path

from rankformer.checkpoints.registry import MODELS, PACKAGED_MODEL, PublishedModel
from rankformer.errors import CheckpointError
from rankformer.model.spec import WEIGHTS_FILES

logger = logging.getLogger(__name__)
MODELS_FOLDER_VARIABLE = "RANKFORMER_MODELS"


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


def packaged_folder() -> Path:
    """Where the model that ships with rankformer lies."""
    return Path(__file__).resolve().parents[1] / "packaged_models" / PACKAGED_MODEL


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
    return next((each for each in candidates if weights_in(each)), None)


def _hub_folders(published: PublishedModel) -> list[Path]:
    from rankformer.checkpoints.hub import cached_folder

    return [each for name in published.hub_folders if (each := cached_folder(name)) is not None]


def weights_in(folder: Path) -> Path | None:
    """The weights in a folder, safetensors before pickles, or None."""
    return next((folder / name for name in WEIGHTS_FILES if (folder / name).is_file()), None)
