"""The work of a run as something that can be sent to another process."""

import pickle
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

from rankformer.errors import SettingsError
from rankformer.runs.compute import ShardTask
from rankformer.runs.manifest import Manifest
from rankformer.runs.run import Run
from rankformer.runs.sources import RunInputs
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.vocabulary.vocabulary import Vocabulary


class Recipe(ABC):
    """Makes what computes shards, in the process that is to compute them.

    It is sent there, so all that it holds can be pickled: files by their paths, a model by its
    `Checkpoint`, settings as they were settled for the whole run. A new task that is to run in
    workers needs such a class, which it hands to `do_shards` in the place of the task.

    Attributes
    ----------
    device
        What it computes on: ``"cpu"``, ``"cuda"``, or ``"auto"`` for either.
    """

    device: str = "auto"

    @abstractmethod
    def start(self, device: str, n_threads: int) -> ShardTask:
        """Load the model, or what else is needed.

        Parameters
        ----------
        device
            The device of this worker, such as ``"cuda:1"``.
        n_threads
            The CPU threads of this worker.
        """


@dataclass(frozen=True, eq=False)
class WorkElsewhere:
    """What a worker needs to compute any shard of a run.

    Attributes
    ----------
    folder, manifest
        The run.
    recipe
        Makes the task.
    paths, vocabulary, options
        Of the inputs; see `RunInputs`.
    """

    folder: Path
    manifest: Manifest
    recipe: Recipe
    paths: tuple[Path, ...]
    vocabulary: Vocabulary
    options: ReadingOptions

    @classmethod
    def of(cls, run: Run, inputs: RunInputs, recipe: Recipe, n_workers: int = 1) -> "WorkElsewhere":
        """Describe the work to workers, of which each gets its share of the threads that read.

        Raises
        ------
        SettingsError
            If an option cannot be sent to another process.
        """
        threads = max(inputs.options.threads // n_workers, 1)
        options = replace(inputs.options, n_threads=threads)
        paths = tuple(path.absolute() for path in inputs.paths)
        work = cls(run.folder.absolute(), run.manifest, recipe, paths, inputs.vocabulary, options)
        try:
            pickle.dumps(work)
        # What cannot be pickled raises nearly anything.
        except Exception as error:
            raise SettingsError(
                f"The work cannot be sent to other processes: {str(error)[:200]}.",
                "Options that can be pickled, such as names, numbers and tables of genes.",
                "Leave out pyensembl_genome or what else was made in Python, or compute in one "
                "process.",
            ) from error
        return work

    @property
    def run(self) -> Run:
        """The run, in the process that computes."""
        return Run(self.folder, self.manifest)
