"""The tools: each calls the function that its command calls, and says in figures what was done.

A parameter is a class of settings, whose fields the tool then takes, or says in its annotation what
it means. Paths come as they lie in the allowed folders: `parameters.arguments_of` sees to that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar, get_type_hints

from rankformer.annotate.settings import AnnotateJob
from rankformer.embed.settings import EmbedJob, Running
from rankformer.errors import OutputError
from rankformer.mcp.inspected import Inspected
from rankformer.mcp.parameters import Meaning, Model
from rankformer.mcp.results import (
    Embedded,
    Fetched,
    Labelled,
    ModelHere,
    Models,
    Perturbed,
    Reported,
    Result,
    Tested,
    genes_found,
)
from rankformer.perturb.settings import Comparison, PerturbJob
from rankformer.report.settings import ReportJob, ReportSettings
from rankformer.runs.settings import RunSettings
from rankformer.tokens.reading_options import GeneOptions, ReadingOptions

_MOST_ROWS = 20
Job = TypeVar("Job", EmbedJob, AnnotateJob, PerturbJob)


@dataclass(frozen=True)
class Tool:
    """A tool of the server.

    Attributes
    ----------
    run
        The function; its docstring describes the tool, and its hint of what comes back the result.
    title
        For people.
    is_reading
        Whether it writes nothing.
    needs_network
        Whether it is offered only where downloads are allowed.
    """

    run: Callable[..., Result]
    title: str
    is_reading: bool = False
    needs_network: bool = False

    @property
    def name(self) -> str:
        return self.run.__name__

    @property
    def result(self) -> type[Result]:
        return get_type_hints(self.run)["return"]  # type: ignore[no-any-return]


def inspect(
    file: Annotated[Path, Meaning("A file or folder with counts.", "input")],
    genes: GeneOptions,
    model: Annotated[
        list[str] | None,
        Meaning(
            "Models to compare the genes with; by default all models on this machine.", "model"
        ),
    ] = None,
) -> Inspected:
    """Say what a file of single cells holds, and which parameters of `embed` suit it.

    Nothing is written. Use it first: it tells the columns of obs, where the counts are, how genes
    are named, and how many of them models know.
    """
    from rankformer.mcp.inspected import describe_inspection
    from rankformer.tokens.inspection import inspect_file

    return describe_inspection(inspect_file(file, models=model, genes=genes))


def embed(
    job: EmbedJob, options: ReadingOptions, running: Running, model: Model = None
) -> Embedded:
    """Compute the embedding of each cell, or of each gene of each cell, and write it to a file.

    An embedding is a vector by which similar cells lie close together; scanpy takes it in the place
    of principal components.
    """
    from rankformer.checkpoints.model_folder import ModelFolder
    from rankformer.embed.files import embed_files

    name = _model_or_default(model)
    taken = ModelFolder.open(name)
    made = embed_files(in_one_go(job), name, options, **vars(running))
    return Embedded(
        output=job.output, model=taken.name, inputs=genes_found(made.sources), mode=job.mode,
        d_model=taken.spec.d_model,
        key=job.key if job.output.suffix in (".h5ad", ".zarr") and job.mode != "gene" else None,
    )  # fmt: skip


def annotate(
    job: AnnotateJob, options: ReadingOptions, running: Running, model: Model = None
) -> Labelled:
    """Give cells the labels of a labelled reference, by the way that does best on it.

    The cells of the input and those of the reference are embedded by the same model, and compared
    by the genes that both have. Several ways of naming are tried on the reference itself; a cell
    with a low probability, or far from the reference, is called unknown.
    """
    from rankformer.annotate.files import annotate_files
    from rankformer.checkpoints.model_folder import ModelFolder
    from rankformer.mcp.written_files import count_labels

    name = _model_or_default(model)
    taken = ModelFolder.open(name)
    made = annotate_files(in_one_go(job), name, options, **vars(running))
    return Labelled(
        output=job.output, model=taken.name, inputs=genes_found(made.sources),
        labels=count_labels(job),
    )  # fmt: skip


def perturb(
    job: PerturbJob,
    options: ReadingOptions,
    running: Running,
    model: Model = None,
    dry_run: Annotated[
        bool,
        Meaning("Only say how many runs of the model, how long and how much disk it takes."),
    ] = False,
) -> Perturbed:
    """Perturb genes in silico: how far does the embedding of each cell move, and where to?

    A model reads a cell as the list of its genes, ordered by their expression. Genes are deleted
    from that list, or moved within it, and the cell is embedded again. It may take hours: ask with
    `dry_run` first. Test the effects with `perturb_test`.
    """
    from rankformer.checkpoints.model_folder import ModelFolder
    from rankformer.mcp.written_files import count_rows
    from rankformer.perturb.files import estimate_files, perturb_files

    name = _model_or_default(model)
    taken = ModelFolder.open(name)
    if dry_run:
        found = estimate_files(job, name, options, **vars(running))
        return Perturbed(
            model=taken.name, n_cells=found.n_cells, n_forward_passes=found.n_passes,
            seconds=found.seconds, n_bytes=found.n_bytes,
        )  # fmt: skip
    made = perturb_files(in_one_go(job), name, options, **vars(running))
    return Perturbed(
        model=taken.name, inputs=genes_found(made.sources), output=job.output,
        n_rows=count_rows(job.output),
    )  # fmt: skip


def perturb_test(
    tables: Annotated[
        list[Path],
        Meaning("Tables that `perturb` wrote (.parquet); several are tested as one.", "input"),
    ],
    output: Annotated[
        Path,
        Meaning(
            "The table to write, .csv or .parquet, with a row for each perturbation.", "output"
        ),
    ],
    comparison: Comparison,
    null: Annotated[
        Path | None,
        Meaning(
            "With `against` null: a table of cells in which the genes should do nothing.", "input"
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        Meaning(
            "Also draw the effects against how certain they are (.png, .svg or .pdf).", "output"
        ),
    ] = None,
    overwrite: Annotated[bool, Meaning("Replace the output if it exists.")] = False,
) -> Tested:
    """Test which perturbed genes do more than chance would, with q values for each."""
    from rankformer.perturb.result_files import read_results
    from rankformer.perturb.statistics import compare_genes
    from rankformer.perturb.tested_files import check_outputs, write_tested
    from rankformer.requirements import require_packages

    needed = {
        "sklearn": comparison.against == "mixture",
        "statsmodels": comparison.against == "like_rank" and comparison.replicate is not None,
        "matplotlib": plot is not None,
    }
    require_packages(*(name for name, is_needed in needed.items() if is_needed), extra="perturb")
    check_outputs(output, plot, comparison.against, overwrite=overwrite)
    tested = compare_genes(
        read_results(tables), comparison, None if null is None else read_results([null])
    )
    write_tested(tested, output, overwrite=overwrite)
    if plot is not None:
        from rankformer.show.perturbation_plots import write_volcano

        write_volcano(tested, plot, overwrite=overwrite)
    return Tested(
        output=output, plot=plot, n_perturbations=len(tested),
        n_significant=int((tested["q_value"] < 0.05).sum()) if "q_value" in tested else None,
        top=[
            {str(name): value for name, value in row.items()}
            for row in tested.head(_MOST_ROWS).to_dict("records")
        ],
    )  # fmt: skip


def report(
    job: ReportJob,
    what: ReportSettings,
    options: ReadingOptions,
    running: Running,
    model: Model = None,
) -> Reported:
    """Write one page that shows cells by their embedding and says how good it is, for a browser.

    The page tells what to be careful of, how clusters and labels agree, and how well labels are
    told from the embedding, beside plain expression. Cells are embedded first where the file has no
    such embedding.
    """
    from rankformer.report.files import report_file

    made = report_file(job, what, model, options, **vars(running))
    return Reported(
        output=job.output, n_cells=made.n_cells, n_cells_shown=made.n_shown,
        cautions=[each.text for each in made.cautions],
    )  # fmt: skip


def list_models() -> Models:
    """List the models that have a name: what they were trained on, sizes, and which are here."""
    from rankformer.checkpoints.known_models import list_models as known_models

    return Models(
        models=[
            ModelHere(
                name=each.name, other_names=each.other_names, n_layers=each.n_layers,
                d_model=each.d_model, input_length=each.input_length, n_bytes=each.n_bytes,
                trained_on=each.trained_on, left_out=each.left_out, dictionary=each.dictionary,
                licence=each.licence, note=each.note,
                is_here=each.folder is not None, is_on_hub=each.on_hub,
            )
            for each in known_models()
        ]
    )  # fmt: skip


def fetch_model(
    name: Annotated[str, Meaning("A name that `list_models` lists as on the hub.")],
) -> Fetched:
    """Download a published model and its gene dictionaries from the Hugging Face hub."""
    from rankformer.checkpoints.hub import fetch
    from rankformer.checkpoints.registry import require_model

    return Fetched(model=name, folder=fetch(require_model(name)))


TOOLS: Sequence[Tool] = (
    Tool(inspect, "Inspect a file of cells", is_reading=True),
    Tool(embed, "Embed cells"),
    Tool(annotate, "Name cells by a reference"),
    Tool(perturb, "Perturb genes in silico"),
    Tool(perturb_test, "Test perturbations"),
    Tool(report, "Report on an embedding"),
    Tool(list_models, "List models", is_reading=True),
    Tool(fetch_model, "Fetch a model", needs_network=True),
)


def in_one_go(job: Job) -> Job:
    """The job of one file, in which every input must be read.

    Raises
    ------
    OutputError
        If the output has no ending, which would make a folder of shards.
    """
    if not job.output.suffix:
        raise OutputError(
            f"The output {job.output} has no ending.",
            "A file, such as embedded.h5ad: the ending chooses the format.",
            "Choose another output.",
        )
    return replace(job, run=RunSettings(fail_fast=True))


def _model_or_default(model: str | None) -> str:
    from rankformer.checkpoints.find import default_model

    return model or default_model()
