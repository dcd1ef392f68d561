"""Published models from the Hugging Face hub, into its usual cache.

Only `fetch` uses the network.
"""

import hashlib
import logging
from pathlib import Path

from rankformer.errors import CheckpointError
from rankformer.model.registry import HUB_REPOSITORY, PublishedModel
from rankformer.model.spec import CONFIG_FILE, WEIGHTS_FILES

logger = logging.getLogger(__name__)


def cached_folder(hub_folder: str, revision: str | None = None) -> Path | None:
    """The folder of a model in the Hugging Face cache, or None. Uses no network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(HUB_REPOSITORY, f"{hub_folder}/{CONFIG_FILE}", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def fetch(published: PublishedModel, *, revision: str | None = None, offline: bool = False) -> Path:
    """Download a published model and its dictionaries into the Hugging Face cache.

    What is there already is not downloaded again, and what was cut short is gone on with. The
    endpoint, cache folder, token and offline mode are those of huggingface_hub (``HF_ENDPOINT``,
    ``HF_HOME``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``).

    Parameters
    ----------
    published
        A row of the registry.
    revision
        A commit, tag or branch of the hub's repository; its main branch unless given.
    offline
        Take from the cache only.

    Returns
    -------
    The model's folder in the cache.

    Raises
    ------
    CheckpointError
        If the hub does not have it or cannot be reached, or the weights are not the published ones.
    """
    if not published.hub_folders:
        raise CheckpointError(
            f"{published.name} is not on the hub.",
            "A model of the Geneformer repository.",
            "Put its files into a folder by hand and pass the folder as the model.",
        )
    for table in published.release.hub_files:
        _require(_download((table,), revision, offline), published, revision)
    configs = [f"{folder}/{CONFIG_FILE}" for folder in published.hub_folders]
    folder = _require(_download(configs, revision, offline), published, revision).parent
    weights = [f"{folder.name}/{name}" for name in WEIGHTS_FILES]
    file = _require(_download(weights, revision, offline), published, revision)
    if revision is None:
        _verify(file, published)
    return folder


def _download(
    candidates: list[str] | tuple[str, ...], revision: str | None, offline: bool
) -> Path | None:
    """The first of the files that the repository has."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for name in candidates:
        try:
            return Path(
                hf_hub_download(HUB_REPOSITORY, name, revision=revision, local_files_only=offline)
            )
        except EntryNotFoundError:
            continue
        # The hub's client raises errors of its own, of its HTTP library and of the system.
        except Exception as error:
            raise _cannot_fetch(name, revision, error) from error
    return None


def _require(file: Path | None, published: PublishedModel, revision: str | None) -> Path:
    if file is None:
        raise CheckpointError(
            f"{HUB_REPOSITORY} at {revision or 'its main branch'} does not hold all of "
            f"{published.name}.",
            f"{CONFIG_FILE} and weights in {' or '.join(published.hub_folders)}, dictionaries in "
            f"{Path(published.release.hub_files[0]).parent}.",
            "Try another --revision, or put the files into a folder by hand.",
        )
    return file


def _cannot_fetch(name: str, revision: str | None, error: Exception) -> CheckpointError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CheckpointError(
        f"{name} of {HUB_REPOSITORY} (revision {revision or 'main'}) could not be fetched: "
        f"{reason}",
        "A connection to the hub, or the file in the Hugging Face cache.",
        "Try again (what was downloaded is kept), check HF_HUB_OFFLINE and HF_ENDPOINT, or copy "
        "the files from another machine.",
    )


def _verify(weights: Path, published: PublishedModel) -> None:
    with weights.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if published.weights_sha256 and not found.startswith(published.weights_sha256):
        logger.warning(
            "The weights of %s have the hash %s, not the published %s: the repository has changed "
            "since this version of rankformer. Pin a --revision to keep results reproducible.",
            published.name, found[:8], published.weights_sha256,
        )  # fmt: skip
