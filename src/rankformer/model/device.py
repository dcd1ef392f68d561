"""Where and in which precision the model runs."""

from pathlib import Path

import torch

from rankformer.errors import SettingsError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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


def _no_such_device(device: str, present: dict[str, bool]) -> SettingsError:
    here = ["cpu", *(name for name, is_here in present.items() if is_here)]
    return SettingsError(
        f"The device {device!r} was asked for.",
        f"On this machine, torch {torch.__version__} finds: {', '.join(here)}.",
        'Pass device="auto" (--device auto) or one of these; for a GPU, install its driver and '
        "a torch built for it.",
    )


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype named, or with ``"auto"`` bfloat16 where `device` multiplies it natively.

    Native are CUDA devices of compute capability 8.0 and up, and CPUs with AMX or AVX512-BF16;
    elsewhere float32.

    Raises
    ------
    SettingsError
        If the dtype is none of auto, float32, bfloat16, float16.
    """
    if dtype == "auto":
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    if dtype not in _DTYPES:
        raise SettingsError(
            f"The dtype {dtype!r} was asked for.",
            f"One of auto, {', '.join(_DTYPES)}.",
            "Pass one of these as dtype (--dtype).",
        )
    return _DTYPES[dtype]


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(_cpu_flags() & {"amx_bf16", "avx512_bf16", "bf16"})


def _cpu_flags() -> set[str]:
    """What the CPU can do, as Linux tells it; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {
        flag
        for line in lines
        if line.startswith(("flags", "Features"))
        for flag in line.partition(":")[2].split()
    }
