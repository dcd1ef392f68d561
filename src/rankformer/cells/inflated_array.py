"""Arrays of gzip chunks in HDF5 files, inflated by several threads.

HDF5 inflates one chunk after the other, which takes longer than all else that is done to tokenize
its values. The chunks are read as they lie, and inflated beside one another by ISA-L, at twice the
rate of zlib.
"""

from typing import Any

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from rankformer.threads import run_in_threads

_SHUFFLE, _DEFLATE = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE
# Fewer are left to HDF5, which keeps the last chunks of small reads that follow one another.
_FEWEST_CHUNKS = 4


def inflate_with_threads(array: Any, n_threads: int) -> Any:
    """The same array, inflated by threads where it is a dataset of HDF5 that can be read so.

    Parameters
    ----------
    array
        Anything that can be sliced.
    n_threads
        Threads to use at most.

    Returns
    -------
    `InflatedArray`, or `array` as it is.
    """
    return InflatedArray(array, n_threads) if _fits(array) else array


def _fits(array: Any) -> bool:
    if not isinstance(array, h5py.Dataset) or array.chunks is None or array.ndim != 1:
        return False
    # Some types of HDF5 are none of numpy's, and are converted as they are read.
    lies_so = array.id.get_type() == h5py.h5t.py_create(array.dtype, logical=True)
    return lies_so and _filters(array) in ([_DEFLATE], [_SHUFFLE, _DEFLATE])


def _filters(dataset: h5py.Dataset) -> list[int]:
    settings = dataset.id.get_create_plist()
    return [settings.get_filter(index)[0] for index in range(settings.get_nfilters())]


class InflatedArray:
    """A one-dimensional dataset in gzip chunks, with or without the shuffle filter.

    Attributes
    ----------
    shape, dtype
        Of the dataset.
    """

    def __init__(self, dataset: h5py.Dataset, n_threads: int) -> None:
        self.shape, self.dtype = dataset.shape, dataset.dtype
        self._dataset, self._n_threads = dataset, n_threads
        (self._chunk,) = dataset.chunks
        self._is_shuffled = _SHUFFLE in _filters(dataset)

    def __getitem__(self, places: slice) -> NDArray[Any]:
        start, stop, step = places.indices(self.shape[0])
        if step != 1:
            return np.asarray(self._dataset[places])
        begins = range(start - start % self._chunk, stop, self._chunk)
        if len(begins) < _FEWEST_CHUNKS:
            return np.asarray(self._dataset[start:stop])
        values = np.empty(stop - start, self.dtype)

        def fill(begin: int) -> None:
            first, last = max(begin, start), min(begin + self._chunk, stop)
            values[first - start : last - start] = self._read(begin)[first - begin : last - begin]

        run_in_threads(fill, zip(begins), self._n_threads)
        return values

    def _read(self, begin: int) -> NDArray[Any]:
        try:
            left_out, stored = self._dataset.id.read_direct_chunk((begin,))
        except (OSError, RuntimeError, ValueError):
            # A chunk that was never written, or a damaged one: HDF5 knows which.
            return np.asarray(self._dataset[begin : begin + self._chunk])
        if left_out:
            return np.asarray(self._dataset[begin : begin + self._chunk])
        return self._inflate(stored)

    def _inflate(self, stored: bytes) -> NDArray[Any]:
        n_bytes = self._chunk * self.dtype.itemsize
        plain = isal_zlib.decompress(stored, bufsize=n_bytes)
        if len(plain) != n_bytes:
            raise OSError(f"a chunk has {len(plain):,} bytes in place of {n_bytes:,}")
        if self._is_shuffled:
            by_byte = np.frombuffer(plain, np.uint8).reshape(self.dtype.itemsize, self._chunk)
            plain = by_byte.T.tobytes()
        return np.frombuffer(plain, self.dtype)
