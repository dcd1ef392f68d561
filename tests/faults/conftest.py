"""One thread a run: the models are small, and the cores are shared with what else is tested."""

import os
from unittest import mock

import pytest


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
        yield
    torch.set_num_threads(before)
