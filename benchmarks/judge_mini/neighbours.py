"""Nearest neighbours: family on Pfam, superfamily on SCOP, families and superfamilies that training has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.aligners import NO_HIT
from benchmarks.judge_mini.intervals import percentiles
from benchmarks.judge_mini.measures import MINI, Finder, Measure, agreement, no_hits, shares
from benchmarks.judge_mini.sets import Data, Proteins, joined
from benchmarks.train_mini.data import left_out_families, order
from heads.evaluation.metrics import N_RESAMPLES

PFAM = {"test": "train", "hard_valid": "hard_train"}
"""Queries and database."""

REPEATS = 10
SHOTS = (1, 4)
QUERIES_PER_FAMILY = 100


def pfam(data: Data, finders: Sequence[Finder]) -> list[Measure]:
    """Family of the nearest domain; and whether it is of the same family or clan."""
    found: list[Measure] = []
    for asked, searched in PFAM.items():
        queries, base = data.split("pfam", asked, asked=True), data.split("pfam", searched)
        nearest = {finder.name: finder.nearest(queries.sequences, base.sequences) for finder in finders}
        right = {name: agreement(rows, queries.labels, base.labels) for name, rows in nearest.items()}
        clans = _clan_or_family(queries), _clan_or_family(base)
        related = {name: agreement(rows, *clans) for name, rows in nearest.items()}
        found.append(shares(f"pfam/{asked}: family of the nearest neighbour", right, notes=no_hits(nearest)))
        found.append(shares(f"pfam/{asked}: clan of the nearest neighbour", related))
    return found


def superfamilies(data: Data, finders: Sequence[Finder]) -> list[Measure]:
    """Superfamily of the nearest training domain of the test domains; superfamilies are resampled."""
    found: list[Measure] = []
    for name in ("scop2", "scope"):
        queries, base = data.split(name, "test", asked=True), data.split(name, "train")
        found.append(_by_superfamily(f"{name}/test: superfamily of the nearest neighbour", queries, base, finders))
    return found


def rare_superfamilies(data: Data, finders: Sequence[Finder]) -> list[Measure]:
    """Superfamilies left out of training: each member of one with two or more asks for another of it.

    Searched are all other rows of ``rare`` and the training split.
    """
    found: list[Measure] = []
    for name in ("scop2", "scope"):
        rare, train = Data(data.directory).split(name, "rare"), data.split(name, "train")
        base = joined([rare, train])
        _, number, sizes = np.unique(rare.labels, return_inverse=True, return_counts=True)
        own = np.flatnonzero(sizes[number] > 1)
        if data.limit is not None:
            own = own[: data.limit]
        title = f"{name}/rare: another of the same superfamily, never trained on"
        found.append(_by_superfamily(title, rare.take(own), base, finders, own))
    return found


def _by_superfamily(
    title: str, queries: Proteins, base: Proteins, finders: Sequence[Finder], own: NDArray[np.int64] | None = None
) -> Measure:
    """Whether the nearest has the query's label; labels are resampled. ``own``: where the queries stand in the base."""
    nearest = {finder.name: finder.nearest(queries.sequences, base.sequences, own) for finder in finders}
    right = {model: agreement(rows, queries.labels, base.labels) for model, rows in nearest.items()}
    return shares(title, right, groups=queries.labels, notes=no_hits(nearest))


