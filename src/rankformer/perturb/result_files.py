"""Tables of perturbation read from files: our own, and results of the published package."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rankformer.checkpoints.model_folder import AnyVocabulary, open_vocabulary
from rankformer.errors import MissingFileError, SettingsError, TableError
from rankformer.perturb.statistics import SHIFT
from rankformer.perturb.table import JOINED_BY
from rankformer.plain_pickles import PlainUnpickler
from rankformer.vocabulary.vocabulary import Vocabulary

PICKLES = (".pickle", ".pkl")
_OF_CELLS = "cell_emb"
_CONTAINERS = (("collections", "defaultdict"), ("builtins", "list"), ("builtins", "dict"))
_SAME_ROW = ("cell", "ensembl_id", "method", "rank")
_EXPECTED = "A .parquet that `rankformer perturb` wrote, or a _raw.pickle of the published package."


def read_results(paths: Sequence[Path], model: AnyVocabulary | None = None) -> pd.DataFrame:
    """Read tables of perturbations, which are put together.

    Parameters
    ----------
    paths
        ``.parquet`` of `rankformer perturb`; or ``.pickle`` of the published package, which writes
        one for each part of a run: dictionaries of (token or tokens, ``"cell_emb"``) → cosines, or
        with states of such dictionaries. In place of cells' names they have their numbers among
        those in which a gene was perturbed, and no ranks. Without states, V1 models have the means
        of genes' cosines there, which become ``gene_cosine``.
    model
        For a pickle: the model, or its vocabulary, which names the tokens.

    Returns
    -------
    All rows; of several files, ``source`` tells cells of one name apart.

    Raises
    ------
    MissingFileError, TableError, SettingsError
        If there is no such file, it is damaged or asks for code, the vocabulary is missing, or a
        file is named twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise SettingsError(
            "A table of perturbations was named twice.", "Each file once.", "Leave one out."
        )
    tables = [_read_table(path, model) for path in paths]
    if len(tables) == 1:
        return tables[0]
    _check_alike(paths, tables)
    for path, table in zip(paths, tables, strict=True):
        own = table["source"].astype(str) + "\t" if "source" in table else ""
        table["source"] = own + str(path)
    return pd.concat(tables, ignore_index=True)


def _check_alike(paths: Sequence[Path], tables: Sequence[pd.DataFrame]) -> None:
    """Refuse tables of different perturbations, and rows that are in two."""
    kinds = [_describe(table) for table in tables]
    for path, kind in zip(paths, kinds, strict=True):
        if kind != kinds[0]:
            raise TableError(
                f"{paths[0]} holds {kinds[0]}, and {path} {kind}.",
                "Tables of one perturbation, in parts: of the same type, states and read-out.",
                "Test them one by one.",
            )
    figures = [
        *_SAME_ROW,
        *(name for name in tables[0] if name not in _SAME_ROW and _is_figure(name)),
    ]
    rows = pd.concat([table[[n for n in figures if n in table]].astype(object) for table in tables])
    n_twice = int(rows.duplicated().sum()) if "method" in tables[0] else 0
    if n_twice:
        raise TableError(
            f"{n_twice:,} rows, with all their figures, are in two of the tables.",
            "Each cell in one of them.",
            "Leave one of them out.",
        )


def _is_figure(name: object) -> bool:
    return str(name) in ("cosine", "gene_cosine") or str(name).startswith(SHIFT)


def _describe(table: pd.DataFrame) -> str:
    types = sorted(map(str, table["type"].unique())) if "type" in table else []
    figures = [str(name) for name in table if _is_figure(name)]
    return " ".join([*types, "with", ", ".join(figures) or "no figures"])


def _read_table(path: Path, model: AnyVocabulary | None) -> pd.DataFrame:
    if not path.exists():
        raise MissingFileError(f"{path} does not exist.", _EXPECTED, "Check the path.")
    if path.suffix == ".parquet":
        try:
            return pd.read_parquet(path)
        # Damaged files raise what the library comes across.
        except Exception as error:
            raise TableError(
                f"{path} could not be read: {error}.", _EXPECTED, "Make it anew."
            ) from error
    if path.suffix not in PICKLES:
        raise TableError(
            f"{path} has the ending {path.suffix or '(none)'}.", _EXPECTED, "Name such a file."
        )
    if model is None:
        raise SettingsError(
            f"{path} holds tokens, and no model says which genes they are.",
            "The model that was perturbed.",
            "Name it (--model).",
        )
    vocabulary = open_vocabulary(model)
    try:
        with path.open("rb") as stream:
            content = PlainUnpickler(stream, _CONTAINERS).load()
        return pd.DataFrame(_rows(content, vocabulary)).astype({"rank": "Float64"})
    except TableError:
        raise
    # A damaged pickle can raise nearly anything, depending on the bytes.
    except Exception as error:
        raise TableError(
            f"{path} could not be read: {error}.",
            "A dictionary of (token, 'cell_emb') and cosines; nothing else is unpickled.",
            "Take the file that the published package wrote.",
        ) from error


def _rows(content: Mapping[Any, Any], vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
    has_states = all(isinstance(value, Mapping) for value in content.values())
    states = content if has_states and content else {None: content}
    names = [name for name in states if name is not None]
    # As published, V1 models compare each gene with itself.
    cosine = "gene_cosine" if vocabulary.cls_token is None else "cosine"
    found: dict[tuple[tuple[int, ...], int], dict[str, float]] = {}
    for state, cosines in states.items():
        for key, values in cosines.items():
            perturbed, affected = key
            if affected != _OF_CELLS:
                continue
            tokens = (perturbed,) if not isinstance(perturbed, tuple | list) else perturbed
            own = tuple(int(token) for token in tokens)
            column = cosine if state is None else f"{SHIFT}{state}"
            for number, value in enumerate(values):
                found.setdefault((own, number), {})[column] = float(value)
    if not found:
        raise TableError(
            f"The results hold nothing under (token, {_OF_CELLS!r}).",
            "Results for cells.",
            "Take the file of the cells' embeddings, not of the genes'.",
        )
    columns = [f"{SHIFT}{name}" for name in names] or [cosine]
    ids = vocabulary.ensembl_id_of
    for (tokens, number), values in found.items():
        genes = [str(ids[token]) for token in tokens]
        yield {
            "cell": f"cell {number}",
            "ensembl_id": JOINED_BY.join(genes),
            "symbol": JOINED_BY.join(vocabulary.symbol_of.get(gene, gene) for gene in genes),
            "rank": None,
            **{name: values.get(name, float("nan")) for name in columns},
        }
