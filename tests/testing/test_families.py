"""Simulated families are reproducible, exact in number, and as hard as real ones."""

from __future__ import annotations

import hashlib
import itertools
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.testing.evolution import Evolution
from embedstore.testing.families import SPLITS, family_sizes, simulate_families, simulate_family
from embedstore.types import Record


def fingerprint(records: Iterable[Record]) -> str:
    lines = (f"{record.id} {record.residues.decode()} {sorted(record.columns.items())}" for record in records)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def test_records_are_the_same_on_every_machine_and_with_every_numpy() -> None:
    # Change these only together with a line in the change log: people's figures rest on them.
    assert (
        fingerprint(simulate_families(2000, 60, seed=0))
        == "81d1f2f4cf43b39d61d7d529782ed5413206577747ec0863c21fa76020f30d39"
    )
    assert (
        fingerprint(simulate_family(7, 3000, seed=5))
        == "41a2f95c71cba20ecf088c56db1f3881cde73c83da1db4bedbdd7fd0469127e3"
    )


def test_ids_and_columns() -> None:
    record = next(simulate_family(42, 200, seed=1))
    assert record.id == "SIM00042_000001"
    assert list(record.columns) == ["family", "clan", "split"]
    assert record.columns["family"] == "SIM00042"
    assert record.columns["clan"] in ("", "SIMCL0004")
    assert set(record.residues) <= set(b"ARNDCQEGHILKMFPSTWYV")
    assert "clan" not in next(simulate_family(42, 200, evolution=Evolution(clan_share=0))).columns


def test_ids_are_unique_and_in_order() -> None:
    ids = [record.id for record in simulate_families(500, 20, seed=3)]
    assert len(set(ids)) == 500
    assert ids == sorted(ids)


def test_a_family_does_not_depend_on_the_others() -> None:
    by_family = itertools.groupby(simulate_families(300, 12, seed=4), key=lambda record: record.columns["family"])
    for number, (_, members) in enumerate(by_family, start=1):
        together = list(members)
        assert fingerprint(together) == fingerprint(simulate_family(number, len(together), seed=4))


def test_another_seed_gives_other_sequences() -> None:
    first = {record.residues for record in simulate_families(200, 10, seed=1)}
    assert not first & {record.residues for record in simulate_families(200, 10, seed=2)}


@given(n_families=st.integers(1, 300), more=st.integers(0, 5000), exponent=st.floats(0, 3))
def test_sizes_sum_up_and_never_rise(n_families: int, more: int, exponent: float) -> None:
    sizes = family_sizes(n_families + more, n_families, exponent=exponent)
    assert sizes.sum() == n_families + more
    assert len(sizes) == n_families
    assert sizes.min() >= 1
    assert (np.diff(sizes) <= 0).all()


def test_sizes_follow_zipf() -> None:
    sizes = family_sizes(1_000_000, 17_929)
    assert sizes.sum() == 1_000_000
    slope = np.polyfit(np.log(np.arange(1, 1001)), np.log(sizes[:1000] - 1), 1)[0]
    assert slope == pytest.approx(-0.8, abs=0.01)
    assert 0.025 < sizes[0] / 1_000_000 < 0.035


def test_simulated_families_have_these_sizes() -> None:
    counts = Counter(record.columns["family"] for record in simulate_families(400, 30, seed=2))
    assert sorted(counts.values(), reverse=True) == family_sizes(400, 30).tolist()


def test_every_family_has_a_train_member_and_a_tenth_each_is_held_out() -> None:
    splits = defaultdict(list)
    for record in simulate_families(6000, 400, seed=8):
        splits[record.columns["family"]].append(record.columns["split"])
    assert len(splits) == 400
    assert all("train" in members for members in splits.values())
    counts = Counter(split for members in splits.values() for split in members)
    assert set(counts) == set(SPLITS)
    assert 0.08 < counts["valid"] / 6000 < 0.11
    assert 0.08 < counts["test"] / 6000 < 0.11


def test_families_of_one_member_are_train() -> None:
    assert {record.columns["split"] for record in simulate_families(50, 50, seed=1)} == {"train"}


