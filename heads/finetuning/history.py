"""The curve of a training: kept as rows, and written so that TensorBoard reads it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedstore.errors import MissingPackageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One epoch of a training.

    Attributes
    ----------
    epoch
        Its number, from 1.
    step
        Steps done at its end.
    train_loss
        Mean loss of its training rows, as they were seen.
    valid_loss, valid_score
        On the validation rows at its end; None without such rows.
    """

    epoch: int
    step: int
    train_loss: float
    valid_loss: float | None = None
    valid_score: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The numbers by name."""
        return asdict(self)


class Curves:
    """Event files in a folder.

    Parameters
    ----------
    folder
        Where to write; made if it is not there.
    purge_step
        TensorBoard forgets what an interrupted run had written from this step on.

    Raises
    ------
    MissingPackageError
        If tensorboard is not installed.
    """

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingPackageError(
                "The log of a training needs the package tensorboard. Run `pip install 'embedstore[finetune]'`."
            ) from error
        make: Any = SummaryWriter
        self._writer = make(str(folder), purge_step=purge_step)

    def add(self, step: int, **values: float | None) -> None:
        """Write numbers by name, ``train_loss`` as ``train/loss``; None is left out."""
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name.replace("_", "/", 1), value, step)

    def close(self) -> None:
        """Write what is waiting."""
        self._writer.close()
