"""Every file of a store damaged in every way, one at a time: does `verify` find it?"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import embedstore
from benchmarks.fault_kills import write_proteins
from embedstore.errors import EmbedstoreError
from embedstore.store import Store
from embedstore.testing.checkpoints import make_checkpoint

DAMAGES = ("flip", "cut", "delete", "swap")
"""One bit turned, the second half lost, the file gone, the file exchanged with another one of its kind."""


def small_store(folder: Path) -> Store:
    """Vectors, residue vectors, skipped proteins, ledgers, two data sets with columns and rejected records."""
    store = embedstore.open(folder / "store.zarr", mode="a")
    store.add("first", write_proteins(folder / "first.fasta", 40, longest=60))
    table = folder / "second.csv"
    table.write_text("id,sequence,label\na,MKVLLA,x\nb,MK1,y\nc,ACDEFGHIKL,z\n")
    store.add("second", table, skip_invalid=True)
    model = embedstore.load_model(str(make_checkpoint(folder / "esm", "esm")), family="esm")
    embedstore.build(store, model, pooling=["mean", "max"], residues=True, long="skip", max_residues=50)
    return store


def kind_of(path: Path, store: Path) -> str:
    """What a file belongs to: ``spaces parts vectors``, ``datasets record`` ..."""
    inside = path.relative_to(store).parts
    if len(inside) == 1:
        return "the store's own description"
    top = inside[0]
    homes = [part for part in inside if part in ("parts", "skipped", "builds")]
    if path.name == "zarr.json" and inside[-2] in ("parts", "skipped", "builds", "spaces", "datasets", "sequences"):
        return f"{top}: description of a group"
    if path.name == "zarr.json" and (not homes or inside[-3] in ("parts", "builds")):
        return f"{top}: {'record of ' + homes[0] if homes else 'description'}"
    where = " ".join(dict.fromkeys(homes))
    return f"{top}: files of {where}"


def damaged(path: Path, damage: str, files: list[Path], source: random.Random) -> Iterator[str]:
    """Do a damage, yield what it was, and undo it."""
    whole = path.read_bytes()
    other = None
    if damage == "swap":
        near = [one for one in files if one != path and one.name == path.name and one.read_bytes() != whole]
        if not near:
            return
        # Of the same size if there is one: that is the hardest to see.
        same = [one for one in near if one.stat().st_size == len(whole)]
        other = source.choice(same or near)
        kept = other.read_bytes()
        other.write_bytes(whole)
        path.write_bytes(kept)
    elif damage == "delete":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        hurt = bytearray(whole)
        hurt[source.randrange(len(hurt))] ^= 1 << source.randrange(8)
        path.write_bytes(hurt)
    yield f"{damage} {path}"
    path.write_bytes(whole)
    if other is not None:
        other.write_bytes(kept)


def is_found(path: Path, crashes: list[str]) -> bool:
    """Whether a store that is hurt says so: to `verify`, or already when it is opened."""
    try:
        return not embedstore.verify(embedstore.open(path)).ok
    except EmbedstoreError:
        return True
    except Exception as error:  # noqa: BLE001 - counted
        # A traceback tells too, but is not what a user should get.
        crashes.append(repr(error))
        return True


def is_excused(name: str) -> bool:
    """Damage that hurts no data: a ledger whose record is gone leaves no trace, as `verify` says of itself."""
    return name == "delete, spaces: record of builds"


def run_damage(folder: Path, *, every: int = 1, seed: int = 1) -> dict[str, Any]:
    """Damage every file in every way; how many of the damages were found, by what was damaged and how."""
    store = small_store(folder)
    source = random.Random(seed)
    files = sorted(path for path in store.path.rglob("*") if path.is_file())
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    missed: list[str] = []
    crashes: list[str] = []
    for damage in DAMAGES:
        for path in files[:: max(1, every)]:
            for told in damaged(path, damage, files, source):
                name = f"{damage}, {kind_of(path, store.path)}"
                total[name] += 1
                if is_found(store.path, crashes):
                    found[name] += 1
                else:
                    missed.append(told.replace(str(store.path), ""))
    whole = embedstore.verify(embedstore.open(store.path)).ok
    unexcused = [name for name, count in total.items() if found[name] < count and not is_excused(name)]
    table = {name: f"{found[name]}/{count}" for name, count in sorted(total.items())}
    return {
        "ok": whole and not unexcused and not crashes,
        "n_files": len(files),
        "n_damages": sum(total.values()),
        "n_found": sum(found.values()),
        "by_kind": table,
        "missed": missed,
        "crashes": crashes,
    }
