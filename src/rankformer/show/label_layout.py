"""Where names stand so that they hide neither each other nor what they name."""

import numpy as np
from numpy.typing import NDArray

_ROUNDS, _CLOSE = 300, 1e-3


def spread(heights: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Heights from 0 to 1, moved as little as can be until all lie a gap apart, in their order.

    The outermost keep half a gap from the ends.

    Parameters
    ----------
    heights
        (n,) ascending; n gaps fit between 0 and 1.
    gap
        The least distance.
    """
    steps = gap * np.arange(len(heights))
    blocks: list[tuple[float, int]] = []
    # Isotonic regression, by pooling neighbours that are in the wrong order.
    for height in heights - steps:
        mean, n = float(height), 1
        while blocks and blocks[-1][0] > mean:
            before, m = blocks.pop()
            mean, n = (before * m + mean * n) / (m + n), m + n
        blocks.append((mean, n))
    moved = np.concatenate([np.full(n, mean) for mean, n in blocks]) if blocks else heights
    fitting: NDArray[np.float64] = np.clip(
        moved, gap / 2, max(1 - gap / 2 - steps.max(initial=0), gap / 2)
    )
    return fitting + steps


def uncross(starts: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which end each start is led to, so that no two lines cross.

    Parameters
    ----------
    starts, ends
        (n, 2) places.

    Returns
    -------
    (n,) places among the ends. Swapping the ends of lines that cross makes them shorter, so that it
    comes to an end.
    """
    chosen = np.arange(len(starts))
    for _ in range(_ROUNDS):
        swapped = False
        for i in range(len(chosen)):
            for j in range(i + 1, len(chosen)):
                a, b = chosen[i], chosen[j]
                now = _distance(starts[i], ends[a]) + _distance(starts[j], ends[b])
                then = _distance(starts[i], ends[b]) + _distance(starts[j], ends[a])
                if then < now - 1e-12:
                    chosen[i], chosen[j] = b, a
                    swapped = True
        if not swapped:
            break
    return chosen


def push_apart(centres: NDArray[np.float64], halves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centres of boxes, moved until none overlaps another; at first pulled back to where they were.

    Parameters
    ----------
    centres, halves
        (n, 2) of each box, and half its width and height.
    """
    placed = centres.copy()
    for number in range(2 * _ROUNDS):
        moves = _pushes(placed, halves) / 2
        if np.abs(moves).max(initial=0) < _CLOSE:
            break
        pull = 0.01 if number < _ROUNDS / 3 else 0.0
        placed = placed + 0.6 * moves + pull * (centres - placed)
    return placed


def _pushes(centres: NDArray[np.float64], halves: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2): how far each box must move along the shorter way out of each other one, summed."""
    apart = centres[:, None] - centres[None]
    overlap = halves[:, None] + halves[None] - np.abs(apart)
    meets = np.asarray((overlap > 0).all(axis=2))
    np.fill_diagonal(meets, False)
    shorter = overlap[..., 1] <= overlap[..., 0]
    # Of two at the same place the first goes up.
    order = np.arange(len(centres))
    first = np.where(order[:, None] <= order[None], 1.0, -1.0)
    sign = np.where(apart != 0, np.sign(apart), first[..., None])
    moves = np.where(np.stack([~shorter, shorter], axis=2), sign * overlap, 0)
    return np.asarray(np.where(meets[..., None], moves, 0).sum(axis=1))


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.hypot(*(a - b)))
