"""Stores, indexes, heads and models that earlier releases wrote open, and answer as they did.

Each folder beside this file with `expected` in it is what one release wrote (`files.tar.xz`) and what it answered, made
by the script that is named like it; what is tested is what is in there. Labels, ids, neighbours, vectors and parameters
are compared exactly. Probabilities, scores and numbers are compared to 1e-5 (after more training to 1e-3), because
processors and releases of torch, faiss and aligners do not calculate alike. On the machine and with the packages that
the fixture was made with, they too are the same bit for bit::

    OMP_NUM_THREADS=1 EMBEDSTORE_FORMATS_EXACT=1 pytest tests/formats
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import embedstore
import heads
from embedstore.store import Store

EXACT = os.environ.get("EMBEDSTORE_FORMATS_EXACT") == "1"
HERE = Path(__file__).parent
VERSIONS = sorted(path.parent.parent.name for path in HERE.glob("*/expected/store.json"))


def expected(version: str, what: str) -> Any:
    """What a release answered."""
    return json.loads((HERE / version / "expected" / f"{what}.json").read_text(encoding="utf-8"))


def cases(what: str, *, where: str | None = None) -> Any:
    """Parametrise a test by what a file of answers has (and `where` says something): version, name, expectation."""
    found = []
    for version in VERSIONS:
        content = expected(version, what)
        named = content.items() if isinstance(content, dict) else ((_title(one), one) for one in content)
        chosen = ((name, one) for name, one in named if where is None or one.get(where))
        found += [pytest.param(version, name, one, id=f"{version}-{name}") for name, one in chosen]
    return pytest.mark.parametrize(("version", "name", "answer"), found)


def _title(one: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in one["asked"].items())


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The files that a release wrote, unpacked once."""

    @cache
    def unpack(version: str) -> Path:
        folder = tmp_path_factory.mktemp(version)
        with tarfile.open(HERE / version / "files.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        return folder

    return unpack


@pytest.fixture(scope="session")
def store_of(folder_of: Callable[[str], Path]) -> Callable[[str], Store]:
    """The store that a release wrote, opened once."""
    return cache(lambda version: embedstore.open(folder_of(version) / "store"))


@pytest.fixture(scope="session")
def model_of(folder_of: Callable[[str], Path]) -> Callable[[str, str | None], Any]:
    """A model of a release's spaces, loaded once."""

    @cache
    def load(version: str, name: str | None) -> Any:
        if name is None:
            return None
        options = expected(version, "models")[name]
        places = {key: folder_of(version) / str(value) for key, value in options.items()}
        return embedstore.load_model(**{**options, **{key: path for key, path in places.items() if path.is_dir()}})

    return load


# What the public functions return, in the words of the files of answers: names that change are changed here.


def answers_of(predicted: heads.Predictions) -> dict[str, Any]:
    """Predictions."""
    found: dict[str, Any] = {"ids": predicted.ids}
    for name in ("labels", "probabilities", "values", "low", "high", "answered"):
        value = getattr(predicted, name)
        if value is not None:
            found[name] = value.tolist()
    if predicted.labels is not None:
        # No prediction is None today, and was an empty text.
        found["labels"] = [["" if label is None else label for label in row] for row in found["labels"]]
    if predicted.sets is not None:
        found["sets"] = [[list(pair) for pair in row] for row in predicted.sets]
    if predicted.letters is not None and predicted.letter_probabilities is not None:
        found["letters"] = predicted.letters
        found["letter_probabilities"] = [shares.tolist() for shares in predicted.letter_probabilities]
    if predicted.risk_threshold is not None:
        found["threshold"] = predicted.risk_threshold.threshold
    return found


def facts_of(fitted: heads.FittedHead) -> dict[str, Any]:
    """What a fitted head says of itself."""
    return {
        "head": fitted.head_name,
        "predicts": fitted.head.target_type,
        "classes": fitted.head.classes_.tolist(),
        "data_set": fitted.data_set,
        "space": fitted.space_id,
        "train_sha256": fitted.train_sha256,
        "n_rows": dict(fitted.n_rows),
    }


def hits_of(hits: heads.Hits) -> dict[str, Any]:
    """What a lookup found."""
    arrays = ("probabilities", "scores", "votes", "answered", "labels", "candidates")
    found = {name: getattr(hits, name).tolist() for name in arrays}
    found |= {"evidence_ids": hits.neighbour_ids.tolist(), "evidence_labels": hits.neighbour_labels.tolist()}
    found |= {"ids": hits.ids, "neighbour_ids": hits.nearest_ids}
    if hits.starts is not None and hits.stops is not None:
        found |= {"starts": hits.starts.tolist(), "stops": hits.stops.tolist()}
    if hits.alignments is not None:
        found["alignments"] = [[one.identity, one.coverage] for one in hits.alignments]
    if hits.risk_threshold is not None:
        found["threshold"] = hits.risk_threshold.threshold
    return found


def assert_same(found: Any, answer: Any, *, rel: float = 1e-5, where: str = "") -> None:
    """The same, floats to a tolerance unless `EXACT`."""
    if isinstance(answer, dict):
        assert found.keys() == answer.keys(), where
        for name in answer:
            assert_same(found[name], answer[name], rel=rel, where=f"{where}/{name}")
    elif isinstance(answer, list | tuple):
        assert len(found) == len(answer), where
        for place, (one, other) in enumerate(zip(found, answer, strict=True)):
            assert_same(one, other, rel=rel, where=f"{where}/{place}")
    elif isinstance(answer, float) and not EXACT:
        assert found == pytest.approx(answer, rel=rel, abs=rel / 10, nan_ok=True), where
    else:
        assert found == answer or (found != found and answer != answer), f"{where}: {found} is not {answer}"


def assert_same_answers(found: dict[str, Any], answer: dict[str, Any], *, rel: float = 1e-5) -> None:
    """The same predictions; runners-up and ties, whose order is not to be compared, by their names unless `EXACT`."""
    if not EXACT:
        found, answer = {**found}, {**answer}
        if "labels" in answer:
            clear = [len(row) < 2 or row[0] - row[1] > 10 * rel for row in answer["probabilities"]]
            for one in (found, answer):
                rows = zip(one["labels"], one["probabilities"], strict=True)
                one["probabilities"] = [sorted(zip(*row, strict=True)) for row in rows]
                one["labels"] = [row[0] for row, is_clear in zip(one["labels"], clear, strict=True) if is_clear]
        for one in (found, answer):
            if "sets" in one:
                one["sets"] = [sorted(row) for row in one["sets"]]
    assert_same(found, answer, rel=rel)


# Stores.


def sha256(*arrays: NDArray[Any]) -> str:
    told = hashlib.sha256()
    for array in arrays:
        told.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return told.hexdigest()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_store_is_whole(version: str, store_of: Callable[[str], Store]) -> None:
    report = embedstore.verify(store_of(version))
    assert report.ok, report.problems


@cases("store")
def test_what_an_old_store_holds_is_read_bit_for_bit(
    version: str, name: str, answer: dict[str, Any], store_of: Callable[[str], Store]
) -> None:
    store = store_of(version)
    what, _, called = name.partition(" ")
    if what == "dataset":
        dataset = store.dataset(called)
        assert dataset.ids()[:200] == answer["ids"]
        assert {column: dataset.column(column)[:200] for column in dataset.columns} == answer["columns"]
        assert [list(pair) for pair in dataset.rejected] == answer["rejected"]
        assert sha256(np.array(store.sequences.take(dataset.digests))) == answer["sequences"]
        assert {key: value for key, value in dataset.describe().items() if key != "sources"} == answer["describe"]
    else:
        space = store.any_space(called)
        keys = np.unique(space.digests, axis=0)
        vectors = space.take(keys)
        assert space.describe() == answer["describe"]
        assert sha256(keys) == answer["keys"]
        assert sha256(*(vectors if isinstance(vectors, list) else [vectors])) == answer["vectors"]


@cases("store", where="model")
def test_an_old_space_is_whole_and_would_be_built_the_same_way(
    version: str,
    name: str,
    answer: dict[str, Any],
    store_of: Callable[[str], Store],
    model_of: Callable[[str, str | None], Any],
    tmp_path: Path,
) -> None:
    store, model = store_of(version), model_of(version, answer["model"])
    space = store.any_space(name.partition(" ")[2])
    options = {"pooling": (), "residues": True} if space.pooling == "residues" else {"pooling": space.pooling}
    options["dtype"] = str(space.dtype)
    plan = embedstore.plan(store, model, answer["datasets"], **options)
    assert (plan.spaces, plan.n_missing) == ([space.id], 0)
    copied = embedstore.open(shutil.copytree(str(store.path), tmp_path / "store"), mode="a")
    embedstore.remove(copied, space.id, kind="space")
    copied.refresh()
    embedstore.build(copied, model, answer["datasets"], **options)
    keys = np.unique(space.digests, axis=0)
    old, new = (opened.any_space(space.id).take(keys) for opened in (store, embedstore.open(tmp_path / "store")))
    old, new = (vectors if isinstance(vectors, list) else [vectors] for vectors in (old, new))
    for one, other in zip(new, old, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=2e-3)
    if EXACT:
        assert sha256(*new) == answer["built_again"]


@pytest.fixture(params=VERSIONS)
def copied(request: pytest.FixtureRequest, folder_of: Callable[[str], Path], tmp_path: Path) -> Iterator[Store]:
    """An old store to write into."""
    yield embedstore.open(shutil.copytree(folder_of(request.param) / "store", tmp_path / "store"), mode="a")


def test_an_old_store_is_added_to(copied: Store, tmp_path: Path) -> None:
    (tmp_path / "more.fasta").write_text(">new\nMKVLATGGHWDE\n")
    before = copied.space("kmer").n_rows
    copied.add("more", tmp_path / "more.fasta")
    embedstore.build(copied, embedstore.load_model("kmer"), ["more"])
    copied.refresh()
    assert copied.space("kmer").n_rows == before + 1
    embedstore.compact(copied)
    embedstore.gc(copied, older_than=0)
    copied.refresh()
    assert embedstore.verify(copied).ok


def test_old_indexes_take_in_what_came_later(copied: Store) -> None:
    imported = next(copied.space(name) for name in copied.spaces() if name.startswith("simulated"))
    for index in ("ivf_pq", "hnsw"):
        report = embedstore.update_index(copied, space=imported.id, index_type=index)
        assert (report.n_added, report.n_rows, report.retrained) == (40, imported.n_rows, False)


# Searches and lookups.


@cases("searches")
def test_an_old_store_and_its_indexes_are_searched_as_they_were(
    version: str,
    name: str,
    answer: dict[str, Any],
    folder_of: Callable[[str], Path],
    store_of: Callable[[str], Store],
) -> None:
    store = store_of(version)
    if answer["queries"] is None:
        keys = np.unique(store.space(answer["asked"]["space"]).digests, axis=0)[:5]
        asked = {"vectors": store.space(answer["asked"]["space"]).take(keys), "exclude": keys}
    else:
        asked = {"vectors": np.load(folder_of(version) / "queries" / answer["queries"])}
    got = embedstore.search(store, **asked, **answer["asked"])
    assert [[digest.tobytes().hex() for digest in row] for row in got.digests] == answer["keys"]
    assert_same(got.scores.tolist(), answer["scores"])


@cases("lookups")
def test_a_lookup_in_an_old_store_answers_as_it_did(
    version: str,
    name: str,
    answer: dict[str, Any],
    folder_of: Callable[[str], Path],
    store_of: Callable[[str], Store],
    model_of: Callable[[str, str | None], Any],
) -> None:
    if answer["asked"].get("align"):
        pytest.importorskip("parasail")
    queries, model = folder_of(version) / "queries" / answer["queries"], model_of(version, answer["asked"]["space"])
    asked = dict(answer["asked"])
    columns = {name: asked.pop(name) for name in ("label_column", "label_separator") if name in asked}
    task = heads.TaskSelection(dataset="families", **columns)
    hits = heads.lookup(store_of(version), queries, task=task, model=model, **asked)
    assert_same(hits_of(hits), answer["answers"])


# Heads and fine-tuned models.


@cases("heads")
def test_an_old_head_answers_as_it_did(
    version: str,
    name: str,
    answer: dict[str, Any],
    folder_of: Callable[[str], Path],
    store_of: Callable[[str], Store],
    model_of: Callable[[str, str | None], Any],
) -> None:
    missing = [program for program in answer["programs"] if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not on the path")
    fitted = heads.load(folder_of(version) / name)
    if answer["base"] is not None:
        # The folder names the place where its base was when it was trained.
        fitted.head.set_params(weights=folder_of(version) / answer["base"])
    assert facts_of(fitted) == answer["facts"]
    queries, model = folder_of(version) / "queries" / answer["queries"], model_of(version, answer["model"])
    predicted = heads.predict(store_of(version), fitted, queries, model=model, **answer["options"])
    assert_same_answers(answers_of(predicted), answer["answers"])


@cases("heads")
def test_an_old_head_is_saved_again_with_the_same_parameters(
    version: str, name: str, answer: dict[str, Any], folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    old = folder_of(version) / name
    new = heads.load(old).save(tmp_path / "again")
    assert {path.name for path in new.iterdir()} == {path.name for path in old.iterdir()}
    # head.json names versions, and how long the fit took may be told in another way.
    for path in (path for path in old.iterdir() if path.name not in ("head.json", "cost.json")):
        assert (new / path.name).read_bytes() == path.read_bytes(), path.name


# Trainings that were stopped.


@cases("trainings")
def test_an_old_training_that_was_stopped_goes_on_from_where_it_was(
    version: str,
    name: str,
    answer: dict[str, Any],
    folder_of: Callable[[str], Path],
    store_of: Callable[[str], Store],
    tmp_path: Path,
) -> None:
    asked, task = answer["options"], heads.TaskSelection(dataset="families", label_column="label")
    proof: Any
    if "head" in asked:
        folder = shutil.copytree(folder_of(version) / name, tmp_path / "checkpoint")
        params = {**asked["params"], "checkpoint": str(folder)}
        fitted = heads.fit(store_of(version), task=task, **{**asked, "params": params})
        history: Any = [[point.train_loss, point.valid_loss] for point in fitted.head.curve_]
        proof = fitted.head.curve_[0].seconds
    else:
        shutil.copytree(folder_of(version) / name, tmp_path / "tuned.training")
        seed = {name: asked[name] for name in ("seed",) if name in asked}
        params = {name: value for name, value in asked.items() if name != "seed"}
        params["model"] = str(folder_of(version) / asked["model"])
        steps: list[int] = []
        fitted = heads.finetune(
            store_of(version),
            task=task,
            params=params,
            out=tmp_path / "tuned",
            progress=lambda step: steps.append(step.done),
            **seed,
        )
        history, proof = [list(epoch.to_dict().values()) for epoch in fitted.head.history_], steps
    # Steps that were done before are not done again; and the first epoch took just as long as it did then.
    assert proof == answer["proof"]
    assert_same(history, answer["history"], rel=1e-3)
    queries = folder_of(version) / "queries" / answer["queries"]
    predicted = heads.predict(store_of(version), fitted, queries, top=4)
    assert_same_answers(answers_of(predicted), answer["answers"], rel=1e-3)
