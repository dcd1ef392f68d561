"""The table of what is read: how a sound one is made, how it is read, and when that is right.

A new reader of files gets an entry here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import judges, readers, sound
from tests.fuzz.content import Content


@dataclass(frozen=True)
class Loader:
    """A reader of files or folders.

    Attributes
    ----------
    name
        In the table of outcomes, and of a case: ``NAME:NUMBER``.
    make
        Makes sound files or folders, each an entry of the folder that it is given; beside that
        folder lie models and cells.
    read
        Reads one as a user does, and gives what it read. It is called where models and cells lie.
    judge
        What to call a result that differs from that of the sound one, given the sound and the
        damaged one and what was read of both.
    share
        Cases of a hundred or so, beside those of the others.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Content]
    judge: Callable[[Path, Path, Content, Content], str]
    share: int


LOADERS = (
    Loader("h5ad", sound.make_h5ad, readers.read_cells, judges.judge_cells, 24),
    Loader("h5ad, inspect", sound.make_h5ad, readers.inspect, judges.never_other, 4),
    Loader("h5ad, embed", sound.make_h5ad, readers.embed, judges.judge_embedding, 6),
    Loader("zarr", sound.make_zarr, readers.read_cells, judges.judge_cells, 14),
    Loader("10x h5", sound.make_tenx_h5, readers.read_cells, judges.judge_cells, 10),
    Loader("10x folder", sound.make_tenx_folder, readers.read_cells, judges.judge_cells, 9),
    Loader("tokens", sound.make_tokens, readers.read_tokens, judges.judge_tokens, 8),
    Loader("vocabulary", sound.make_vocabularies, readers.read_vocabulary,
           judges.judge_vocabulary, 10),
    Loader("checkpoint", sound.make_checkpoints, readers.read_checkpoint,
           judges.judge_checkpoint, 10),
    Loader("fine-tuned", sound.make_finetuned, readers.read_finetuned, judges.judge_finetuned, 6),
    Loader("reference", sound.make_references, readers.read_reference, judges.judge_reference, 8),
    Loader("resumed pretraining", sound.make_pretraining, readers.resume_pretraining,
           judges.never_other, 3),
    Loader("resumed fine-tuning", sound.make_finetuning, readers.resume_finetuning,
           judges.never_other, 3),
    Loader("perturbed", sound.make_perturbed, readers.read_perturbed, judges.any_other, 5),
    Loader("gene table", sound.make_gene_tables, readers.read_gene_table, judges.any_other, 4),
    Loader("orthologs", sound.make_orthologs, readers.read_orthologs, judges.any_other, 4),
    Loader("run", sound.make_runs, readers.read_run, judges.never_other, 8),
    Loader("sketch", sound.make_sketches, readers.read_sketch, judges.never_other, 3),
)  # fmt: skip
