"""References that ship with rankformer, by name: cells can be named with no labels of one's own."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rankformer.annotate.settings import AnnotateJob
from rankformer.tokens.reading_options import ReadingOptions

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parents[1] / "packaged_cells"


@dataclass(frozen=True)
class ReadyReference:
    """Labelled cells that ship.

    Attributes
    ----------
    path
        The file.
    label
        The column of obs with the labels.
    limits
        Sentences on what they are, and what they are not.
    """

    path: Path
    label: str
    limits: str

    def tell_limits(self) -> None:
        """Log them as a warning."""
        logger.warning("%s", self.limits)


_READY = {
    "blood": ReadyReference(
        _FOLDER / "blood_cells.h5ad",
        "cell_type",
        "The reference blood is 700 blood cells of one healthy donor and one laboratory (Zheng et "
        "al. 2017), of which 765 genes are known. Its labels are B cells, NK cells, CD14+ "
        "monocytes, dendritic cells, CD34+ cells and five kinds of T cells, given by their "
        "likeness to sorted cells; some kinds of T cells have fewer than 20 cells, and monocytes "
        "and dendritic cells are not told apart well. It has no CD16+ monocytes of their own, "
        "platelets, plasma cells, granulocytes or red cells, and no cell of another tissue, of a "
        "patient or of a stimulated culture. Take it for a first look at cells of blood, and a "
        "labelled reference of your tissue for research.",
    )
}  # fmt: skip


def find_ready(references: Sequence[object]) -> ReadyReference | None:
    """The reference that ships and is meant by a name alone, where nothing on the disk has it."""
    if len(references) != 1 or not isinstance(references[0], str | os.PathLike):
        return None
    name = str(references[0])
    return None if Path(name).exists() else _READY.get(name)


def with_ready_reference(job: AnnotateJob) -> AnnotateJob:
    """The job with the file and the label of a reference that was named; its limits are logged."""
    ready = find_ready(job.references)
    if ready is None:
        return job
    ready.tell_limits()
    return replace(job, references=(ready.path,), labels=job.labels or (ready.label,))


def reading_of_reference(
    references: Sequence[object], options: ReadingOptions | None
) -> ReadingOptions:
    """How references are read: as the cells to be named are, but one that ships as it lies."""
    options = options or ReadingOptions()
    ready = {each.path for each in _READY.values()}
    if not references or not all(isinstance(e, Path) and e in ready for e in references):
        return options
    return ReadingOptions(
        only_genes=options.only_genes, n_threads=options.n_threads, chunk_cells=options.chunk_cells
    )
