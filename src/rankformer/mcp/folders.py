"""The folders that a server may read and write, and the paths that lie in them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rankformer.checkpoints.registry import PACKAGED_MODEL, find_model
from rankformer.errors import MissingFileError, SettingsError

_HDF5_NAMES = (".h5ad", ".h5mu", ".h5", ".hdf5")


@dataclass(frozen=True)
class AllowedFolders:
    """Folders outside which nothing is read or written.

    Attributes
    ----------
    folders
        Without symbolic links; relative paths are relative to the first.
    """

    folders: tuple[Path, ...]

    @classmethod
    def open(cls, folders: Sequence[Path]) -> "AllowedFolders":
        """The folders as they lie on the disk.

        Raises
        ------
        MissingFileError
            If one is not there.
        """
        # Clients start the server without a shell, which would know what ~ is.
        folders = [each.expanduser() for each in folders]
        for each in folders:
            if not each.is_dir():
                raise MissingFileError(
                    f"{each} is not a folder.",
                    "A folder that exists, with the files that may be read and written.",
                    "Make it, or name another one with --folder.",
                )
        return cls(tuple(each.resolve() for each in folders))

    def readable(self, path: str | os.PathLike[str]) -> Path:
        """Where an input lies; it need not exist.

        Of a folder, each link within it is looked at; of HDF5, whether it names other files.

        Raises
        ------
        SettingsError
            If it, or something that it takes in, lies outside the folders.
        CountsError
            If it is HDF5 that cannot be read, or that takes something from other files.
        """
        found = self._within(path)
        for file in self._files(found, path, {found}):
            if file == found or file.suffix in _HDF5_NAMES:
                _refuse_hdf5_of_several_files(file)
        return found

    def writable(self, path: str | os.PathLike[str]) -> Path:
        """Where an output is to be written.

        Raises
        ------
        SettingsError
            If it lies outside the folders, or is one of them.
        """
        found = self._within(path)
        if found in self.folders:
            raise SettingsError(
                f"The output {str(path)!r} is the allowed folder itself.",
                "The name of a file in it.",
                "Name a file.",
            )
        return found

    def model(self, name: str) -> str:
        """A model: a folder in the allowed ones, or a name that `list_models` lists.

        Raises
        ------
        SettingsError
            If it is a path outside the folders.
        """
        found = (self.folders[0] / name).resolve() if "\0" not in name else None
        is_name = name == PACKAGED_MODEL or find_model(name) is not None
        if is_name and not (found and found.is_dir()):
            return name
        # A name that no model has is told by what opens models, unless it leads to a place.
        is_path = os.sep in name or name.startswith(".") or (found is not None and found.exists())
        if not is_path:
            return name
        if found in self.folders:
            # Dictionaries are looked for beside the folder of a model as well.
            raise SettingsError(
                f"The model {name!r} is the allowed folder itself.",
                "A name, or a folder within the allowed one.",
                "Start the server with the folder above it.",
            )
        return str(self.readable(name))

    def _within(self, path: str | os.PathLike[str]) -> Path:
        try:
            found = (self.folders[0] / path).resolve()
        except (OSError, RuntimeError, ValueError):
            found = None  # A loop of links, or no path at all.
        if found is None or not self._hold(found):
            raise self._outside(path)
        if found.exists() and not (found.is_file() or found.is_dir()):
            raise SettingsError(
                f"{str(path)!r} is neither a file nor a folder.", "A file or a folder.",
                "Check the path.",
            )  # fmt: skip
        return found

    def _hold(self, path: Path) -> bool:
        return any(path.is_relative_to(each) for each in self.folders)

    def _outside(self, path: object) -> SettingsError:
        return SettingsError(
            f"The path {str(path)!r} leads out of what this server may read and write.",
            f"A path within {' or '.join(map(str, self.folders))}.",
            "Name a file there. The user can start the server with another --folder.",
        )

    def _files(self, place: Path, given: object, seen: set[Path]) -> Iterator[Path]:
        """A file, or all those in a folder, also behind links, each of which must stay inside."""
        if place.is_file():
            yield place
        for folder, folders, files in os.walk(place):
            for each in (Path(folder, name) for name in (*folders, *files)):
                if not each.is_symlink():
                    if each.is_file():
                        yield each
                    continue
                target = each.resolve()
                if not self._hold(target):
                    raise self._outside(f"{given}: {each.relative_to(place)}")
                if target not in seen:
                    seen.add(target)
                    yield from self._files(target, given, seen)


def _refuse_hdf5_of_several_files(path: Path) -> None:
    """HDF5 may take groups and numbers from any file that it names."""
    import h5py

    from rankformer.cells.file_kinds import reading
    from rankformer.cells.hdf5_trial import try_hdf5
    from rankformer.cells.own_bytes import refuse_other_files

    with reading(str(path)):
        if h5py.is_hdf5(path):
            try_hdf5(path)
            with h5py.File(path, "r") as file:
                refuse_other_files(file, str(path))
