"""Proteins evolving down random trees: substitutions, insertions and deletions on many branches at once.

Trees are never built. A clade is a sequence, a number of leaves and an age; a step splits every clade of a front in
two and evolves both halves. Fronts wait on a stack and large ones are cut, so memory does not grow with the tree.

Sources
-------
Trees: Yule process given its number of leaves, in which the ages of the splits are independent truncated exponentials
and a clade of n leaves falls into k and n - k with every k equally likely (Gernhard 2008, J. Theor. Biol. 253,
769-778; Harding 1971, Adv. Appl. Probab. 3, 44-77). Rates among branches: uncorrelated lognormal clock (Drummond et
al. 2006, PLoS Biol. 4, e88). Lengths of insertions and deletions: Zipf (Benner, Cohen and Gonnet 1993, J. Mol. Biol.
229, 1065-1082; Wygoda et al. 2024, Bioinformatics 40, btae043); deletions more frequent than insertions (Loewenthal et
al. 2021, Mol. Biol. Evol. 38, 5769-5781). Sites: :mod:`embedstore.testing.substitution`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.testing.substitution import AMINO_ACIDS, N_RATE_CLASSES, frequencies, jump_table, site_rates

FRONT_RESIDUES = 1 << 17
"""A front of more residues than this is cut in two. Part of the definition of a stream: another value, other draws."""

_LETTERS = np.frombuffer(AMINO_ACIDS, dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolution:
    """How families arise. The defaults are set so that families look like those of Pfam.

    Attributes
    ----------
    median_length, length_spread
        Length of an ancestor in residues: lognormal with this median and this standard deviation of the logarithm.
        Of 470,602 Pfam domains in 142 families, the medians of the families have median 103 and spread 0.66.
    min_length, max_length
        Bounds of the length in residues, for ancestors and for what evolves from them.
    median_age, age_spread
        Age of a family's ancestor, lognormal, in expected substitutions a site from the ancestor to today.
    split_rate
        Rate of the Yule process, splits a lineage and expected substitution a site; sets how near neighbours are.
    youngest_split
        No split is younger than this, in expected substitutions a site: of a younger clade one member is kept, as
        data bases do. With 0, the closest leaves are often equal.
    clock_spread
        Standard deviation of the logarithm of a branch's rate; the mean rate is 1.
    alphas
        Shapes of the gamma distribution of rates among sites, one drawn for each ancestor.
    insertion_rate, deletion_rate
        Events a site and expected substitution.
    indel_exponent, max_indel
        Exponent of the Zipf distribution of indel lengths and the longest indel in residues.
    clan_share, clan_size, clan_age
        Share of families that descend from a clan's ancestor, how many families in a row share a clan at most, and
        the expected substitutions a site from the clan's ancestor to each family's. About 4 in 10 Pfam families are
        in a clan, about 12 in each.
    """

    median_length: float = 105.0
    length_spread: float = 0.65
    min_length: int = 20
    max_length: int = 1000
    median_age: float = 1.5
    age_spread: float = 0.7
    split_rate: float = 2.0
    youngest_split: float = 0.03
    clock_spread: float = 0.6
    alphas: tuple[float, ...] = (0.4, 0.55, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
    insertion_rate: float = 0.03
    deletion_rate: float = 0.04
    indel_exponent: float = 1.7
    max_indel: int = 30
    clan_share: float = 0.4
    clan_size: int = 12
    clan_age: float = 1.0

    def __post_init__(self) -> None:
        _require(self, "above 0", ("median_length", "median_age", "split_rate", "clan_age"), lambda x: x > 0)
        _require(self, "0 or more", ("length_spread", "age_spread", "clock_spread", "youngest_split"), lambda x: x >= 0)
        _require(self, "0 or more", ("insertion_rate", "deletion_rate", "indel_exponent"), lambda x: x >= 0)
        _require(self, "1 or more", ("max_indel", "clan_size", "min_length"), lambda x: x >= 1)
        _require(self, "0 to 1", ("clan_share",), lambda x: 0 <= x <= 1)
        _require(self, f"min_length={self.min_length} or more", ("max_length",), lambda x: x >= self.min_length)
        _require(self, "one gamma shape or more, each above 0", ("alphas",), lambda x: bool(x) and min(x) > 0)


def _require(evolution: Evolution, expected: str, names: tuple[str, ...], holds: Callable[[Any], bool]) -> None:
    for name in names:
        value = getattr(evolution, name)
        if not holds(value):
            raise InputError(f"{name}={value} cannot be simulated; expected {expected}.")


class Draws:
    """Random numbers that stay the same on every machine and with every numpy.

    Only the raw bits come from numpy, whose policy keeps ``SeedSequence`` and bit generators bit for bit (NEP 19);
    its distributions may change, so they are made here from uniforms. What is left is the last bit of ``log`` and
    ``exp``, which changes a sequence only if a draw falls just there. numpy 1.26 and 2.4, with and without AVX2 and
    AVX-512, gave equal records.

    Parameters
    ----------
    seed
        The user's seed.
    *key
        What the stream is for; equal to spawning from ``SeedSequence(seed)``, but at any place without the others.
    """

    def __init__(self, seed: int, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))

    def uniform(self, n: int) -> NDArray[np.float64]:
        """(n,) float64, strictly between 0 and 1."""
        # 52 bits and a half: exact in float64. With 53, the largest would round to 1.
        drawn = (self._bits.random_raw(n) >> np.uint64(12)).astype(np.float64)
        drawn += 0.5
        drawn *= 2.0**-52
        return drawn

    def normal(self, n: int) -> NDArray[np.float64]:
        """(n,) float64, standard normal (Box and Muller)."""
        radius, angle = self.uniform(2 * n).reshape(2, n)
        values: NDArray[np.float64] = np.sqrt(-2.0 * np.log(radius)) * np.cos(2.0 * np.pi * angle)
        return values

    def below(self, high: int, n: int) -> NDArray[np.int64]:
        """(n,) int64, each of 0 … high - 1 equally likely."""
        return (self.uniform(n) * high).astype(np.int64)

    def choose(self, cumulative: NDArray[np.float64], n: int) -> NDArray[np.int64]:
        """(n,) int64, places in a cumulative distribution that ends with 1."""
        return np.searchsorted(cumulative, self.uniform(n), side="right")


@dataclass(slots=True)
class Front:
    """Clades that evolve side by side: B ancestors, their N residues end to end.

    Attributes
    ----------
    residues : (N,) uint8
        Places in :data:`AMINO_ACIDS`.
    classes : (N,) uint8
        Rate class of each site; inherited.
    lengths : (B,) int64
        Residues of each ancestor.
    n_leaves : (B,) int64
        Leaves below each.
    ages : (B,) float64
        Age of each, in expected substitutions a site before today.
    """

    residues: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    n_leaves: NDArray[np.int64]
    ages: NDArray[np.float64]

    def take(self, which: NDArray[np.int64]) -> Front:
        """Give the clades at these places, repeats allowed."""
        lengths = self.lengths[which]
        before = np.cumsum(self.lengths) - self.lengths
        shift = before[which] - (np.cumsum(lengths) - lengths)
        source = np.arange(lengths.sum()) + np.repeat(shift, lengths)
        return Front(self.residues[source], self.classes[source], lengths, self.n_leaves[which], self.ages[which])

    def sequences(self) -> Iterator[bytes]:
        """Yield the residues of each clade as letters."""
        text = _LETTERS[self.residues].tobytes()
        start = 0
        for length in self.lengths.tolist():
            yield text[start : start + length]
            start += length


class Ancestry:
    """The process on one tree: its model, its site rates and its stream of random numbers."""

    def __init__(self, evolution: Evolution, alpha: float, draws: Draws) -> None:
        self.evolution = evolution
        self.draws = draws
        self._rates = site_rates(alpha)

    def root(self, length: int) -> Front:
        """One ancestor drawn from the equilibrium, with drawn site classes; a leaf of age 0 until told otherwise."""
        residues, classes = self._new_sites(length)
        return Front(residues, classes, np.array([length]), np.array([1]), np.array([0.0]))

    def leaves(self, ancestor: Front, n_leaves: int, *, age: float) -> Iterator[bytes]:
        """Yield the sequences of today of a tree below one ancestor.

        Parameters
        ----------
        ancestor
            A front of one sequence.
        n_leaves
            Leaves of the tree.
        age
            Expected substitutions a site from the ancestor to each leaf, before the clock's variation.
        """
        age = max(age, self.evolution.youngest_split)
        stack = [replace(ancestor, n_leaves=np.array([n_leaves]), ages=np.array([age]))]
        while stack:
            front = stack.pop()
            half = len(front.lengths) // 2
            if half and len(front.residues) > FRONT_RESIDUES:
                places = np.arange(len(front.lengths))
                stack += [front.take(places[half:]), front.take(places[:half])]
                continue
            splits = self._split_ages(front)
            evolved = replace(self.evolve(front, self._clocked(front.ages - splits)), ages=splits)
            done = front.n_leaves == 1
            yield from evolved.take(np.flatnonzero(done)).sequences()
            if not done.all():
                stack.append(self._children(evolved.take(np.flatnonzero(~done))))

    def evolve(self, front: Front, branches: NDArray[np.float64]) -> Front:
        """Each sequence at the end of its branch.

        Parameters
        ----------
        front
            Sequences at the start.
        branches
            (B,) branch lengths, expected substitutions a site.
        """
        residues = self._substitute(front, branches)
        return self._indel(replace(front, residues=residues), branches)

    def _split_ages(self, front: Front) -> NDArray[np.float64]:
        """Age at which each clade splits (the oldest of its n - 1 split ages); 0, today, for a single leaf."""
        rate, youngest = self.evolution.split_rate, self.evolution.youngest_split
        inner = front.n_leaves > 1
        highest = self.draws.uniform(len(inner)) ** (1.0 / np.maximum(front.n_leaves - 1, 1))
        ages: NDArray[np.float64] = youngest - np.log1p(highest * np.expm1(-rate * (front.ages - youngest))) / rate
        return np.where(inner, ages, 0.0)

    def _clocked(self, spans: NDArray[np.float64]) -> NDArray[np.float64]:
        spread = self.evolution.clock_spread
        clocked: NDArray[np.float64] = spans * np.exp(spread * self.draws.normal(len(spans)) - spread * spread / 2)
        return clocked

    def _children(self, parents: Front) -> Front:
        """Both halves of every clade, side by side."""
        children = parents.take(np.repeat(np.arange(len(parents.lengths)), 2))
        left = 1 + (self.draws.uniform(len(parents.n_leaves)) * (parents.n_leaves - 1)).astype(np.int64)
        children.n_leaves[0::2] = left
        children.n_leaves[1::2] = parents.n_leaves - left
        return children

    def _substitute(self, front: Front, branches: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Draw every substitution on every branch: exponential waiting times, then a jump, until time is up."""
        leave, ladder = jump_table()
        residues = front.residues.copy()
        # Time is counted in the site's own clock: branch times the rate of its class, minus what has been waited.
        left = np.repeat(branches, front.lengths)
        left *= self._rates[front.classes]
        left += np.log(self.draws.uniform(len(residues))) / leave[residues]
        sites = np.flatnonzero(left > 0)
        left = left[sites]
        while len(sites):
            jump, wait = self.draws.uniform(2 * len(sites)).reshape(2, -1)
            origin = residues[sites].astype(np.int64)
            arrived = np.searchsorted(ladder, origin + jump, side="right") - 20 * origin
            residues[sites] = arrived
            left += np.log(wait) / leave[arrived]
            again = left > 0
            sites, left = sites[again], left[again]
        return residues

    def _indel(self, front: Front, branches: NDArray[np.float64]) -> Front:
        """Delete stretches to the right of random sites and insert new sites behind random ones.

        At most one insertion and one deletion begin at a site of a branch. A branch whose indels would leave the
        bounds of length has none.
        """
        evolution, draws = self.evolution, self.draws
        drawn = draws.uniform(len(front.residues))
        deletes = np.flatnonzero(drawn < np.repeat(-np.expm1(-evolution.deletion_rate * branches), front.lengths))
        inserts = np.flatnonzero(drawn > np.repeat(np.exp(-evolution.insertion_rate * branches), front.lengths))
        if not len(deletes) and not len(inserts):
            return front
        lengths_of = _zipf(evolution.indel_exponent, evolution.max_indel)
        ends = np.cumsum(front.lengths)
        remains = np.ones(len(drawn), dtype=np.int64)
        stop = np.minimum(deletes + 1 + draws.choose(lengths_of, len(deletes)), np.repeat(ends, front.lengths)[deletes])
        for start, end in zip(deletes.tolist(), stop.tolist(), strict=True):
            remains[start:end] = 0
        copies = remains.copy()
        copies[inserts] += 1 + draws.choose(lengths_of, len(inserts))
        lengths = np.add.reduceat(copies, ends - front.lengths)
        bad = (lengths < evolution.min_length) | (lengths > evolution.max_length)
        if bad.any():
            undone = np.repeat(bad, front.lengths)
            remains[undone] = copies[undone] = 1
            lengths = np.where(bad, front.lengths, lengths)
        source = np.repeat(np.arange(len(copies)), copies)
        copy = np.arange(len(source)) - (np.cumsum(copies) - copies)[source]
        fresh = np.flatnonzero(copy >= remains[source])
        residues, classes = front.residues[source], front.classes[source]
        residues[fresh], classes[fresh] = self._new_sites(len(fresh))
        return replace(front, residues=residues, classes=classes, lengths=lengths)

    def _new_sites(self, n: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        residues = self.draws.choose(_equilibrium(), n).astype(np.uint8)
        return residues, self.draws.below(N_RATE_CLASSES, n).astype(np.uint8)


@cache
def _equilibrium() -> NDArray[np.float64]:
    return _cumulative(frequencies())


@cache
def _zipf(exponent: float, longest: int) -> NDArray[np.float64]:
    return _cumulative(np.arange(1.0, longest + 1.0) ** -exponent)


def _cumulative(weights: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    cumulative = np.cumsum(weights / weights.sum(), dtype=np.float64)
    cumulative[-1] = 1.0
    return cumulative
