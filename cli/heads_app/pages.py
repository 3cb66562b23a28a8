"""Where the page and the JSON file of a comparison go."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

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
        from heads.predicting.writing import require_place

        self.written: list[Path] = []
        self._stem = out.with_suffix("") if out is not None and out.suffix in _SUFFIXES else out
        require_place(self._stem or Path("compare"))

    def save(self, found: Comparison) -> None:
        """Write what is known so far in place of what was before."""
        if self._stem is None:
            self._stem = _free(f"{found.task}-compare")
        page, document = _paths(self._stem)
        self.written = [found.save_html(page), found.save_json(document)]


def _paths(stem: Path) -> list[Path]:
    return [stem.with_name(stem.name + suffix) for suffix in _SUFFIXES]


def _free(name: str) -> Path:
    """The name, or the first of name-2, name-3 … with which there is neither file."""
    stems = (Path(name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(stem for stem in stems if not any(path.exists() for path in _paths(stem)))
