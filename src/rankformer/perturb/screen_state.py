"""What a screen has learned of its cells, to go on from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankformer.perturb.correction import FORMER, KnownErrors

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class ScreenState:
    """What a screen has learned of the cells so far.

    Attributes
    ----------
    directions
        (K, d_model) float64, along which changes are estimated.
    n_states
        How many of them, the first ones, are those of the states.
    former
        What the estimates of the last cells missed.
    """

    directions: NDArray[np.float64]
    n_states: int
    former: KnownErrors

    def as_table(self) -> "pa.Table":
        """A table of one row, from which it can be made again."""
        import pyarrow as pa

        columns = {
            "directions": self.directions, "places": self.former.places,
            "errors": self.former.errors,
        }  # fmt: skip
        lists = {name: pa.array([each.ravel().tolist()]) for name, each in columns.items()}
        return pa.table({
            **lists, "n_directions": [len(self.directions)], "n_states": [self.n_states]
        })  # fmt: skip

    @classmethod
    def from_table(cls, table: "pa.Table") -> "ScreenState":
        """What `as_table` made a table of."""
        row = table.to_pylist()[0]
        places = np.array(row["places"], np.float64)
        former = KnownErrors(
            np.full(len(places), FORMER), places,
            np.array(row["errors"], np.float64).reshape(len(places), -1),
        )  # fmt: skip
        directions = np.array(row["directions"], np.float64).reshape(row["n_directions"], -1)
        return cls(directions, row["n_states"], former)
