"""The notebooks of the docs: ``python -m tests.notebooks`` runs them and keeps their outputs.

Outputs are kept so that the docs show them without running anything. What differs from run to run
is left out: times, paths, and what libraries write to stderr. Names of notebooks may be given.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
# A cell with this tag shows what another machine may put in another order, or draw otherwise.
VARIES = "varies"
# And this one figures of a model that was trained, which differ more from machine to machine.
TRAINED = "trained"
# Numbers may differ by this share, and by this much.
RELATIVE = 0.1
ABSOLUTE, ABSOLUTE_OF_TRAINED = 0.002, 0.1
SECONDS = 1200
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
_NUMBER = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")


def notebooks() -> list[Path]:
    """All notebooks of the docs."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """A notebook as it lies."""
    return nbformat.read(path, as_version=4)


def run(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """A copy of a notebook that was run in a folder; an error in a cell is raised."""
    copy = nbformat.from_dict(notebook)
    client = NotebookClient(
        copy, timeout=SECONDS, kernel_name="python3", record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )  # fmt: skip
    # Sums come out the same with the same number of threads.
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})
    return tidy(copy)


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Leave out what differs from run to run, and the name of what ran it."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat_minor = 5
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = list(_merged(each for each in cell.outputs if _is_shown(each)))
            for each in cell.outputs:
                _drop_name_of_picture(each)
    return notebook


def _drop_name_of_picture(output: NotebookNode) -> None:
    """Leave out matplotlib's `<Figure size …>`, which nobody sees."""
    if "image/png" in output.get("data", {}):
        output.data.pop("text/plain", None)


def _is_shown(output: NotebookNode) -> bool:
    return not (output.output_type == "stream" and output.name == "stderr")


def _merged(outputs: Iterator[NotebookNode]) -> Iterator[NotebookNode]:
    """Printed text as one output, however it was cut into messages."""
    before = None
    for each in outputs:
        if before is not None and before.output_type == each.output_type == "stream":
            before.text += each.text
            continue
        if before is not None:
            yield before
        before = each
    if before is not None:
        yield before


def disagreements(kept: NotebookNode, found: NotebookNode) -> list[str]:
    """Where the outputs of two runs of a notebook differ by more than machines do, in sentences."""
    told = []
    for number, (old, new) in enumerate(zip(kept.cells, found.cells, strict=True)):
        if old.cell_type == "code":
            told += [f"cell {number}: {each}" for each in _differences(old, new)]
    return told


def _differences(old: NotebookNode, new: NotebookNode) -> Iterator[str]:
    kinds = [[_kinds(each) for each in cell.outputs] for cell in (old, new)]
    if kinds[0] != kinds[1]:
        yield f"outputs were {kinds[0]}, and are {kinds[1]}"
    elif VARIES not in (tags := old.metadata.get("tags", [])):
        by = ABSOLUTE_OF_TRAINED if TRAINED in tags else ABSOLUTE
        for one, other in zip(old.outputs, new.outputs, strict=True):
            if not alike(text_of(one), text_of(other), by):
                yield f"it said\n{text_of(one)}\nand says\n{text_of(other)}"


def _kinds(output: Any) -> list[str]:
    return sorted(output.get("data", {output.output_type: None}))


def text_of(output: Any) -> str:
    """What an output says; nothing for a picture."""
    if output.output_type == "stream":
        return str(output.text)
    is_picture = any(kind.startswith("image/") for kind in output.get("data", {}))
    return "" if is_picture else str(output.get("data", {}).get("text/plain", ""))


def alike(one: str, other: str, by: float = ABSOLUTE) -> bool:
    """Whether two texts have the same words, and numbers that are close."""
    words = [_NUMBER.sub("#", text).replace("-", "").split() for text in (one, other)]
    numbers = [[float(each.replace(",", "")) for each in _NUMBER.findall(t)] for t in (one, other)]
    return words[0] == words[1] and all(
        abs(a - b) <= by + RELATIVE * max(abs(a), abs(b)) for a, b in zip(*numbers, strict=True)
    )


def main(names: Sequence[str]) -> None:
    """Run notebooks, all unless some are named, and write them with their outputs."""
    for path in notebooks():
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            notebook = run(read(path), Path(folder))
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")  # noqa: T201  # it is asked


if __name__ == "__main__":
    main(sys.argv[1:])
