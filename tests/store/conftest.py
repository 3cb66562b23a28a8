"""A small store that holds one of everything, and what readers see of it."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import embedstore
from embedstore.models import load_model
from embedstore.sequences import digest
from embedstore.store import ResidueSpace, Store, space_writer
from embedstore.store.keys import as_digests
from embedstore.store.manifest import space_identity
from embedstore.store.space_writer import SpaceWriter, write_build, write_skipped

PROTEINS = {f"p{i}": "MKTAYIAKQRQISFVK"[: 3 + i % 12] + "ACDEFGHIKLMNPQRSTVWY"[i % 20] * (i % 7) for i in range(60)}
OTHERS = {f"o{i}": "GAVLIPFMW"[: 2 + i % 7] + "HKRDE"[i % 5] * (i % 9) for i in range(40)}

Content = dict[str, dict[bytes, bytes]]


def fasta(path: Path, proteins: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{residues}\n" for name, residues in proteins.items()))
    return path


def matrix(residues: bytes) -> np.ndarray:
    """A made-up state for each residue, never zero."""
    return np.frombuffer(residues, np.uint8)[:, None] * np.arange(1, 6)[None] / 64


def add_matrices(store: Store, proteins: dict[str, str]) -> ResidueSpace:
    model = {"model": "made_up", "precision": "float32", "layer": 2}
    identity = space_identity(model, dim=5, pooling="residues", dtype="float32", long_policy="none")
    space = store.create_space(identity)
    assert isinstance(space, ResidueSpace)
    texts = sorted({text.encode() for text in proteins.values()})
    keys = as_digests([digest(text) for text in texts])
    lengths = np.array([len(text) for text in texts], np.int64)
    with SpaceWriter(space) as writer:
        writer.append(keys, [matrix(text) for text in texts], lengths, np.zeros(len(texts), np.uint8))
    return space


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    store = embedstore.open(folder / "store.zarr", mode="a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space_writer, "PART_ROWS", 20)
        for name, proteins in (("mine", PROTEINS), ("other", OTHERS)):
            store.add(name, fasta(folder / f"{name}.fasta", proteins))
            embedstore.build(store, load_model("kmer"), batch_residues=60)
            space = add_matrices(store, dict(list(proteins.items())[3:]))
        store.refresh()
        held = {row.tobytes() for row in store.residue_space(space.id).digests}
        texts = {digest(text.encode()): "too odd" for text in {**PROTEINS, **OTHERS}.values()}
        write_skipped(space, {key: why for key, why in texts.items() if key not in held})
        covers = {name: [part.name for part in store.dataset(name).parts] for name in store.datasets()}
        write_build(space, {"covers": covers})
    return store.path


@pytest.fixture
def store(_template: Path, tmp_path: Path) -> Store:
    """Two data sets, their sequences, a space of vectors and one of matrices in several parts, a skipped protein."""
    return embedstore.open(shutil.copytree(_template, tmp_path / "store.zarr"))


def content(path: Path) -> Content:
    """All that readers see, by place and key, read by a store that is opened anew; an error where a key comes twice."""
    store = embedstore.open(path)
    found: Content = {}
    for name in store.datasets():
        dataset = store.dataset(name)
        pairs = zip(dataset.ids(), dataset.digests, strict=True)
        found[name] = {one.encode(): key.tobytes() for one, key in pairs}
    keys = store.sequences.digests
    found["sequences"] = {key.tobytes(): text for key, text in zip(keys, store.sequences.take(keys), strict=True)}
    assert len(found["sequences"]) == len(keys)
    for name in store.spaces():
        space = store.any_space(name)
        rows: list[tuple[bytes, bytes]] = []
        for digests, values in space.blocks():
            rows += [(key.tobytes(), value.tobytes()) for key, value in zip(digests, values, strict=True)]
        found[name] = dict(rows)
        assert len(rows) == len(found[name]) == space.n_rows
        found[f"{name} skipped"] = {key: why.encode() for key, why in space.skipped.items()}
    return found


@pytest.fixture
def seen() -> Callable[[Path], Content]:
    return content


def run_and_kill(job: Callable[[], object], at: int) -> bool:
    """Run a job in a process of its own that dies without a word at its n-th change of the disk; False if it ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        n_calls = 0

        def deadly(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                nonlocal n_calls
                n_calls += 1
                if n_calls == at:
                    os._exit(9)
                return real(*arguments, **options)

            return call

        for name in ("fsync", "link", "unlink", "rmdir", "mkdir"):
            setattr(os, name, deadly(getattr(os, name)))
        try:
            job()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9), "the job failed by itself"
    return code == 9


@pytest.fixture
def kills(tmp_path: Path) -> Callable[[Path, Callable[[Path], object]], Iterator[Path]]:
    """Copies of a store in which a job was killed, each at another moment, until it is not any more."""

    def every_moment(path: Path, job: Callable[[Path], object], step: int = 1) -> Iterator[Path]:
        for at in range(1, 10_000, step):
            copy = shutil.copytree(path, tmp_path / f"killed-{at}.zarr")
            killed = run_and_kill(lambda: job(copy), at)  # noqa: B023 - it runs at once
            yield copy
            shutil.rmtree(copy)
            if not killed:
                return

    return every_moment
