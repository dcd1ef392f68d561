"""Write the pictures that tests compare with: python -m tests.show.write_baselines [NAME …]."""

import io
import sys

from PIL import Image
from tests.show.pictures import BASELINE, PICTURES, draw


def main(names: list[str]) -> None:
    BASELINE.mkdir(exist_ok=True)
    for name in names or PICTURES:
        image = Image.open(io.BytesIO(draw(name))).convert("RGB")
        image.save(BASELINE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
