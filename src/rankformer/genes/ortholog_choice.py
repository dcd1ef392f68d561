"""Which orthologs are taken, in words; apart, as settings load neither pandas nor numpy."""

from typing import Literal, TypeAlias

OrthologChoice: TypeAlias = Literal["one-to-one", "best", "summed"]
"""See `rankformer.read_orthologs`."""
