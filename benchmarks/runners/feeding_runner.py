"""One run of `rankformer embed`'s work in which a paced stand-in takes the place of the GPU.

Runs in rankformer's environment, of any checkout that has `Embedder.pool` and `HostCopy`.
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from measuring import Stages, versions, write_figures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGES = ("rankformer", "torch", "anndata", "h5py", "numba", "numpy", "pyarrow")
BUDGET_TOKENS = 131_072


class PacedDevice:
    """A queue that works like a GPU's: what is handed over is done in order, at a set rate.

    It takes no core. A batch begins when it was handed over and the one before it is done.
    """

    def __init__(self, rate: float, d_model: int, n_launches: int) -> None:
        import numpy as np
        import torch

        self.rate, self.n_launches = rate, n_launches
        self._lock = threading.Lock()
        self.batches: list[tuple[float, float]] = []
        self._vectors = np.random.default_rng(0).standard_normal((4096, d_model)).astype("f4")
        self._number = torch.zeros(8)

    def hand_over(self, n_cells: int) -> PacedBatch:
        # A model is some hundred small calls, each of which gives up the interpreter's lock.
        for _ in range(self.n_launches):
            self._number.add_(1)
        with self._lock:
            now = time.perf_counter()
            begin = max(now, self.batches[-1][1]) if self.batches else now
            self.batches.append((begin, begin + n_cells / self.rate))
            return PacedBatch(self.batches[-1][1], self._vectors[:n_cells])

    def figures(self) -> dict[str, float]:
        busy = sum(end - begin for begin, end in self.batches)
        whole = self.batches[-1][1] - self.batches[0][0]
        return {
            "batches": len(self.batches), "seconds_from_first_batch_to_last": whole,
            "busy_share": busy / whole,
        }  # fmt: skip


class PacedBatch:
    """The vectors of a batch, on their way."""

    def __init__(self, end: float, vectors: NDArray[np.float32]) -> None:
        self._end, self._vectors = end, vectors

    @property
    def nbytes(self) -> int:
        return self._vectors.nbytes

    def wait(self) -> None:
        time.sleep(max(self._end - time.perf_counter(), 0))

    def numpy(self) -> NDArray[np.float32]:
        self.wait()
        return self._vectors


class PacedEncoder:
    """Takes the encoder's place: its hidden states are the batch on the device."""

    def __init__(self, device: PacedDevice) -> None:
        self.device = device

    def __call__(self, batch: Any, _: int) -> PacedBatch:
        return self.device.hand_over(len(batch))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    import torch

    from rankformer.embed.embedder import Embedder
    from rankformer.embed.files import embed_files
    from rankformer.embed.settings import EmbedJob
    from rankformer.model.batching import TokenBudget

    torch.set_num_threads(1)
    plain, paced = Embedder.__init__, []

    def make(embedder: Embedder, *given: Any, **settings: Any) -> None:
        plain(embedder, *given, **settings)
        device = PacedDevice(arguments.rate, embedder.d_model, arguments.launches)
        paced.append(device)
        # Any device but the CPU is fed as a GPU is; copies to this one cost nothing.
        embedder.device = torch.device("meta")
        embedder.encoder = PacedEncoder(device)  # type: ignore[assignment]
        embedder.budget = TokenBudget(BUDGET_TOKENS)

    def pool(_: Embedder, hidden: PacedBatch, *__: Any) -> PacedBatch:
        return hidden

    stages, began = Stages(), time.perf_counter()
    with (
        patch.object(Embedder, "__init__", make), patch.object(Embedder, "pool", pool),
        patch("rankformer.embed.embedder.HostCopy", lambda batch: batch),
    ):  # fmt: skip
        job = EmbedJob((arguments.cells,), output=arguments.target, overwrite=True)
        told = embed_files(job, arguments.checkpoint, device="cpu", dtype="float32").figures
    stages.end("job")
    first = paced[0].batches[0][0] - began
    return {**told, **paced[0].figures(), "seconds_to_the_first_batch": first, **stages.figures()}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=Path, required=True, help="an .h5ad file of counts")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a model")
    parser.add_argument("--rate", type=float, required=True, help="cells/s of the stand-in")
    parser.add_argument("--launches", type=int, required=True, help="small calls for each batch")
    parser.add_argument("--target", type=Path, required=True, help="the output")
    parser.add_argument("--out", type=Path, required=True, help="JSON of the figures")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse_arguments()
    write_figures(given.out, {"versions": versions(*PACKAGES), **run(given)})
