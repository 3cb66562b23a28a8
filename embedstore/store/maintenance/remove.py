"""Removes a data set or a space: one record hides all of it at once, then its files go."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from embedstore.catalog import unknown_name
from embedstore.errors import InputError, StoreWriteError
from embedstore.store.files import StorePath
from embedstore.store.indexes import index_kinds, index_place
from embedstore.store.keys import distinct
from embedstore.store.layout import DATASETS, PARTS, REMOVALS, SPACES, ensure_group
from embedstore.store.locks import remove_part
from embedstore.store.part_writer import PartWriter
from embedstore.store.parts import committed_paths
from embedstore.store.paths import dataset_directories, n_bytes_below, space_directories
from embedstore.store.store import Store

Kind = Literal["dataset", "space"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalReport:
    """What `remove` removed, or with ``dry_run`` would.

    ``n_rows`` counts records of a data set or proteins of a space, ``n_bytes`` the bytes of its files. ``stays`` are
    sentences on what is not removed. ``n_parts_left`` counts parts that readers no longer see and whose files could
    not be removed: `gc` removes them.
    """

    kind: Kind
    name: str
    n_parts: int
    n_rows: int
    n_bytes: int
    dry_run: bool
    n_parts_left: int = 0
    stays: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return asdict(self)


def parse_kind(kind: str | None) -> Kind | None:
    """The kind that a text names; InputError if it names none."""
    if kind not in (None, "dataset", "space"):
        raise unknown_name("kind of thing to remove", str(kind), ["dataset", "space"])
    return kind  # type: ignore[return-value]  # mypy does not narrow by `in`


def remove(store: Store, name: str, *, kind: Kind | None = None, dry_run: bool = False) -> RemovalReport:
    """Remove a data set or a space, all of it or, on an error, nothing.

    Sequences and vectors stay when a data set goes, and the other way round; `gc` with ``unused`` drops the sequences
    and vectors that no data set names any more. Builds that covered a data set remain true: a record of the removal
    stays in its place. The same name can be used again.

    Parameters
    ----------
    store
        The store; others may be writing to it. What they commit after this into the same place is not removed.
    name
        A data set; or a space, by its id or as in `Store.any_space`.
    kind
        ``dataset`` or ``space``, where both are called so.
    dry_run
        Say what would be removed; remove nothing.

    Raises
    ------
    UnknownNameError
        If nothing is called so.
    InputError
        If a data set and a space are.
    StoreWriteError
        If the store is not writable.
    """
    store.refresh()
    chosen_kind = _choose(store, name, kind)
    target = store.path / (DATASETS if chosen_kind == "dataset" else SPACES)
    if chosen_kind == "space":
        space = store.any_space(name)
        name, n_rows = space.id, space.n_rows
    else:
        n_rows = store.dataset(name).n_rows
    locations = (dataset_directories if chosen_kind == "dataset" else space_directories)(target / name)
    parts = [path for location in locations[:-1] for path in committed_paths(location)]
    stays = _what_stays(store, name, chosen_kind)
    n_bytes = sum(map(n_bytes_below, parts))
    left: list[StorePath] = []
    if not dry_run:
        if chosen_kind == "space":
            drop_indexes(store.path, name)
        hide(store.path, f"{target.name}/{name}", parts)
        store.refresh()
        left = [path for path in parts if not _gone(path)]
    return RemovalReport(
        kind=chosen_kind,
        name=name,
        n_parts=len(parts),
        n_rows=n_rows,
        n_bytes=n_bytes,
        dry_run=dry_run,
        n_parts_left=len(left),
        stays=stays,
    )


def drop_indexes(store: StorePath, space: str, kind: str | None = None) -> list[str]:
    """Remove the indexes of a space, or the one of a kind; returns the kinds."""
    kinds = [index_kind for index_kind in index_kinds(store, space) if kind in (None, index_kind)]
    for index_kind in kinds:
        owner = index_place(space, index_kind)
        segments = committed_paths(store / owner / PARTS)
        hide(store, owner, segments)
        for path in segments:
            _gone(path)
    return kinds


def hide(store: StorePath, owner: str, parts: list[StorePath]) -> None:
    """Publish, in one step for all readers, that parts of a data set, space, index or the sequences were removed."""
    location = f"{owner}/{REMOVALS}"
    ensure_group(store / location)
    with PartWriter(store, location, "removal") as writer:
        writer.commit(0, {"removed": sorted(path.name for path in parts)})


def _gone(part: StorePath) -> bool:
    try:
        remove_part(part)
    except StoreWriteError:
        # It counts as removed already; the report says how many files wait for gc.
        return False
    return True


def _choose(store: Store, name: str, kind: Kind | None) -> Kind:
    spaces = [store.any_space(one) for one in store.spaces()]
    called = {one.id for one in spaces} | {one.id.rpartition("-")[0] for one in spaces}
    kinds: list[Kind] = []
    if name in store.datasets() and kind in (None, "dataset"):
        kinds.append("dataset")
    if (name in called or name.partition(":")[0] in called) and kind in (None, "space"):
        kinds.append("space")
    if len(kinds) > 1:
        raise InputError(
            f"{name!r} is a data set and a space. Say which one: --kind dataset or --kind space (kind=...)."
        )
    if not kinds:
        what = {"dataset": "data set", "space": "space", None: "data set or space"}[kind]
        known = (store.datasets() if kind != "space" else []) + (store.spaces() if kind != "dataset" else [])
        raise unknown_name(what, name, known)
    return kinds[0]


def _what_stays(store: Store, name: str, kind: Kind) -> list[str]:
    if kind == "space":
        kinds = index_kinds(store.path, store.any_space(name).id)
        gone = f"Its indexes go with it: {', '.join(kinds)}." if kinds else ""
        return [text for text in (gone, f"Data sets and sequences ({store.sequences.n_rows:,}) stay.") if text]
    keys = distinct(store.dataset(name).digests)
    spaces = [store.any_space(one) for one in store.spaces()]
    vectors = ", ".join(f"{int((space.find(keys) >= 0).sum()):,} in {space.id}" for space in spaces)
    return [
        f"{len(keys):,} sequences stay" + (f", with their vectors ({vectors})." if vectors else "."),
        "`embedstore gc --unused` drops those that no other data set names.",
    ]
