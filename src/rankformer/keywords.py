"""Keywords that functions of `rankformer.tl` share: fields of settings, passed on by name.

A function takes them as ``**how``, typed for editors and type checkers by a ``TypedDict``, and
shown by ``help()`` with the defaults of the settings' dataclasses.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field
from difflib import get_close_matches
from functools import wraps
from typing import Any, ParamSpec, TypedDict, TypeVar, get_type_hints

from rankformer.annotate.settings import Integration
from rankformer.annotate.settings import Method as Way
from rankformer.embed.settings import Dtype
from rankformer.model.spec import LayerNumbering
from rankformer.networks.settings import By
from rankformer.perturb.settings import Against, Method, ReadOut, StateStatistic
from rankformer.settings import describe, described_fields, is_settings
from rankformer.tokens.edit_types import EditType

P = ParamSpec("P")
R = TypeVar("R")


class ReadingKeywords(TypedDict, total=False):
    """Fields of `ReadingOptions`."""

    layer: str | None
    use_raw: bool | None
    undo_log1p: bool
    estimated_counts: bool
    check: bool
    gene_ids: str | None
    gene_table: Any
    pyensembl_genome: Any
    orthologs: Any
    min_recognised: float
    only_genes: Collection[str] | None
    n_threads: int | None
    chunk_cells: int


class PredictKeywords(ReadingKeywords, total=False):
    """Those of `ReadingOptions`, and where a model runs."""

    device: str
    dtype: Dtype
    batch_size: int | None


class EmbedKeywords(PredictKeywords, total=False):
    """Those of `ReadingOptions` and of `Running`."""

    emb_layer: int
    layer_numbering: LayerNumbering


class AnnotateKeywords(EmbedKeywords, total=False):
    """Those of `ReadingOptions`, `Running` and `Labelling`."""

    method: Way
    group: str | None
    n_neighbors: int
    max_doubt: float | None
    use_doubt: bool
    min_share: float | None
    distance_quantile: float | None
    allow_shift: bool
    share_genes: bool
    integrate: Integration
    probabilities: bool
    majority_vote: str | None


class PerturbKeywords(EmbedKeywords, total=False):
    """Those of `ReadingOptions`, `Running`, `Perturbation`, `States` and `ScreenSettings`."""

    genes: str | Sequence[str]
    groups: Sequence[Sequence[str]]
    anchor: str | None
    kind: EditType
    share: float
    read_out: ReadOut
    state: str | None
    start: object
    goal: object
    alternatives: str | Sequence[str]
    state_statistic: StateStatistic
    method: Method
    top: int | None
    exact_cells: int | None
    n_exact: int
    n_directions: int
    n_cells: int | None
    seed: int
    as_published: bool


class TestKeywords(TypedDict, total=False):
    """Fields of `Comparison`."""

    against: Against
    goal: str | None
    replicate: str | None
    min_cells: int
    seed: int


class NetworkKeywords(EmbedKeywords, total=False):
    """Those of `ReadingOptions`, `Running` and `NetworkSettings`."""

    by: By
    top: int | None
    genes: str | Sequence[str]
    n_cells: int | None
    min_cells: int
    seed: int
    kind: EditType
    share: float
    layers: int | Sequence[int]
    heads: int | Sequence[int]


class ShiftKeywords(EmbedKeywords, total=False):
    """Those of `ReadingOptions`, `Running` and `ShiftSettings`."""

    within: str | None
    min_cells: int
    n_permutations: int
    n_cells: int | None
    seed: int


def show_keywords(*classes: type) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Show, and take, the fields of settings as keywords of a function that takes ``**how``.

    Parameters
    ----------
    *classes
        Settings; fields that are settings themselves count by their own fields. Keywords that the
        function has already, and fields that its ``**how`` does not know, are left out.
    """

    def make(function: Callable[P, R]) -> Callable[P, R]:
        own = inspect.signature(function)
        known = _known_keywords(function)
        shown = {
            each.name: each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD
        }
        for cls in classes:
            for each, _ in _fields_within(cls):
                if each.name in known:
                    shown.setdefault(each.name, _as_keyword(each, known[each.name]))
        signature = own.replace(parameters=list(shown.values()))

        @wraps(function)
        def call(*arguments: P.args, **keywords: P.kwargs) -> R:
            odd = next((name for name in keywords if name not in shown), None)
            if odd is not None:
                raise TypeError(_unexpected(function.__name__, odd, shown))
            return function(*arguments, **keywords)

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = _with_keywords(call.__doc__ or "", classes, known)
        call.__annotations__ = {
            **{each.name: each.annotation for each in shown.values()},
            "return": own.return_annotation,
        }
        return call

    return make


def take(cls: Any, how: Mapping[str, Any]) -> dict[str, Any]:
    """Of keywords those that are fields of some settings."""
    names = {each.name for each, _, _ in described_fields(cls)}
    return {name: value for name, value in how.items() if name in names}


def _with_keywords(said: str, classes: Iterable[type], known: Collection[str]) -> str:
    """A docstring that describes each keyword in the place of ``**how``."""
    found = re.search(r"^( *)\*\*how\n(?:\1 +.*\n)+", said, flags=re.MULTILINE)
    if found is None:
        return said
    indent, lines = found[1], dict[str, list[str]]()
    for each, _ in (field for cls in classes for field in _fields_within(cls)):
        if each.name in known:
            lines.setdefault(each.name, [f"{indent}{each.name}", *describe(each, f"{indent}    ")])
    described = "".join(f"{line}\n" for each in lines.values() for line in each)
    return said[: found.start()] + described + said[found.end() :]


def _fields_within(cls: Any) -> "Iterator[tuple[Field[Any], Any]]":
    """Fields that describe themselves, with their types; those of settings in their place."""
    for each, kind, about in described_fields(cls):
        within = [one for one in (kind, *getattr(kind, "__args__", ())) if is_settings(one)]
        if within:
            yield from _fields_within(within[0])
        elif about is not None:
            yield each, kind


def _unexpected(function: str, odd: str, known: Iterable[str]) -> str:
    near = get_close_matches(odd, known, n=1)
    hint = f". Did you mean {near[0]!r}?" if near else ""
    return f"{function}() got an unexpected keyword argument {odd!r}{hint}"


def _known_keywords(function: Callable[..., Any]) -> dict[str, Any]:
    """Names and types of the keywords that a function takes as ``**how``."""
    how = next(
        each for each in inspect.signature(function).parameters.values()
        if each.kind is each.VAR_KEYWORD
    )  # fmt: skip
    (typed,) = how.annotation.__args__
    return get_type_hints(typed)


def _as_keyword(each: "Field[Any]", kind: Any) -> inspect.Parameter:
    default = each.default
    if not isinstance(default, str | int | float | tuple | type(None)):
        default = None
    return inspect.Parameter(
        each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
    )
