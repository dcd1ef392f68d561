"""Inputs of a training step, of which some stay on the host."""

from typing import Any

import torch
from torch import Tensor

Inputs = dict[str, Any]
"""Tensors, which are moved to the device, and ``offsets``, where each cell begins: a NumPy array,
which is not. Lengths are needed on the host, and asking a GPU for them would make it wait."""


def move_inputs(inputs: Inputs, device: torch.device | str) -> Inputs:
    """Inputs for a module on `device`, as the `Trainer` moves them."""
    return {
        name: each.to(device) if isinstance(each, Tensor) else each for name, each in inputs.items()
    }
