"""``python -m rankformer``."""

from rankformer.cli import main

if __name__ == "__main__":
    main()
