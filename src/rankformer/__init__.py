"""Geneformer embeddings of single cells: fast, faithful, and clear about what it did.

Names are imported on first use, so that ``import rankformer`` loads neither torch nor anndata;
``__init__.pyi`` lists them.
"""

from importlib.metadata import version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = version("rankformer")
