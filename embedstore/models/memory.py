"""How much memory a forward pass needs, and how much there is: asked before, since Linux kills and does not refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import clear_frames
from typing import NamedTuple

import psutil
import torch

from embedstore.errors import EmbedstoreError, OutOfMemoryError

USABLE_SHARE = 0.8
"""Part of what is available that one forward pass may take."""

BUDGETS = {"cpu": (256, 1_024), "cuda": (2_048, 65_536)}
"""Smallest and largest default budget of padded residues a batch; on a CPU more is slower (padding, page faults)."""

MAX_PARALLEL = 8
"""Most batches at once; where there are more cores, each batch gets several."""

_REFERENCE_RESIDUES = 1_024
_TAKE_SMALLER = "Take smaller batches: batch_residues= (--batch-residues); or a device with more memory."
_CPU_ALLOCATION_FAILED = ("can't allocate memory", "not enough memory")
_FLOAT32_BYTES = 4
# T5 turns relative positions into buckets through six (T, T) matrices of int64, and two of bool.
_BUCKET_BYTES = 50
# XLNet: scores by content and position (twice as wide), those shifted, their sums, and the softmax.
_RELATIVE_COPIES = 7
# What the allocator keeps of freed blocks.
_SLACK_BYTES = 32 << 20
# Version 1 of control groups writes "no limit" as the largest page-aligned int64.
_NO_LIMIT = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSize:
    """What decides the memory of a forward pass, apart from the batch.

    Attributes
    ----------
    dim, inner, ff
        Width of the states, of all heads together, and of the feed-forward layer.
    n_heads
        Attention heads.
    ff_copies
        How many (n, T, ff) matrices are alive at once.
    position_bias
        Whether a bias for each head and each pair of positions is added to the scores, as in T5.
    fused
        Whether attention is computed without writing the scores down (``scaled_dot_product_attention``).
    relative
        Whether scores between relative positions are computed beside them, as in XLNet.
    """

    dim: int
    inner: int
    ff: int
    n_heads: int
    ff_copies: int
    position_bias: bool
    fused: bool
    relative: bool = False

    def forward_bytes(self, n: int, n_tokens: int, *, padded: bool, itemsize: int, on_gpu: bool) -> int:
        """Memory of a forward pass over ``n`` sequences of ``n_tokens``, in bytes, without the weights.

        An upper bound in the main, and less than twice the measured peak for large batches: proteins of 1,000 to 8,000
        residues on a CPU, where it decides anything.

        Parameters
        ----------
        n, n_tokens
            Shape of the batch of tokens.
        padded
            Whether a row is shorter than another: without padding there is no mask.
        itemsize
            Bytes of a number in the precision of the model.
        on_gpu
            Whether it runs on a GPU, whose kernel copies a bias to align it.
        """
        widths = 8 * self.dim + 4 * self.inner + self.ff_copies * self.ff
        # Half in float32 in any precision: norms need it, and kernels without hardware for a narrow type widen.
        states = n * n_tokens * widths * (itemsize + _FLOAT32_BYTES) // 2
        return states + n_tokens**2 * self._pair_bytes(n, padded, itemsize, on_gpu) + _SLACK_BYTES

    def _pair_bytes(self, n: int, padded: bool, itemsize: int, on_gpu: bool) -> int:
        """Bytes that each pair of positions takes."""
        # The mask as bool, and again as what is added to the scores.
        mask = n * (1 + itemsize) if padded else 0
        scores = self.n_heads * itemsize
        if self.relative:
            # Scores by content, and by position before and after they are shifted, which are twice as wide.
            return n * _RELATIVE_COPIES * scores + 3 * mask
        if not self.fused:
            # Scores and what softmax makes of them, which it computes in float32.
            scores = n * self.n_heads * (2 * itemsize + _FLOAT32_BYTES) + mask
            return max(_BUCKET_BYTES, scores + scores) if self.position_bias else scores
        if not self.position_bias:
            return mask
        # The bias, which lives as long as the pass does, and in each layer its sum with the mask, made contiguous.
        copies = 1 + (2 * n if padded else 1) + (n if on_gpu else 0)
        return max(_BUCKET_BYTES, copies * scores + mask)


class Budget(NamedTuple):
    """Padded residues of a batch, and how many such batches fit into memory side by side, up to `MOST_LANES`."""

    residues: int
    n_parallel: int


def plan_budget(
    size: EncoderSize, weights: int, device: torch.device, *, itemsize: int, largest: int | None = None
) -> Budget:
    """Default budget of padded residues a batch: a power of two that fits the device.

    It follows from the total memory and not from what is free now, since batches decide rounding: two runs on one
    machine must take the same.

    Parameters
    ----------
    size
        The encoder's.
    weights
        Memory of the weights in bytes.
    device
        Where it runs.
    itemsize
        Bytes of a number in the precision of the model.
    largest
        Most that is planned, a power of two, in place of what :data:`BUDGETS` has.
    """
    smallest, usual = BUDGETS.get(device.type, BUDGETS["cpu"])
    available = USABLE_SHARE * (total_bytes(device) - weights)
    budget = largest or usual
    while budget > smallest:
        n_tokens = min(budget, _REFERENCE_RESIDUES)
        needed = size.forward_bytes(
            budget // n_tokens, n_tokens, padded=True, itemsize=itemsize, on_gpu=device.type == "cuda"
        )
        if needed <= available:
            break
        budget //= 2
    else:
        return Budget(budget, 1)
    return Budget(budget, min(MAX_PARALLEL, int(available // needed)))


def total_bytes(device: torch.device) -> int:
    """Memory of a device in bytes, whoever has it now."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


