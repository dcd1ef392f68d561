"""Where the model runs."""

import torch

from rankformer.errors import SettingsError


def choose_device(device: str = "auto") -> torch.device:
    """The device named, or with ``"auto"`` the fastest present: CUDA, Apple's MPS, else the CPU.

    Raises
    ------
    SettingsError
        If there is no such device here.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next((name for name, here in present.items() if here), "cpu"))
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise _no_such_device(device, present) from error
    missing_card = chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    if not present.get(chosen.type, chosen.type == "cpu") or missing_card:
        raise _no_such_device(device, present)
    return chosen


def synchronize(device: torch.device) -> None:
    """Wait until all that was queued on a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _no_such_device(device: str, present: dict[str, bool]) -> SettingsError:
    here = ["cpu", *(name for name, is_here in present.items() if is_here)]
    return SettingsError(
        f"The device {device!r} was asked for.",
        f"On this machine, torch {torch.__version__} finds: {', '.join(here)}.",
        'Pass device="auto" (--device auto) or one of these; for a GPU, install its driver and '
        "a torch built for it.",
    )
