"""One process or several: who computes which units, and how their gradients and outputs come together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, cast

import torch
from torch import nn

from embedstore.errors import InputError, MissingPackageError
from embedstore.models.devices import cpu_has_bfloat16


class Engine(Protocol):
    """What the trainer asks of whatever runs it.

    Attributes
    ----------
    rank, n_processes
        Which of how many processes this is.
    """

    rank: int
    n_processes: int

    def wrap(self, network: nn.Module) -> nn.Module:
        """The module to call in training."""
        ...

    def apart(self, network: nn.Module) -> AbstractContextManager[Any]:
        """A context in which gradients stay in their process."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """A value of every process, in their order."""
        ...


class SingleProcess:
    """One process."""

    rank = 0
    n_processes = 1

    def wrap(self, network: nn.Module) -> nn.Module:
        """The module itself."""
        return network

    def apart(self, network: nn.Module) -> AbstractContextManager[Any]:
        """Nothing to keep apart."""
        return nullcontext()

    def gather(self, value: Any) -> list[Any]:
        """The value alone."""
        return [value]


class MultiProcess:
    """Processes that ``accelerate launch`` or ``torchrun`` has started, each with a device of its own."""

    def __init__(self, device: torch.device) -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise MissingPackageError(
                "Training in several processes needs the package accelerate. Run `pip install 'embedstore[finetune]'`."
            ) from error
        # Precision, accumulation and clipping are the trainer's own: they are the same in one process.
        self._accelerator: Any = Accelerator(cpu=device.type == "cpu", mixed_precision="no")
        self.rank = int(self._accelerator.process_index)
        self.n_processes = int(self._accelerator.num_processes)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes."""
        return cast(nn.Module, self._accelerator.prepare(network))

    def apart(self, network: nn.Module) -> AbstractContextManager[Any]:
        """See `Engine.apart`."""
        return cast("AbstractContextManager[Any]", self._accelerator.no_sync(network))

    def gather(self, value: Any) -> list[Any]:
        """See `Engine.gather`."""
        from accelerate.utils import gather_object

        return cast("list[Any]", gather_object([value]))


def choose_engine(device: torch.device) -> Engine:
    """Several processes where a launcher has started them, else one."""
    return MultiProcess(device) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else SingleProcess()


def own_device(device: str) -> str:
    """The device of this process: of several on GPUs, the one that the launcher has given it."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if several and torch.cuda.is_available() and device in ("auto", "cuda"):
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


def resolve_mixed(precision: str, device: torch.device, *, half: str | None) -> str:
    """The precision of products: ``float32``, ``bfloat16`` or ``float16``.

    Parameters
    ----------
    precision
        As of `heads.finetuning.settings.Settings`.
    device
        Where it trains.
    half
        The half precision that the model's card allows, or None.

    Raises
    ------
    InputError
        For float16 on a CPU, or for a model whose card does not allow it.
    """
    if precision == "auto":
        precision = "mixed" if half is not None else "float32"
    if precision == "mixed":
        if device.type == "cpu":
            return "bfloat16" if cpu_has_bfloat16() else "float32"
        # float16 needs its losses scaled and can overflow: only where the card has nothing better.
        if torch.cuda.is_bf16_supported(False):
            return "bfloat16"
        return "float16" if half == "float16" else "float32"
    if precision == "float16" and (device.type == "cpu" or half == "bfloat16"):
        where = "on a CPU, which emulates it slowly" if device.type == "cpu" else "for a model that overflows in it"
        raise InputError(f"precision='float16' {where}. Pass 'bfloat16', 'float32' or 'auto' (--precision).")
    return precision


@contextmanager
def one_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch here, and leave its generators as they were."""
    devices: Sequence[int] = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
