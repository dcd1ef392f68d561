"""Write the pictures that tests compare with: python -m tests.show.write_baselines [NAME …]."""

import io
import sys

import matplotlib as mpl
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tests.show.pictures import BASELINE, PICTURES, draw


def main(names: list[str]) -> None:
    BASELINE.mkdir(exist_ok=True)
    for name in names or PICTURES:
        image = Image.open(io.BytesIO(draw(name))).convert("RGB")
        about = PngInfo()
        about.add_text("Software", f"matplotlib {mpl.__version__}")
        image.save(BASELINE / f"{name}.png", optimize=True, pnginfo=about)


if __name__ == "__main__":
    main(sys.argv[1:])