@contextmanager
def translate_oom(sequences: Sequence[bytes], device: torch.device) -> Iterator[None]:
    """Turn torch's two ways of running out of memory into ours; let every other error through."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, EmbedstoreError) or not is_out_of_memory(error):
            raise
        if device.type == "cuda":
            # The frames of the error hold the tensors of the pass, which the caller's next batch needs the room of.
            clear_frames(error.__traceback__)
            torch.cuda.empty_cache()
        raise OutOfMemoryError(f"{describe_batch(sequences)} did not fit into memory. {_TAKE_SMALLER}") from error


def not_enough_memory(sequences: Sequence[bytes], needed: int, available: int) -> OutOfMemoryError:
    """The error for a batch that needs more than may be taken, both in bytes."""
    return OutOfMemoryError(
        f"{describe_batch(sequences)} needs about {needed / 2**30:,.1f} GiB of memory; {available / 2**30:,.1f} GiB "
        f"are available, of which {USABLE_SHARE:.0%} may be taken. {_TAKE_SMALLER}"
    )


def describe_batch(sequences: Sequence[bytes]) -> str:
    """A batch in words."""
    plural = "" if len(sequences) == 1 else "s"
    return f"A batch of {len(sequences)} sequence{plural}, {max(map(len, sequences)):,} residues the longest,"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # On a CPU torch raises a plain RuntimeError, known by its text alone.
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _CPU_ALLOCATION_FAILED)


def available_bytes(device: torch.device) -> int:
    """Memory that can still be taken on a device, in bytes.

    On a GPU what is free and what torch holds in reserve; else the machine's available memory, or what a limit of a
    control group (a container, a batch job) leaves of it.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min([int(psutil.virtual_memory().available), *cgroup_limits()])


def cgroup_limits(process: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What the memory limits of this process's control groups leave, in bytes, one number a limit; often none.

    A limit of a parent group holds for all below it. Pages of files count as free: they are given up first.

    Parameters
    ----------
    process
        The process's groups, as Linux lists them: a line ``number:controllers:path`` each.
    mount
        Where the groups are mounted.

    References
    ----------
    Linux kernel documentation, "Control Group v2", section Memory, and "Memory Resource Controller" for version 1.
    """
    if not process.is_file():
        return []
    limits = []
    for line in process.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            names = ("memory.max", "memory.current", "")
            root = mount
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            root = mount / "memory"
        else:
            continue
        limits += [
            available for folder in _upwards(root, path) if (available := _group_limit(folder, *names)) is not None
        ]
    return limits


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """The folder of a group and those of its parents; inside a container the path may not be there, the root is."""
    parts = [part for part in path.split("/") if part]
    if ".." not in parts:
        for end in range(len(parts), 0, -1):
            yield root.joinpath(*parts[:end])
    yield root


def _group_limit(folder: Path, limit_name: str, used_name: str, prefix: str) -> int | None:
    try:
        limit = (folder / limit_name).read_text().strip()
        if limit == "max" or int(limit) >= _NO_LIMIT:
            return None
        used = int((folder / used_name).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:  # no such group here, or one that may not be read
        return None
    of_files = sum(int(statistics.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    return max(0, int(limit) - used + of_files)
