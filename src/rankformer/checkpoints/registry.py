"""The published Geneformer models: names, shapes, where they lie, hashes. One frozen table."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath

from rankformer.errors import CheckpointError

HUB_REPOSITORY = "ctheodoris/Geneformer"
PACKAGED_MODEL = "rankformer-mini"


@dataclass(frozen=True)
class VocabularyRelease:
    """A release of the dictionaries, which one generation of models shares.

    Attributes
    ----------
    has_cls
        Whether ``<cls>`` and ``<eos>`` are among its tokens.
    sha256
        `Vocabulary.sha256` of the published tables.
    hub_files
        Where the tables lie in the hub's repository: tokens, medians, id mapping, symbols.
    older_hub_files
        Where the same tables lay in older revisions, in the same order; none where they did not.
    """

    name: str
    size: int
    input_length: int
    has_cls: bool
    sha256: str
    hub_files: tuple[str, ...]
    older_hub_files: tuple[str, ...] = ()

    @property
    def generation(self) -> str:
        """V1 or V2."""
        return self.name.split()[0]

    @property
    def n_genes(self) -> int:
        """Its tokens that are no special ones."""
        return self.size - (4 if self.has_cls else 2)


@dataclass(frozen=True)
class Corpus:
    """The cells that a model was trained on, as its authors describe them.

    Attributes
    ----------
    cells
        How many, and of what.
    left_out
        Which cells were left out on purpose; None where that is not known.
    """

    cells: str
    left_out: str | None


@dataclass(frozen=True)
class PublishedModel:
    """A published checkpoint.

    Attributes
    ----------
    name
        The name that rankformer prints.
    aliases
        Helical's newer names of it.
    hub_folders
        Folders of the hub's repository that hold it, newest first; none where the hub has it not.
    corpus
        What it was trained on.
    in_helical
        Whether Helical serves it, by `name` in its older releases and by `aliases` in newer ones.
    licence
        That its source states.
    note
        What else is to be known of it, in a sentence.
    dropout
        That it was trained with, of attention too.
    weights_sha256
        First digits of the hash of the published weights, where known.
    """

    name: str
    aliases: tuple[str, ...]
    hub_folders: tuple[str, ...]
    release: VocabularyRelease
    corpus: Corpus
    n_layers: int
    d_model: int
    n_heads: int
    d_ff: int
    n_parameters: int
    dropout: float = 0.02
    weights_sha256: str | None = None
    in_helical: bool = True
    licence: str = "Apache-2.0"
    note: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.name, *self.aliases, *self.package_names)))

    @property
    def helical_names(self) -> tuple[str, ...]:
        """Its names in Helical, the newest first."""
        return (*self.aliases, self.name) if self.in_helical else ()

    @property
    def package_names(self) -> tuple[str, ...]:
        """Its folders on the hub, by which users of the published package know it."""
        return tuple(PurePosixPath(folder).name for folder in self.hub_folders)

    @property
    def weights_bytes(self) -> int:
        """Size of the float32 weights; the files are within a thousandth of it."""
        return 4 * self.n_parameters


def _tables(folder: str, release: str) -> tuple[str, ...]:
    names = (
        "token_dictionary",
        "gene_median_dictionary",
        "ensembl_mapping_dict",
        "gene_name_id_dict",
    )
    return tuple(f"{folder}/{name}_{release}.pkl" for name in names)


V1 = VocabularyRelease(
    name="V1 (gc30M)",
    size=25_426,
    input_length=2048,
    has_cls=False,
    sha256="8a44e0bb7daace5688b26334b2bf9c862d5077de8d8ce3fe79a387a78ff95aa7",
    hub_files=_tables("geneformer/gene_dictionaries_30m", "gc30M"),
)
V2 = VocabularyRelease(
    name="V2 (gc95M, gc104M)",
    size=20_275,
    input_length=4096,
    has_cls=True,
    sha256="4f263d49264363c06173c4a3eed6cd7e74d9ed9465ea461fe0a517e140fbf027",
    hub_files=_tables("geneformer", "gc104M"),
    older_hub_files=_tables("geneformer", "gc95M"),
)

# As the model cards of the hub's repository and of Helical say.
_MUTATED = "cells with many mutations: malignant cells and immortalized cell lines"
_GENECORPUS_30M = Corpus("about 30 million human cells (Genecorpus-30M)", _MUTATED)
_CELLS_95M = Corpus("about 95 million human cells", "cells with many mutations, as of cancer")
_CELLS_104M = Corpus("about 104 million human cells", "cells of cancer")
_CANCER = "and then about 14 million cells of cancer studies"

MODELS = (
    PublishedModel(
        name="gf-6L-30M-i2048",
        aliases=("gf-6L-10M-i2048",),
        hub_folders=("Geneformer-V1-10M", "gf-6L-30M-i2048"),
        release=V1,
        corpus=_GENECORPUS_30M,
        n_layers=6, d_model=256, n_heads=4, d_ff=512, n_parameters=10_288_722,
        weights_sha256="a5e33a75",
    ),
    PublishedModel(
        name="gf-12L-30M-i2048",
        aliases=("gf-12L-40M-i2048",),
        hub_folders=("gf-12L-30M-i2048", "geneformer-12L-30M"),
        release=V1,
        corpus=_GENECORPUS_30M,
        n_layers=12, d_model=512, n_heads=8, d_ff=1024, n_parameters=39_591_250,
    ),
    PublishedModel(
        name="gf-12L-95M-i4096",
        aliases=("gf-12L-38M-i4096",),
        hub_folders=("gf-12L-95M-i4096",),
        release=V2,
        corpus=_CELLS_95M,
        n_layers=12, d_model=512, n_heads=8, d_ff=1024, n_parameters=37_997_363,
        weights_sha256="4365ba23",
    ),
    PublishedModel(
        name="gf-12L-95M-i4096-CLcancer",
        aliases=("gf-12L-38M-i4096-CLcancer",),
        hub_folders=("gf-12L-95M-i4096_CLcancer",),
        release=V2,
        corpus=Corpus(f"{_CELLS_95M.cells}, {_CANCER}", None),
        n_layers=12, d_model=512, n_heads=8, d_ff=1024, n_parameters=37_997_363,
        weights_sha256="2451adee",
    ),
    PublishedModel(
        name="gf-20L-95M-i4096",
        aliases=("gf-20L-151M-i4096",),
        hub_folders=("gf-20L-95M-i4096",),
        release=V2,
        corpus=_CELLS_95M,
        n_layers=20, d_model=896, n_heads=14, d_ff=1792, n_parameters=151_313_459,
        weights_sha256="db85c081",
    ),
    PublishedModel(
        name="gf-12L-104M-i4096",
        aliases=(),
        hub_folders=("Geneformer-V2-104M",),
        release=V2,
        corpus=_CELLS_104M,
        n_layers=12, d_model=768, n_heads=12, d_ff=3072, n_parameters=104_386_867, dropout=0.1,
        weights_sha256="fff5cba2",
    ),
    PublishedModel(
        name="gf-12L-104M-i4096-CLcancer",
        aliases=(),
        hub_folders=("Geneformer-V2-104M_CLcancer",),
        release=V2,
        corpus=Corpus(f"{_CELLS_104M.cells}, {_CANCER}", None),
        n_layers=12, d_model=768, n_heads=12, d_ff=3072, n_parameters=104_386_867, dropout=0.1,
    ),
    PublishedModel(
        name="gf-18L-316M-i4096",
        aliases=(),
        hub_folders=("Geneformer-V2-316M",),
        release=V2,
        corpus=_CELLS_104M,
        n_layers=18, d_model=1152, n_heads=18, d_ff=4608, n_parameters=316_354_867, dropout=0.1,
        weights_sha256="965cecce",
    ),
    PublishedModel(
        name="gf-12L-40M-i2048-CZI-CellxGene",
        aliases=(),
        hub_folders=(),
        release=V1,
        corpus=Corpus(
            "the cells of gf-12L-30M-i2048, and then, by CZI, on cell types, tissues, stages and "
            "diseases of the CELLxGENE Census at once", None,
        ),
        n_layers=12, d_model=512, n_heads=8, d_ff=1024, n_parameters=39_591_250,
        licence="CC BY 4.0, as Helical says",
        note="Only Helical serves it. Whether it has heads for its labels is not known here.",
    ),
    PublishedModel(
        name="gf-12L-95M-i4096_MTLCellClassifier_CELLxGENE_240522",
        aliases=(),
        hub_folders=("fine_tuned_models/gf-12L-95M-i4096_MTLCellClassifier_CELLxGENE_240522",),
        release=V2,
        corpus=Corpus(
            "the cells of gf-12L-95M-i4096, and then on several labels of cells of CELLxGENE at "
            "once; which ones, and how many cells, is not known here", None,
        ),
        n_layers=12, d_model=512, n_heads=8, d_ff=1024, n_parameters=37_997_363,
        in_helical=False,
        note="It embeds. Heads for its labels do not lie with it: it names no cells.",
    ),
)  # fmt: skip


def find_model(name: str) -> PublishedModel | None:
    """The published model that goes by `name`, in any of its names and any case, or None."""
    wanted = name.lower()
    for model in MODELS:
        if wanted in (each.lower() for each in model.names):
            return model
    return None


def require_model(name: str) -> PublishedModel:
    """As `find_model`.

    Raises
    ------
    CheckpointError
        If no published model goes by this name.
    """
    model = find_model(name)
    if model is None:
        raise CheckpointError(
            f"{name!r} is neither a folder nor a known model.",
            f"A folder with config.json and weights, or one of "
            f"{', '.join([*(each.name for each in MODELS), PACKAGED_MODEL])}.",
            f"{_did_you_mean(name)}`rankformer models` lists all names, as does "
            "rankformer.list_models().",
        )
    return model


def _did_you_mean(name: str) -> str:
    names = {each.lower(): each for model in MODELS for each in model.names}
    names[PACKAGED_MODEL] = PACKAGED_MODEL
    near = get_close_matches(name.lower().replace("_", "-"), names, n=1, cutoff=0.75)
    return f"Did you mean {names[near[0]]}? " if near else "Check the spelling. "