def left_out(data: Data, finders: Sequence[Finder]) -> list[Measure]:
    """Pfam families left out of training: lookup from one and from four examples among all 142 families.

    Ten draws of the examples; queries are at most a hundred other members of each family left out. The interval is over
    draws and proteins, ``over_families`` over draws and families.
    """
    splits = [Data(data.directory).split("pfam", split) for split in ("train", "valid", "test")]
    train, everything = splits[0], joined(splits)
    queries = _queries(everything, left_out_families(data.directory), data.limit)
    found: list[Measure] = []
    for shots in SHOTS:
        right: dict[str, list[NDArray[np.bool_]]] = {finder.name: [] for finder in finders}
        asked: list[NDArray[np.bool_]] = []
        without = dict.fromkeys(right, 0)
        for repeat in range(REPEATS):
            examples = train.take(_examples(train.labels, shots, repeat))
            asked.append(~np.isin(queries.columns["id"], examples.columns["id"]))
            for finder in finders:
                rows = finder.nearest(queries.sequences, examples.sequences)
                right[finder.name].append(agreement(rows, queries.labels, examples.labels) & asked[-1])
                without[finder.name] += int(((rows == NO_HIT) & asked[-1]).sum())
        name = f"pfam families left out, {shots} example{'s' if shots > 1 else ''} each of 142"
        counted = {model: np.stack(held, axis=1) for model, held in right.items()}
        measure = _over_repeats(name, counted, np.stack(asked, axis=1), queries.labels)
        for model, count in without.items():
            measure.notes[model] |= {"no_hit": count, "asked": int(np.sum(asked))}
        found.append(measure)
    return found


def _clan_or_family(proteins: Proteins) -> NDArray[np.str_]:
    clans = proteins.columns["clan"]
    return np.where(clans == "", proteins.labels, clans)


def _queries(everything: Proteins, families: set[str], limit: int | None) -> Proteins:
    """At most a hundred members of each of the families, in a fixed order."""
    per_family = QUERIES_PER_FAMILY if limit is None else max(1, limit // len(families))
    chosen: list[int] = []
    for family in sorted(families):
        members = np.flatnonzero(everything.labels == family).tolist()
        members.sort(key=lambda row: order(everything.columns["id"][row]))
        chosen += members[:per_family]
    return everything.take(np.array(chosen, np.int64))


def _examples(labels: NDArray[np.str_], shots: int, repeat: int) -> NDArray[np.int64]:
    """So many rows of each family; those of one shot are among those of more."""
    rng = np.random.default_rng(repeat)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == name))[:shots] for name in np.unique(labels)])


def _over_repeats(
    name: str, right: dict[str, NDArray[np.bool_]], asked: NDArray[np.bool_], families: NDArray[np.str_]
) -> Measure:
    """(n, repeats) each; draws and proteins are resampled, or draws and families."""
    found = Measure(name, len(asked))
    every = {
        how: _draws(len(asked), asked.shape[1], groups) for how, groups in (("proteins", None), ("families", families))
    }
    for model, counts in right.items():
        value = float(counts.sum() / asked.sum())
        by = {how: percentiles(value, _resampled(counts, asked, draws)) for how, draws in every.items()}
        found.figures[model] = by["proteins"]
        found.notes[model] = {"over_families": [round(by["families"].low, 4), round(by["families"].high, 4)]}
        if model != MINI and MINI in right:
            less = right[MINI].astype(np.float64) - counts
            found.minus[model] = percentiles(
                float(less.sum() / asked.sum()), _resampled(less, asked, every["proteins"])
            )
    return found


def _draws(n_rows: int, n_repeats: int, groups: NDArray[np.str_] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each row and each repeat is drawn, (resamples, n) and (resamples, repeats)."""
    rng = np.random.default_rng(0)
    if groups is None:
        of_rows = rng.multinomial(n_rows, np.full(n_rows, 1 / n_rows), N_RESAMPLES)
    else:
        names, number = np.unique(groups, return_inverse=True)
        of_rows = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), N_RESAMPLES)[:, number]
    return of_rows, rng.multinomial(n_repeats, np.full(n_repeats, 1 / n_repeats), N_RESAMPLES)


def _resampled(
    counts: NDArray[np.bool_] | NDArray[np.float64],
    asked: NDArray[np.bool_],
    draws: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.float64]:
    of_rows, of_repeats = draws
    above = ((of_rows @ counts.astype(np.float64)) * of_repeats).sum(axis=1)
    below = ((of_rows @ asked.astype(np.float64)) * of_repeats).sum(axis=1)
    return np.asarray(above / below, np.float64)
