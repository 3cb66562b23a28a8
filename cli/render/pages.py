"""Where the page and the JSON file of a comparison go."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from cli.render.output import say, warn
from embedstore.errors import InputError, StoreWriteError

if TYPE_CHECKING:
    from heads import Comparison

_SUFFIXES = (".html", ".json")


class Pages:
    """Both files of one comparison, written anew each time that it has a further row.

    Parameters
    ----------
    out
        Their path without the suffix, or with one of them. None: named by the task in the working folder, and never
        over a comparison that is there.

    Raises
    ------
    InputError
        If nothing can be written there.
    """

    def __init__(self, out: Path | None) -> None:
        from embedstore.exchange.atomic_files import require_place

        if out is not None and out.name in ("", ".."):
            raise InputError(f"{out} is a folder; expected a name for the page (--out).")
        self._stem = out.with_suffix("") if out is not None and out.suffix in _SUFFIXES else out
        self._is_named = False
        require_place(self._stem or Path("compare"))

    def save(self, comparison: Comparison) -> list[Path]:
        """Write what was found in place of what was before; returns where."""
        self._stem = self._stem or _free(f"{comparison.task}-compare")
        page, document = _paths(self._stem)
        return [comparison.save_html(page), comparison.save_json(document)]

    def save_so_far(self, comparison: Comparison) -> None:
        """Write what is known before the end; where that fails, hours of work still go on."""
        try:
            page = self.save(comparison)[0]
        except StoreWriteError as error:
            warn(str(error))
            return
        if not self._is_named:
            say(f"{page}: the rows so far, while the others are compared.")
        self._is_named = True


def _paths(stem: Path) -> list[Path]:
    return [stem.with_name(stem.name + suffix) for suffix in _SUFFIXES]


def _free(name: str) -> Path:
    """The name, or the first of name-2, name-3 … with which there is neither file."""
    stems = (Path(name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(stem for stem in stems if not any(path.exists() for path in _paths(stem)))
