"""What is inflated by threads is what HDF5 itself reads."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankformer.cells.inflated_array import InflatedArray, inflate_with_threads

N = 1000
DTYPES = ("<f4", ">f4", "<i8", "<u2", "i1")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Datasets of every kind that is read so, and of some that are not."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("arrays") / "arrays.h5"
    with h5py.File(path, "w") as file:
        for dtype in DTYPES:
            values = rng.poisson(3, N).astype(dtype)
            for shuffle in (False, True):
                name = f"{dtype}, shuffle {shuffle}"
                file.create_dataset(name, data=values, chunks=(37,), compression=4, shuffle=shuffle)
        file.create_dataset("one chunk", data=values, chunks=(N,), compression=9)
        holes = file.create_dataset("holes", (N,), "f4", chunks=(50,), compression=1, fillvalue=7)
        holes[120:333] = rng.random(213)
        left_out = file.create_dataset("left out", (N,), "i4", chunks=(100,), compression=1)
        left_out[:] = np.arange(N)
        # A chunk may be stored without the filters of its dataset.
        plain = np.arange(200, 300, dtype="i4").tobytes()
        left_out.id.write_direct_chunk((200,), plain, filter_mask=1)
        for name, options in {
            "lzf": {"compression": "lzf"},
            "checked": {"compression": 1, "fletcher32": True},
            "plain": {"chunks": (37,)},
        }.items():
            file.create_dataset(name, data=values, **options)
        # 16 bits in the file, which h5py reads as 32.
        half = h5py.h5t.IEEE_F32LE.copy()
        half.set_fields(15, 7, 8, 0, 7)
        half.set_size(2)
        half.set_ebias(127)
        create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        create.set_chunk((37,))
        create.set_deflate(4)
        space = h5py.h5s.create_simple((N,))
        h5py.Dataset(h5py.h5d.create(file.id, b"bfloat16", half, space, create))[:] = rng.random(N)
    with h5py.File(path) as file:
        yield file


INFLATED = [
    *(f"{dtype}, shuffle {on}" for dtype in DTYPES for on in (False, True)),
    "one chunk", "holes", "left out",
]  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(
    name=st.sampled_from(INFLATED),
    places=st.builds(
        slice, st.integers(0, N), st.integers(-N, N + 10) | st.none(), st.sampled_from([None, 1, 3])
    ),
    n_threads=st.integers(1, 3),
)
def test_any_slice_is_that_of_hdf5(file, name, places, n_threads):
    dataset = file[name]
    array = inflate_with_threads(dataset, n_threads)
    assert isinstance(array, InflatedArray)
    assert (array.shape, array.dtype) == (dataset.shape, dataset.dtype)
    found, expected = array[places], dataset[places]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("name", ["lzf", "checked", "plain", "bfloat16"])
def test_other_filters_and_types_are_left_to_hdf5(file, name):
    dataset = file[name]
    assert inflate_with_threads(dataset, 2) is dataset


def test_what_is_no_dataset_is_left_as_it_is():
    values = np.arange(5)
    assert inflate_with_threads(values, 2) is values
