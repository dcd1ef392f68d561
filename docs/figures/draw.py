"""Draw the pictures of the docs: ``make figures``.

Each file that is named below has a function ``draw`` and makes a picture of its name. They are
drawn from the cells and the model that ship, so that they show what the code does;
tests/test_figures.py holds that they are those of today.
"""

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
PICTURES = (
    "rank_value_encoding",
    "three_embeddings",
    "layers",
    "vocabularies",
    "perturbation",
    "zero_shot",
)


def main(folder: Path = FOLDER) -> None:
    """Draw all of them into a folder."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    from drawing import save

    for name in PICTURES:
        save(importlib.import_module(name).draw(), folder / f"{name}.svg")


if __name__ == "__main__":
    main()
