"""The manifest of a run: what its shards are of, so that nothing else is ever put among them."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rankformer.errors import OutputError
from rankformer.runs.inputs import InputFile
from rankformer.runs.manifest_values import find_odd_value, is_sound_input, options_as_then
from rankformer.runs.option_names import tell_difference

FORMAT, VERSION = "rankformer run", 1
MANIFEST = "manifest.json"
_MOST_TOLD = 5
_NONE = "null"
_BY_EARLIER = (
    "The run was begun by an earlier version of rankformer, some of whose defaults were others."
)
_GO_ON = (
    "Give the command as it was, choose another output, or pass --restart to delete what is there "
    "and begin anew."
)


@dataclass(frozen=True)
class Work:
    """What is computed of the inputs, by which model.

    Attributes
    ----------
    task
        The command, such as ``"embed"``.
    model
        Name, place and hashes of the model and its vocabulary; plain values.
    options
        All that decides the result; plain values.
    shard_cells
        The most cells of a shard.
    """

    task: str
    model: Mapping[str, Any]
    options: Mapping[str, Any]
    shard_cells: int

    @property
    def id(self) -> str:
        """A hash, which each shard bears."""
        return _hash_of(asdict(self))

    def options_as_then(self) -> dict[str, Any]:
        """The options; what came later stands as it was when this was written."""
        return options_as_then(self.task, self.options)

    def differences(self, other: "Work") -> list[str]:
        """What is another in `other` than here, a sentence each, as users know it."""
        own = _flat({**asdict(self), "options": self.options_as_then()})
        theirs = _flat(asdict(other))
        return [
            tell_difference(key, own.get(key), theirs.get(key))
            for key in sorted({*own, *theirs})
            if own.get(key, _NONE) != theirs.get(key, _NONE)
        ]

    @property
    def is_of_earlier_version(self) -> bool:
        """Whether options are missing that came later."""
        return self.options_as_then() != self.options


@dataclass(frozen=True)
class Manifest:
    """What is written in ``manifest.json``.

    Attributes
    ----------
    work
        What is computed.
    inputs
        Of which files, in the order of their cells.
    notes
        What else is to be kept for the merging: plain values.
    """

    work: Work
    inputs: tuple[InputFile, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_cells(self) -> int:
        """The cells of all inputs."""
        return sum(each.n_cells for each in self.inputs)

    def write(self, part: Path) -> None:
        """Write it as JSON."""
        document = {"format": FORMAT, "version": VERSION, **asdict(self)}
        document["sha256"] = _hash_of(document)
        part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a run's folder.

        Raises
        ------
        OutputError
            If there is none, or it is damaged or of a later version.
        """
        file = folder / MANIFEST
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            is_ours = found["format"] == FORMAT
            version = found["version"]
            if is_ours and version == VERSION:
                if found.pop("sha256", None) != _hash_of(found):
                    raise ValueError("it is not as it was written")
                inputs = tuple(InputFile(**each) for each in found["inputs"])
                return _of_right_types(cls(Work(**found["work"]), inputs, dict(found["notes"])))
        except FileNotFoundError as error:
            raise OutputError(
                f"{folder} has no {MANIFEST}.",
                "The folder of a run, as `rankformer embed FILE -o FOLDER` makes it.",
                "Check the path.",
            ) from error
        # A damaged one may lack any part, or have it in another form.
        except Exception as error:
            raise _damaged(file, str(error) or type(error).__name__) from error
        if not is_ours:
            raise _damaged(file, f"its format is {found['format']!r}")
        raise OutputError(
            f"{file} is of version {version}.",
            f"Version {VERSION}, which this version of rankformer writes.",
            "Use the version of rankformer that wrote it, or begin anew (--restart).",
        )

    def expect_values(self, folder: Path) -> None:
        """Refuse a manifest that lacks what its task reads of it, or has it in another form.

        Raises
        ------
        OutputError
            If it does; it says where.
        """
        work = self.work
        values = {"model": work.model, "options": work.options, "notes": self.notes}
        odd = find_odd_value(work.task, values, self.inputs)
        if odd is not None and odd.is_of_version:
            raise OutputError(
                f"The run in {folder} was begun by another version of rankformer: in its "
                f"{MANIFEST}, {odd.text}.",
                "A run that this version can go on with.",
                "Use the version that began it, or begin anew with --restart, which deletes what "
                "it had done.",
            )
        if odd is not None:
            raise _damaged(folder / MANIFEST, odd.text)

    def expect_same(
        self,
        work: Work,
        inputs: Mapping[str, InputFile],
        folder: Path,
        *,
        may_change: Collection[str] = (),
    ) -> None:
        """Refuse to go on with another work, or with inputs that are not what they were.

        Parameters
        ----------
        work
            What is now to be done.
        inputs
            Path → the inputs as they are now, in their order.
        folder
            Of the run.
        may_change
            Paths of inputs that failed, and may have been mended.

        Raises
        ------
        OutputError
            If anything differs; it says what.
        """
        odd = self.work.differences(work)
        known = {each.path: each for each in self.inputs}
        odd += [f"{path} was no input and is one now" for path in inputs if path not in known]
        odd += [f"{path} was an input and is none now" for path in known if path not in inputs]
        if not odd and list(inputs) != [each.path for each in self.inputs]:
            odd.append("the inputs come in another order than they did")
        advice: list[str] = []
        for path, now in inputs.items():
            # What could not be read may have been mended.
            is_bound = path in known and known[path].n_cells > 0 and path not in may_change
            change = known[path].differs_from(now) if is_bound else None
            if change:
                odd.append(f"the {change} of {path} is another than it was")
                touched = known[path].advice_where_touched(now)
                advice += [touched] if touched and len(advice) < _MOST_TOLD else []
        if odd:
            more = f"; and {len(odd) - _MOST_TOLD} more" if len(odd) > _MOST_TOLD else ""
            earlier = [_BY_EARLIER] if self.work.is_of_earlier_version else []
            raise OutputError(
                f"{folder} holds the parts of another run: {'; '.join(odd[:_MOST_TOLD])}{more}.",
                "The same inputs and options, so that its parts can be gone on with.",
                " ".join([*earlier, *advice, _GO_ON]),
            )


def _of_right_types(manifest: Manifest) -> Manifest:
    """Refuse values of other types, which JSON may hold where it was damaged or edited."""
    work = manifest.work
    is_right = (
        isinstance(work.task, str)
        and isinstance(work.model, dict)
        and isinstance(work.options, dict)
        and type(work.shard_cells) is int
        and work.shard_cells > 0
        and all(map(is_sound_input, manifest.inputs))
    )
    if not is_right:
        raise TypeError("a value is of another type or size than a run writes")
    return manifest


def _damaged(file: Path, reason: str) -> OutputError:
    return OutputError(
        f"{file} could not be read: {reason[:200]}.",
        "A manifest as a run writes it.",
        "Begin the run anew with --restart, which deletes what it had done.",
    )


def _hash_of(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Path of each value, with dots → the value as JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value)
    return flat
