"""Geneformer embeddings of single cells: fast, faithful, and clear about what it did.

Names are imported on first use, so that ``import rankformer`` loads neither torch nor anndata;
``__init__.pyi`` lists them.
"""

from typing import Any

import lazy_loader

_get_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("rankformer")
    return _get_public(name)
