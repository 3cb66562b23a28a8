"""Several batches at once on a CPU: the same vectors, the same counts, and nothing lost when one does not fit."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import embedstore
from embedstore.embedding.query import embed_records
from embedstore.embedding.threads import WorkerPool
from embedstore.errors import LedgerError, OutOfMemoryError
from embedstore.models import Model, load_model
from embedstore.models.base import Embedded
from embedstore.models.bert import BertModel
from embedstore.store import Store
from embedstore.testing.checkpoints import make_checkpoint
from embedstore.types import Record


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    draw = random.Random(0)
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    file = tmp_path / "p.fasta"
    texts = ["".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=draw.randint(5, 90))) for _ in range(60)]
    file.write_text("".join(f">p{number}\n{text}\n" for number, text in enumerate(texts)))
    store.add("mine", file)
    return store


def one_by_one(store: Store, model: Model) -> np.ndarray:  # type: ignore[type-arg]
    torch.set_num_threads(1)
    sequences = store.sequences.take(store.dataset("mine").digests)
    return np.stack([model.embed([sequence])[0] for sequence in sequences])


@pytest.mark.parametrize("family", ["t5", "esm", "bert", "xlnet", "mini"])
def test_worker_threads_give_the_vectors_of_one_pass_after_the_other(store: Store, tmp_path: Path, family: str) -> None:
    # In float32: where a processor computes in bfloat16, products depend on the size of the batch by design.
    checkpoint = make_checkpoint(tmp_path / family, family)
    model = load_model(checkpoint, family=family, device="cpu", precision="float32")
    report = embedstore.build(store, model, dtype="float32", batch_residues=256)
    assert report.n_embedded == 60
    assert report.n_halved_batches == 0
    found = store.space().take(store.dataset("mine").digests)
    np.testing.assert_allclose(found, one_by_one(store, model), rtol=2e-4, atol=2e-5)


class Tight(BertModel):
    """Fits one batch into memory at a time, or none of more than so many proteins."""

    largest = 1000
    passes: list[tuple[str, int]] = []  # noqa: RUF012 - one list for all threads is what is wanted

    def embed_each(self, sequences: Sequence[bytes], poolings: Sequence[str]) -> dict[str, Embedded]:
        thread = threading.current_thread().name
        self.passes.append((thread, len(sequences)))
        if thread.startswith("worker ") or len(sequences) > self.largest:
            raise OutOfMemoryError("It does not fit beside another. Take smaller batches.")
        return super().embed_each(sequences, poolings)


@pytest.fixture
def tight(tmp_path: Path) -> Tight:
    directory = make_checkpoint(tmp_path / "bert", "bert")
    Tight.passes.clear()
    return Tight(Tight.spec_of(directory), directory=directory, device="cpu", precision="float32")


def test_a_batch_that_does_not_fit_beside_another_is_tried_alone_before_it_is_halved(
    store: Store, tight: Tight
) -> None:
    report = embedstore.build(store, tight, dtype="float32", batch_residues=256)
    assert (report.n_embedded, report.n_halved_batches) == (60, 0)
    in_threads = [n for thread, n in tight.passes if thread.startswith("worker ")]
    assert sorted(in_threads) == sorted(n for thread, n in tight.passes if not thread.startswith("worker "))


def test_a_batch_that_does_not_fit_alone_is_halved(store: Store, tight: Tight, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tight, "largest", 4)
    report = embedstore.build(store, tight, dtype="float32", batch_residues=512)
    assert report.n_embedded == 60
    assert report.n_halved_batches > 0


def test_queries_are_embedded_in_threads_and_in_halves_where_memory_is_short(
    store: Store, tight: Tight, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedstore.build(store, tight, dtype="float32", batch_residues=256)
    draw = random.Random(1)
    texts = ["".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=80)).encode() for _ in range(50)]
    records = [Record(id=f"q{number}", residues=text) for number, text in enumerate(texts)]
    expected = embed_records(store.space(), records, model=tight)
    tight.passes.clear()
    monkeypatch.setattr(Tight, "largest", 4)
    np.testing.assert_allclose(embed_records(store.space(), records, model=tight), expected, rtol=1e-4, atol=1e-5)
    assert any(thread.startswith("worker ") for thread, _ in tight.passes)
    assert max(n for thread, n in tight.passes if not thread.startswith("worker ")) > 4


def test_an_error_in_a_worker_thread_ends_the_build_and_the_threads(
    store: Store, tight: Tight, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Tight, sequences: Sequence[bytes], poolings: Sequence[str]) -> dict[str, Embedded]:
        raise LedgerError("this one is broken")

    monkeypatch.setattr(Tight, "embed_each", broken)
    with pytest.raises(LedgerError, match="this one is broken"):
        embedstore.build(store, tight, batch_residues=256)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker ")]
    assert not store.spaces()


def test_threads_of_torch_are_what_they_were_after_a_build(store: Store, tmp_path: Path) -> None:
    embedstore.build(store, load_model(make_checkpoint(tmp_path / "c", "mini"), family="mini", device="cpu"))
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert (torch.get_num_threads(), seen) == (2, [2])


@pytest.mark.parametrize("n_items", [0, 1, 3, 10])
def test_results_come_in_the_order_of_the_items_each_with_its_own_error(n_items: int) -> None:
    def call(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number * 10

    with WorkerPool(lambda: call, 3) as pool:
        found = list(pool.map(range(n_items)))
    assert [task.item for task in found] == list(range(n_items))
    assert [task.result for task in found] == [None if n == 2 else n * 10 for n in range(n_items)]
    assert [task.error is not None for task in found] == [n == 2 for n in range(n_items)]


def test_no_more_than_two_items_a_thread_are_read_before_a_result_is_taken() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    with WorkerPool(lambda: abs, 2) as pool:
        results = pool.map(items())
        next(results)
        assert read == [0, 1, 2, 3]


def test_nothing_is_at_work_once_a_pool_is_drained() -> None:
    busy = threading.Semaphore(0)
    ended: list[int] = []

    def call(number: int) -> None:
        busy.acquire()
        ended.append(number)

    with WorkerPool(lambda: call, 2) as pool:
        results = pool.map(range(4))
        busy.release(4)
        next(results)
        pool.drain()
        assert sorted(ended) == [0, 1, 2, 3]
        assert [task.item for task in results] == [1, 2, 3]
