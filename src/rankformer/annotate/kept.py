"""What a run keeps of its reference and queries, for its later processes and for the merging."""

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.shared_genes import GeneOverlap, not_shared
from rankformer.runs.run_folders import PREPARED
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import TokenStream

_EARLIER = "the run was begun by an earlier version"


def keep_overlap(folder: Path, overlap: GeneOverlap) -> None:
    """Keep what is shared with the run: its later processes rank the queries by it."""
    genes = None if overlap.genes is None else overlap.genes.tolist()
    file = _overlap_file(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    known = {
        "genes": genes, "told": overlap.told, "is_ranked": overlap.is_ranked,
        "names": list(overlap.names),
    }  # fmt: skip
    part.write_text(json.dumps(known), encoding="utf-8")
    part.replace(file)


def kept_overlap(folder: Path) -> GeneOverlap:
    """What `keep_overlap` kept."""
    try:
        known = json.loads(_overlap_file(folder).read_text(encoding="utf-8"))
        genes = known["genes"]
        own = None if genes is None else np.array(genes, np.int32)
        names = tuple(known.get("names", ()))
        return GeneOverlap(own, known["told"], known["is_ranked"], names)
    except FileNotFoundError:
        return not_shared(_EARLIER)


def _overlap_file(folder: Path) -> Path:
    return folder / PREPARED / "shared_genes.json"


def keep_variables(folder: Path, source: TokenSource) -> None:
    """Keep with a run which gene each variable of an input is, for when its shards are merged."""
    if isinstance(source, TokenStream) and source.path is not None:
        file = _file_of(folder, source.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, source.mapping.tokens)


def kept_variables(folder: Path, path: Path) -> NDArray[np.int32] | None:
    """What `keep_variables` kept of an input; None where there is nothing."""
    file = _file_of(folder, path)
    return np.load(file, allow_pickle=False) if file.exists() else None


def _file_of(folder: Path, path: Path) -> Path:
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return folder / PREPARED / f"variables-{name}.npy"
