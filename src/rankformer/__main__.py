"""``python -m rankformer``."""

from rankformer.cli import run

if __name__ == "__main__":
    run()