@pytest.mark.parametrize(
    ("n_sequences", "n_families", "message"),
    [
        (5, 6, r"n_sequences=5 is less than n_families=6; .* Ask for more sequences or fewer families"),
        (5, 0, "n_families=0 cannot be simulated; expected 1 or more"),
    ],
)
def test_impossible_numbers_are_refused_before_the_first_record(
    n_sequences: int, n_families: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        simulate_families(n_sequences, n_families)


def test_a_negative_seed_exponent_or_number_is_refused() -> None:
    with pytest.raises(InputError, match="seed=-1 is negative"):
        simulate_families(5, 2, seed=-1)
    with pytest.raises(InputError, match=r"exponent=-0\.5 is no Zipf exponent"):
        simulate_families(5, 2, exponent=-0.5)
    with pytest.raises(InputError, match="Family number 0 with 3 members"):
        simulate_family(0, 3)


def peak_bytes(size: int) -> int:
    tracemalloc.start()
    for _ in simulate_family(3, size, seed=0):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_family() -> None:
    # 20 bytes a member are for drawing the splits; the residues themselves would be more than 100.
    small, large = peak_bytes(5_000), peak_bytes(15_000)
    assert large < small * 1.2 + 10_000 * 20
    assert large < 40e6


def sample(evolution: Evolution, *, n_sequences: int = 3000, n_families: int = 60) -> dict[str, list[Record]]:
    families = defaultdict(list)
    for record in simulate_families(n_sequences, n_families, seed=0, exponent=0, evolution=evolution):
        families[record.columns["family"]].append(record)
    return families


def identity(a: Record, b: Record) -> float:
    """Share of equal residues of two sequences without indels, cut to the shorter."""
    return float(np.mean([x == y for x, y in zip(a.residues, b.residues, strict=False)]))


def test_identities_are_those_of_pfam_within_families_small_in_clans_and_chance_between() -> None:
    families = sample(Evolution(insertion_rate=0, deletion_rate=0))
    within = [np.mean([identity(*pair) for pair in itertools.pairwise(members[::5])]) for members in families.values()]
    assert 0.30 < np.median(within) < 0.55
    assert 0.15 < np.percentile(within, 5) < np.percentile(within, 95) < 0.8
    firsts = [members[0] for members in families.values()]
    in_clan: list[float] = []
    apart: list[float] = []
    for a, b in itertools.combinations(firsts, 2):
        related = a.columns["clan"] and a.columns["clan"] == b.columns["clan"]
        (in_clan if related else apart).append(identity(a, b))
    assert 0.05 < np.mean(apart) < 0.08  # the sum of squared frequencies is 0.061
    assert np.mean(apart) + 0.03 < np.mean(in_clan) < np.median(within)


def test_lengths_are_those_of_pfam() -> None:
    lengths = [len(record.residues) for record in simulate_families(1500, 1500, seed=0)]
    assert 85 < np.median(lengths) < 120
    assert min(lengths) >= 20
    assert max(lengths) <= 1000
    assert 0.5 < np.std(np.log(lengths)) < 0.8


def spectra(records: list[Record]) -> NDArray[np.float32]:
    """Unit-length counts of 3-mers, (N, 8000)."""
    codes = np.zeros(256, dtype=np.int64)
    codes[np.frombuffer(b"ARNDCQEGHILKMFPSTWYV", np.uint8)] = np.arange(20)
    counts = np.zeros((len(records), 8000), dtype=np.float32)
    for row, record in zip(counts, records, strict=True):
        code = codes[np.frombuffer(record.residues, np.uint8)]
        np.add.at(row, code[:-2] * 400 + code[1:-1] * 20 + code[2:], 1)
    counts /= np.linalg.norm(counts, axis=1, keepdims=True)
    return counts


def test_the_nearest_neighbour_by_3_mers_is_good_but_not_perfect() -> None:
    records = [record for members in sample(Evolution()).values() for record in members]
    train = [record for record in records if record.columns["split"] == "train"]
    test = [record for record in records if record.columns["split"] != "train"]
    nearest = (spectra(test) @ spectra(train).T).argmax(axis=1)
    hits = [train[j].columns["family"] == record.columns["family"] for j, record in zip(nearest, test, strict=True)]
    assert 0.85 < np.mean(hits) < 0.985


def test_few_sequences_are_equal() -> None:
    records = [record.residues for record in simulate_families(5000, 50, seed=0)]
    assert len(set(records)) > 0.985 * len(records)
