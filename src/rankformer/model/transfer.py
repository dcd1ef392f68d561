"""Copies between the host and the device that do not wait for what the device still computes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def move_to(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy a host's tensor to `device`; on CUDA it is ready there for what is queued after it."""
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class HostCopy:
    """A copy of a tensor on its way to the host."""

    def __init__(self, tensor: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            self._copy = tensor.cpu()
            return
        self._copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._copy.copy_(tensor, non_blocking=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._arrived.record(torch.cuda.current_stream(tensor.device))

    def numpy(self) -> NDArray[np.float32]:
        """Wait for it."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._copy.numpy()
