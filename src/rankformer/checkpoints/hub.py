"""Published models from the Hugging Face hub, into its usual cache.

Only `fetch` uses the network.
"""

import hashlib
import logging
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from rankformer.checkpoints.registry import HUB_REPOSITORY, PublishedModel
from rankformer.errors import CheckpointError
from rankformer.model.spec import CONFIG_FILE, WEIGHTS_FILES
from rankformer.printable import without_secrets

logger = logging.getLogger(__name__)
_SECONDS_TO_ANSWER = 10


def cached_folder(hub_folder: str) -> Path | None:
    """The folder of a model in the Hugging Face cache, or None. Uses no network.

    It is that of the main branch, else the newest of any revision: a model fetched at a pinned
    revision, or before the main branch moved on, is found too.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(HUB_REPOSITORY, f"{hub_folder}/{CONFIG_FILE}")
    if isinstance(found, str):
        return Path(found).parent
    snapshots = _repository_cache().glob(f"snapshots/*/{hub_folder}")
    with_config = [each for each in snapshots if (each / CONFIG_FILE).is_file()]
    return max(with_config, key=lambda each: each.stat().st_mtime, default=None)


def _repository_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE) / f"models--{HUB_REPOSITORY.replace('/', '--')}"


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
        If the hub does not have it or cannot be reached. Weights other than the published ones are
        only warned of, and not looked at where a revision is given.
    """
    if not published.hub_folders:
        raise CheckpointError(
            f"{published.name} is not on the hub.",
            "A model of the Geneformer repository.",
            "Put its files into a folder by hand and pass the folder as the model.",
        )
    offline = offline or _is_offline_mode()
    # Asked once and first: huggingface_hub would try again and again for each file.
    unreachable = None if offline else _why_unreachable()
    offline = offline or unreachable is not None

    def get(candidates: Sequence[str]) -> Path:
        file = _download(candidates, revision, offline)
        if file is None and unreachable is not None:
            raise _cannot_fetch(candidates[0], revision, unreachable) from unreachable
        return _require(file, published, revision, offline)

    release = published.release
    for tables in zip_longest(release.hub_files, release.older_hub_files):
        get([table for table in tables if table is not None])
    config = get([f"{folder}/{CONFIG_FILE}" for folder in published.hub_folders])
    own = next(each for each in published.hub_folders if config.parent.match(each))
    file = get([f"{own}/{name}" for name in WEIGHTS_FILES])
    if revision is None:
        _verify(file, published)
    return config.parent


def _why_unreachable() -> Exception | None:
    """What hinders a connection to the hub; None where it answers, whatever it says."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS_TO_ANSWER)
    # The HTTP library differs between releases of huggingface_hub, and with it the errors.
    except Exception as error:
        return error
    return None


def _is_offline_mode() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _download(candidates: Sequence[str], revision: str | None, offline: bool) -> Path | None:
    """The first of the files that the repository, or offline the cache, has."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in candidates:
        try:
            return _download_one(name, revision, offline)
        except LocalEntryNotFoundError as error:
            if offline:
                continue
            cached = _download(candidates, revision, offline=True)
            if cached is None:
                raise _cannot_fetch(name, revision, error.__cause__ or error) from error
            return cached
        except EntryNotFoundError:
            continue
        # The hub's client raises errors of its own, of its HTTP library and of the system.
        except Exception as error:
            raise _cannot_fetch(name, revision, error) from error
    return None


def _download_one(name: str, revision: str | None, offline: bool) -> Path:
    from huggingface_hub import hf_hub_download

    if not offline and Path(name).name in WEIGHTS_FILES:
        _download_blob(name, revision)
    return Path(hf_hub_download(HUB_REPOSITORY, name, revision=revision, local_files_only=offline))


def _download_blob(name: str, revision: str | None) -> None:
    """Put a large file into the cache, going on with what an ended process left of it.

    huggingface_hub goes on within a process, but since 2.0 no longer across them; it takes a blob
    that is there as downloaded.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    try:
        file = get_hf_file_metadata(hf_hub_url(HUB_REPOSITORY, name, revision=revision))
    except Exception as error:
        # The usual download, which comes next, meets it too; it looks into the cache and explains.
        logger.debug("No metadata of %s: %s", name, without_secrets(str(error)))
        return
    if file.etag is None or file.size is None:
        return
    url = hf_hub_url(HUB_REPOSITORY, name, revision=file.commit_hash)
    repository = _repository_cache()
    blob = repository / "blobs" / file.etag
    lock = repository.parent / ".locks" / repository.name / f"{file.etag}.lock"
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if not blob.exists():
            _resume(blob, url, file.size)


def _resume(blob: Path, url: str, size: int) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    part = blob.with_name(f"{blob.name}.rankformer.incomplete")
    with part.open("ab") as stream:
        http_get(
            url, stream, resume_size=stream.tell(), headers=build_hf_headers(), expected_size=size
        )
    found = _sha256(part)
    # Large files are named by their hash, small ones by git's.
    if len(blob.name) == len(found) and found != blob.name:
        part.unlink()
        raise OSError(f"what came has the hash {found[:8]}, not {blob.name[:8]}")
    part.replace(blob)


def _require(
    file: Path | None, published: PublishedModel, revision: str | None, offline: bool
) -> Path:
    if file is not None:
        return file
    place = f"{HUB_REPOSITORY} at {revision or 'its main branch'}"
    fix = "Try another --revision, or put the files into a folder by hand."
    if offline:
        place = f"The Hugging Face cache {_repository_cache().parent}, used offline,"
        fix = (
            "Run `rankformer models fetch` once with a network (without --offline and "
            "HF_HUB_OFFLINE), or copy the cache from another machine."
        )
    raise CheckpointError(
        f"{place} does not hold all of {published.name}.",
        f"{CONFIG_FILE} and weights in {' or '.join(published.hub_folders)}, dictionaries in "
        f"{Path(published.release.hub_files[0]).parent}.",
        fix,
    )


def _cannot_fetch(name: str, revision: str | None, error: BaseException) -> CheckpointError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CheckpointError(
        f"{name} of {HUB_REPOSITORY} (revision {revision or 'main'}) could not be fetched: "
        f"{reason}",
        "A connection to the hub, or the file in the Hugging Face cache.",
        "Try again (what was downloaded is kept), check HF_HUB_OFFLINE and HF_ENDPOINT, or copy "
        "the files from another machine.",
    )


def _verify(weights: Path, published: PublishedModel) -> None:
    found = _sha256(weights)
    if published.weights_sha256 and not found.startswith(published.weights_sha256):
        logger.warning(
            "The weights of %s have the hash %s, not the published %s: the repository has changed "
            "since this version of rankformer. Pin a --revision to keep results reproducible.",
            published.name, found[:8], published.weights_sha256,
        )  # fmt: skip


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
