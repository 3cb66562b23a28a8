"""Proteins longer than one pass: windows, cut, skipped or refused, and never silently."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import embedstore
from embedstore.embedding.embedder import Embedder
from embedstore.embedding.query import embed_records
from embedstore.embedding.windows import LongSequencePolicy, long_sequence_policy, merge_windows, window_starts
from embedstore.errors import InputError, OutOfMemoryError
from embedstore.models import Model, load_model
from embedstore.models.base import Embedded
from embedstore.store import Store
from embedstore.store.spaces import FLAG_TRUNCATED, FLAG_WINDOWED
from embedstore.testing.checkpoints import make_checkpoint
from embedstore.types import Record

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def protein(length: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices(RESIDUES, k=length))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    checkpoint = make_checkpoint(tmp_path_factory.mktemp("bert"), "bert", n_positions=102)
    # In float32, in which a vector does not depend on the size of its batch.
    return load_model(checkpoint, family="bert", precision="float32")


LENGTHS = (20, 99, 100, 101, 150, 351)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    file = tmp_path / "p.fasta"
    file.write_text("".join(f">p{length}\n{protein(length)}\n" for length in LENGTHS))
    store.add("mine", file)
    return store


def by_length(store: Store, space_name: str | None = None) -> dict[int, np.ndarray]:  # type: ignore[type-arg]
    dataset = store.dataset("mine")
    return dict(zip(LENGTHS, store.space(space_name).take(dataset.digests), strict=True))


def test_windows_cover_every_residue_and_share_what_was_asked_for() -> None:
    for length in (101, 120, 175, 176, 351, 5000):
        starts = window_starts(length, size=100, overlap=25)
        assert starts[0] == 0
        assert starts[-1] == length - 100
        assert all(25 <= 100 - (b - a) <= 100 for a, b in pairwise(starts))


def test_blending_windows_of_one_matrix_gives_it_back() -> None:
    states = np.random.default_rng(0).normal(size=(351, 4)).astype(np.float32)
    for size, overlap in ((100, 0), (100, 25), (100, 50), (350, 10)):
        starts = window_starts(351, size=size, overlap=overlap)
        np.testing.assert_allclose(
            merge_windows([states[a : a + size] for a in starts], starts, 351), states, atol=1e-6
        )


def test_a_residue_at_a_cut_counts_least() -> None:
    low, high = np.zeros((10, 1), np.float32), np.ones((10, 1), np.float32)
    mixed = merge_windows([low, high], [0, 6], 16).ravel()
    assert (np.diff(mixed) >= 0).all()
    np.testing.assert_allclose(mixed[6:10], [0.2, 0.4, 0.6, 0.8], atol=1e-6)


def test_a_long_protein_is_the_blend_of_its_windows_pooled_whole(store: Store, model: Model) -> None:
    report = embedstore.build(
        store, model, pooling=["mean", "max", "first"], residues=True, dtype="float32", overlap=30
    )
    assert (report.n_embedded, report.n_windowed, report.n_skipped) == (len(LENGTHS), 3, 0)
    text = protein(351).encode()
    starts = window_starts(351, size=100, overlap=30)
    by_hand = merge_windows([model.embed_residues([text[a : a + 100]])[0] for a in starts], starts, 351)
    firsts = np.mean([model.embed([text[a : a + 100]], pooling="first")[0] for a in starts], axis=0)
    key = store.dataset("mine").digests[-1:]
    name = model.name
    np.testing.assert_allclose(store.residue_space().matrix(key[0].tobytes()), by_hand, atol=1e-5)
    np.testing.assert_allclose(store.space(f"{name}:mean").take(key)[0], by_hand.mean(0), atol=1e-5)
    np.testing.assert_allclose(store.space(f"{name}:max").take(key)[0], by_hand.max(0), atol=1e-5)
    np.testing.assert_allclose(store.space(f"{name}:first").take(key)[0], firsts, atol=1e-5)
    assert embedstore.verify(store).ok


def test_flags_say_which_vectors_are_of_windows_or_cut_proteins(store: Store, model: Model) -> None:
    for policy, flag in (("window", FLAG_WINDOWED), ("truncate", FLAG_TRUNCATED)):
        embedstore.build(store, model, long=policy)
        (part,) = next(
            space for space in map(store.space, store.spaces()) if str(space.identity["long"]).startswith(policy)
        ).parts
        lengths, flags = part.array("lengths").read(), part.array("flags").read()
        long = lengths >= 100 if policy == "truncate" else lengths > 100
        expected = {length > 100 for length in LENGTHS}
        assert expected == {True, False}
        assert int((flags & flag > 0).sum()) == 3
        assert (flags[~long] & flag == 0).all()


def test_a_protein_of_exactly_the_limit_goes_whole(store: Store, model: Model) -> None:
    embedstore.build(store, model, dtype="float32")
    np.testing.assert_allclose(by_length(store)[100], model.embed([protein(100).encode()])[0], atol=1e-5)


def test_truncate_takes_the_first_residues_and_says_so(store: Store, model: Model) -> None:
    report = embedstore.build(store, model, long="truncate", dtype="float32")
    assert report.n_truncated == 3
    np.testing.assert_allclose(by_length(store)[351], model.embed([protein(351)[:100].encode()])[0], atol=1e-5)


def test_skip_names_what_is_too_long(store: Store, model: Model) -> None:
    report = embedstore.build(store, model, long="skip")
    assert (report.n_embedded, report.n_skipped) == (3, 3)
    assert all("takes at most 100" in why for why in report.skipped.values())
    assert embedstore.verify(store).ok


def test_error_refuses_before_anything_is_written(store: Store, model: Model) -> None:
    with pytest.raises(InputError, match=r"3 proteins have more than 100 residues \(the longest 351\)"):
        embedstore.build(store, model, long="error")
    assert store.spaces() == []
    plan = embedstore.plan(store, model)
    assert (plan.n_long, plan.long) == (3, "window 100 overlap 25")


def test_each_policy_and_number_is_a_space_of_its_own(store: Store, model: Model) -> None:
    for options in (
        {"long": "window"},
        {"long": "window", "overlap": 10},
        {"long": "window", "max_residues": 90},
        {"long": "truncate"},
        {"long": "skip"},
    ):
        assert embedstore.build(store, model, **options).n_present == 0  # type: ignore[arg-type]
    assert len(store.spaces()) == 5


def test_a_query_is_treated_as_its_space_treats_long_proteins(store: Store, model: Model, tmp_path: Path) -> None:
    embedstore.build(store, model, dtype="float32")
    space = store.space()
    fresh = [Record(id="new", residues=protein(351, seed=5).encode()), Record(id="short", residues=b"MKVLAT")]
    found = embed_records(space, fresh, model=model)
    by_hand = Embedder(model, ["mean"], LongSequencePolicy.parse(str(space.identity["long"]))).embed(
        [fresh[0].residues]
    )
    np.testing.assert_array_equal(found[0], by_hand["mean"][0])
    embedstore.build(store, model, long="skip", dtype="float32")
    skipping = next(one for one in map(store.space, store.spaces()) if one.identity["long"] == "skip over 100")
    with pytest.raises(InputError, match=r"'new' has 351 residues; .* takes at most 100"):
        embed_records(skipping, fresh, model=model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "windows"}, "Unknown policy for long proteins 'windows'. Did you mean 'window'"),
        ({"kind": "window", "max_residues": 200}, "takes from 1 to 100"),
        ({"kind": "window", "overlap": 60}, "cannot share 60; expected 0 to 50"),
        ({"kind": "skip", "overlap": 10}, "nothing is cut into windows"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        long_sequence_policy(**options, longest=100, window=100, model="small")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["skip over none", "window 1022 overlap 256", "truncate 50", "skip over 1022"])
def test_a_policy_reads_back_from_the_identity(text: str) -> None:
    assert str(LongSequencePolicy.parse(text)) == text


def test_a_policy_of_a_newer_release_is_refused() -> None:
    with pytest.raises(InputError, match="not a policy for long proteins that this release knows"):
        LongSequencePolicy.parse("fold 7")


def test_a_protein_of_35_000_residues_goes_through(tmp_path: Path) -> None:
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    file = tmp_path / "titin.fasta"
    file.write_text(f">titin_like\n{protein(35_000)}\n>short\n{protein(200)}\n")
    store.add("mine", file)
    for family in ("t5", "esm"):
        model = load_model(make_checkpoint(tmp_path / family, family, dim=16, n_layers=1, n_heads=2), family=family)
        report = embedstore.build(store, model, residues=True, max_residues=1022)
        assert (report.n_embedded, report.n_windowed, report.n_skipped) == (2, 1, 0)
        key = store.dataset("mine").digests[0].tobytes()
        assert store.residue_space(model.name).matrix(key, 34_990).shape == (10, 16)
    assert embedstore.verify(store).ok


def test_windows_that_do_not_fit_together_are_embedded_in_fewer_at_once(
    store: Store, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = embedstore.build(store, model, pooling="mean", batch_residues=1000)
    due = by_length(store)
    embedstore.remove(store, whole.space)
    forward, tried = model.embed_each, []

    def small(sequences: Sequence[bytes], poolings: Sequence[str]) -> dict[str, Embedded]:
        tried.append(len(sequences))
        if sum(map(len, sequences)) > 200:
            raise OutOfMemoryError("too many")
        return forward(sequences, poolings)

    monkeypatch.setattr(model, "embed_each", small)
    report = embedstore.build(store, model, pooling="mean", batch_residues=1000)
    assert (whole.n_halved_batches, report.n_skipped, report.n_windowed) == (0, 0, 3)
    assert report.n_halved_batches > 0
    for length, vector in by_length(store).items():
        np.testing.assert_allclose(vector, due[length], atol=2e-3)


def test_a_plan_counts_what_the_policy_leaves_of_long_proteins(store: Store, model: Model) -> None:
    options = {"pooling": [], "residues": True, "batch_residues": 1000, "max_residues": 100}
    cut = embedstore.plan(store, model, long="truncate", **options)
    left = sum(min(length, 100) for length in LENGTHS)
    assert cut.n_bytes == left * model.dim * 2
    assert cut.padded_share == pytest.approx(1 - left / (100 * len(LENGTHS)))
    kept = embedstore.plan(store, model, long="skip", **options)
    assert kept.n_bytes == sum(length for length in LENGTHS if length <= 100) * model.dim * 2


def test_cutting_for_a_model_without_a_limit_needs_a_number(store: Store, tmp_path: Path) -> None:
    endless = load_model(make_checkpoint(tmp_path / "t5", "t5"), family="t5")
    with pytest.raises(InputError, match=r"takes any length: say where to cut \(max_residues=, --max-residues\)"):
        embedstore.build(store, endless, long="truncate")
    assert embedstore.build(store, endless, long="truncate", max_residues=120).n_truncated == 2
