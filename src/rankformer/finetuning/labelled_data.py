"""What is fine-tuned on: cells with labels, or cells with labels on their genes."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.cells.obs_columns import require_column
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.finetuning.batches import LabelledBatches
from rankformer.finetuning.head_outputs import cell_outputs, gene_outputs, in_blocks
from rankformer.finetuning.settings import CellTask, GeneTask
from rankformer.model.heads import Unit
from rankformer.training.cells import CountedCells, TokenCells
from rankformer.training.labels import Labels, read_cell_labels, read_gene_labels
from rankformer.training.split_plan import SplitPlan
from rankformer.training.splits import PARTS, PartSplit, split_units

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

_GENES_VALIDATED_IN = 512


@dataclass(frozen=True, eq=False)
class LabelledData:
    """Cells, and the units that have labels.

    Attributes
    ----------
    cells
        All cells.
    rows
        (n,) rows of the cells that are not filtered out.
    labels
        Of all cells of `cells`, or of all tokens of the vocabulary.
    units
        (m,) ascending: rows of cells, or tokens, that have a label.
    unit
        Which of the two.
    groups
        (m,) of the units, or None.
    """

    cells: CountedCells | TokenCells
    rows: NDArray[np.int64]
    labels: tuple[Labels, ...]
    units: NDArray[np.int64]
    unit: Unit
    groups: "pd.Series[Any] | None" = None

    def splits(self, plan: SplitPlan) -> Iterator[PartSplit]:
        """Splits of the units, in rows of cells or tokens, stratified by the first classes."""
        head = next((each for each in self.labels if each.head.classes), None)
        classes = np.full(len(self.units), "", dtype=object)
        if head is not None:
            classes = head.names[self.units]
        for positions in split_units(classes, self.groups, plan):
            yield PartSplit(*(self.units[getattr(positions, part)] for part in PARTS))

    def scaled(self, train: NDArray[np.int64]) -> "LabelledData":
        """With numbers at mean 0 and standard deviation 1 over the units trained on."""
        return replace(self, labels=tuple(each.scaled(train) for each in self.labels))

    def batches(self, part: NDArray[np.int64]) -> LabelledBatches:
        """Batches with the labels of a part."""
        truth = np.stack([each.truth for each in self.labels])
        if self.unit == "gene":
            own = np.full_like(truth, np.nan)
            own[:, part] = truth[:, part]
            return LabelledBatches(self.cells, own, of_genes=True)
        return LabelledBatches(self.cells, truth)

    def cells_of(self, part: NDArray[np.int64], *, few: bool = False) -> NDArray[np.int64]:
        """Ascending rows of the cells that a part is learned from, or evaluated in.

        Of genes these are all cells; `few` takes some that lie evenly among them.
        """
        if self.unit == "cell":
            return part
        step = -(-len(self.rows) // _GENES_VALIDATED_IN) if few else 1
        return self.rows[::step]

    def outputs(
        self,
        embedder: Embedder,
        modules: "Sequence[nn.Module]",
        mode: Any,
        units: NDArray[np.int64],
    ) -> list[NDArray[np.floating]]:
        """Outputs of each head for units: (len(units), n_outputs), NaN without a gene."""
        if self.unit == "cell":
            blocks = in_blocks(self.cells.take, units)
            return list(cell_outputs(embedder, modules, blocks, mode))
        (module,), (labels,) = modules, self.labels
        blocks = in_blocks(self.cells.take, self.rows)
        means, _ = gene_outputs(embedder, module, blocks, labels.head.n_outputs)
        return [means[units]]

    def table(self, units: NDArray[np.int64]) -> pd.DataFrame:
        """What the units are called: ``cell`` and, of several inputs, ``source``; or ``gene``."""
        if self.unit == "gene":
            return pd.DataFrame({"gene": self.cells.vocabulary.ensembl_id_of[units]})
        table = pd.DataFrame({"cell": self.cells.obs.index[units].astype(str)})
        if len(self.cells.sources) > 1:
            names = [Path(source.name).name for source in self.cells.sources]
            lengths = [len(source) for source in self.cells.sources]
            table["source"] = np.repeat(np.array(names, object), lengths)[units]
        return table

    def labelled_split(self, split: PartSplit) -> pd.DataFrame:
        """As `split_table`, with the labels: what must be the same for a run to be gone on with."""
        truth = {f"label {i}": each.truth[self.units] for i, each in enumerate(self.labels)}
        return self.split_table(split).assign(**truth)

    def split_table(self, split: PartSplit) -> pd.DataFrame:
        """The units with their part and, where there are groups, their group."""
        parts = np.empty(len(self.units), dtype=object)
        for part in PARTS:
            parts[np.searchsorted(self.units, getattr(split, part))] = part
        table = self.table(self.units).assign(part=parts)
        return table if self.groups is None else table.assign(group=self.groups.to_numpy(str))


def gather_labelled_data(
    cells: CountedCells | TokenCells, task: CellTask | GeneTask
) -> LabelledData:
    """Find the labels of a task.

    Raises
    ------
    SettingsError, GeneError
        If they are missing, or there is nothing to learn.
    """
    rows = np.flatnonzero(cells.kept)
    if isinstance(task, GeneTask):
        tokens, labels = read_gene_labels(
            task.table, cells.vocabulary,
            gene=task.gene, label=task.label, unlabelled=task.unlabelled,
        )  # fmt: skip
        truth = np.full(cells.vocabulary.size, np.nan, np.float32)
        truth[tokens] = labels.truth
        return LabelledData(cells, rows, (Labels(labels.head, truth),), tokens, "gene")
    obs = cells.obs
    labels_of_cells = read_cell_labels(
        obs, task.labels, task.numbers, weights=task.weights, unlabelled=task.unlabelled
    )
    known = np.any([each.known for each in labels_of_cells], axis=0)
    units = rows[known[rows]]
    if task.group is None:
        logger.warning(
            "No group was named, so cells of one donor or batch may be both trained and tested on, "
            "and figures may be better than on new donors. Name its column: group (--group)."
        )
        return LabelledData(cells, rows, tuple(labels_of_cells), units, "cell")
    require_column(obs, task.group, "group (--group)")
    groups = obs[task.group].iloc[units]
    return LabelledData(cells, rows, tuple(labels_of_cells), units, "cell", groups)


def hash_split(table: pd.DataFrame) -> str:
    """SHA-256 of a split, so that a run is not resumed with another one."""
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


def check_trained_classes(labelled_data: LabelledData, split: PartSplit) -> None:
    """Tell classes that are not trained on; refuse where fewer than two are.

    Raises
    ------
    SettingsError
        If there is nothing to tell apart.
    """
    for each in labelled_data.labels:
        if not each.head.classes:
            _check_trained_numbers(each.truth[split.train], each.head.name)
            continue
        trained = each.truth[split.train][each.known[split.train]].astype(np.int64)
        counts = np.bincount(trained, minlength=len(each.head.classes))
        without = [name for name, n in zip(each.head.classes, counts, strict=True) if not n]
        if len(each.head.classes) - len(without) < 2:
            raise SettingsError(
                f"The part to train on has {int((counts > 0).sum())} class(es) of "
                f"{each.head.name!r}.",
                "At least two.",
                "Choose another seed or group, or pass more cells.",
            )
        if without:
            logger.warning(
                "Of the label %s, the training has no %s of the class %s, which therefore cannot "
                "be learned.",
                each.head.name,
                labelled_data.unit,
                ", ".join(without),
            )


def _check_trained_numbers(truth: NDArray[np.float32], name: str) -> None:
    own = truth[~np.isnan(truth)]
    if len(np.unique(own)) < 2:
        raise SettingsError(
            f"The part to train on has {len(np.unique(own))} number(s) of {name!r}.",
            "Numbers that differ between the units that are trained on.",
            "Choose another seed or group, or pass more cells.",
        )
