"""Which device and which precision a model computes in."""

from __future__ import annotations

from typing import Final

import torch

from embedstore.catalog import unknown_name
from embedstore.errors import InputError

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions by name."""


def resolve_device(device: str) -> torch.device:
    """The torch device for a name; ``"auto"`` is CUDA where there is one, else the CPU.

    Raises
    ------
    InputError
        If torch knows no such device or this machine has none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise InputError(
            f"Unknown device {device!r}. Pass 'auto', 'cpu', 'cuda' or a numbered one such as 'cuda:1' as device= "
            "(--device)."
        ) from error
    n_gpus = torch.cuda.device_count()
    if resolved.type == "cuda" and (resolved.index or 0) >= n_gpus:
        raise InputError(
            f"Device {device!r} is not there: torch sees {n_gpus} CUDA devices. Pass 'auto' or 'cpu' as "
            "device= (--device)."
        )
    return resolved


def gpu_names() -> list[str]:
    """Every CUDA device that torch sees: ``["cuda:0", "cuda:1"]``.

    Raises
    ------
    InputError
        If there is none.
    """
    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if not names:
        raise InputError("torch sees no CUDA device. Pass 'auto' or 'cpu' as device= (--device).")
    return names


def resolve_precision(precision: str, device: torch.device, *, half: str | None = "float16") -> str:
    """The precision to compute in: a key of :data:`DTYPES`.

    ``"auto"`` is float32 for a model without a half precision of its own. For others it is on a GPU theirs, if the
    device multiplies it natively, and else float32; on a CPU bfloat16 where it multiplies that natively (without, it is
    five times slower than float32) and else float32.

    Parameters
    ----------
    precision
        ``"auto"`` or a key of :data:`DTYPES`.
    device
        Where it computes.
    half
        What the model's card allows on a GPU: ``"float16"`` or ``"bfloat16"``; None: float32 everywhere.

    Raises
    ------
    InputError
        For an unknown precision, or float16 on a CPU.
    """
    if precision == "auto":
        if half is None:
            return "float32"
        if device.type == "cpu":
            return "bfloat16" if cpu_has_bfloat16() else "float32"
        if half == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
            return "float32"
        return half
    if precision not in DTYPES:
        raise unknown_name("precision", precision, ["auto", *DTYPES])
    if precision == "float16" and device.type == "cpu":
        raise InputError(
            "precision='float16' on a CPU; CPUs compute it by slow emulation. Pass 'float32', 'bfloat16' or 'auto' as "
            "precision= (--precision)."
        )
    return precision


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    # Private in torch, and absent from some releases: without the probe the answer is the safe one.
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
