"""Simulated protein families: labelled, split, seeded and streamed, when there are no real ones at hand.

A family is an ancestor drawn from the equilibrium of the LG model and a random tree below it, along which residues are
replaced, inserted and deleted (:mod:`embedstore.testing.evolution` has the sources). Some families descend from the
ancestor of a clan, so that families are not all equally far apart.

How they compare with 29,906 real domains of 142 Pfam families (quantiles 5 / 50 / 95 %, or one number; identity over
the columns of global alignments with BLOSUM62; nearest = by cosine of 3-mer counts, from test to train)::

                                                real                  simulated, 30,000 in 142 families
    mean pairwise identity within a family      .19 / .29 / .50       .18 / .28 / .42
    identity with the nearest                   .20 / .74 / .99       .18 / .69 / .93
    nearest is of the right family              .944                  .944
    identity between families                   .05 / .12 / .19       .06 / .13 / .19
    length in residues                          37 / 90 / 324         33 / 108 / 225
    spread of log length within a family        .17                   .16
    sequences that repeat another of the family 0                     .15%

With 50,000 in 1,000 families the nearest is right in .940 and the mean pairwise identity .24 / .37 / .57. A million
sequences in 17,929 families, written as Pfam's random split, take 180 s of one core and 51 MB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.testing.evolution import Ancestry, Draws, Evolution, Front
from embedstore.types import Record

SPLITS = ("train", "valid", "test")
"""Names of the splits, in the order of their codes."""

_HELD_OUT_SHARE = 0.1

_FAMILY_STREAM, _CLAN_STREAM = 0, 1


def family_sizes(n_sequences: int, n_families: int, *, exponent: float = 0.8) -> NDArray[np.int64]:
    """Sizes of families by Zipf's law: proportional to rank ** -exponent, at least 1, with an exact sum.

    Parameters
    ----------
    n_sequences
        Their sum.
    n_families
        How many.
    exponent
        0 makes all families equal. With the default, the largest of 17,929 families holds 3% of all sequences.

    Returns
    -------
    (n_families,) int64, from the largest to the smallest.

    Raises
    ------
    InputError
        If there are more families than sequences, or no family.

    Examples
    --------
    >>> family_sizes(100, 6, exponent=1.0).tolist()
    [39, 20, 14, 11, 9, 7]
    """
    if n_families < 1:
        raise InputError(f"n_families={n_families} cannot be simulated; expected 1 or more.")
    if n_sequences < n_families:
        raise InputError(
            f"n_sequences={n_sequences} is less than n_families={n_families}; every family has at least one sequence. "
            "Ask for more sequences or fewer families."
        )
    if not 0 <= exponent < math.inf:
        raise InputError(f"exponent={exponent} is no Zipf exponent; expected 0 or more, such as 0.8.")
    weights = np.arange(1, n_families + 1) ** -float(exponent)
    shares = weights * ((n_sequences - n_families) / weights.sum())
    sizes = shares.astype(np.int64)
    # Largest remainders first; by rank where equal, so that sizes never rise with rank.
    missing = n_sequences - n_families - int(sizes.sum())
    sizes[np.argsort(sizes - shares, kind="stable")[:missing]] += 1
    return -np.sort(-sizes) + 1


def simulate_families(
    n_sequences: int,
    n_families: int,
    *,
    seed: int = 0,
    exponent: float = 0.8,
    evolution: Evolution | None = None,
) -> Iterator[Record]:
    """Yield the members of simulated families, family after family, the largest first.

    Parameters
    ----------
    n_sequences, n_families
        How many in all; 1,000,000 and 17,929 give a set of the size of Pfam's random split.
    seed
        0 or more. Equal arguments give equal records on every machine.
    exponent
        Of the Zipf law of family sizes.
    evolution
        How families arise; the defaults of :class:`Evolution` when None.

    Yields
    ------
    Record
        Id ``SIM00042_000137`` and the columns ``family`` (``SIM00042``), ``clan`` (``SIMCL0004``, or empty; only if
        there are clans) and ``split`` (``train``, ``valid`` or ``test``: 80, 10 and 10 in a hundred, drawn within the
        family, which always has a member in train).

    Raises
    ------
    InputError
        If an argument is out of its range, before the first record.

    Notes
    -----
    A family is a function of seed, number, size and ``evolution`` alone (:func:`simulate_family`), so families can be
    made in any order and on many machines. Two leaves on short branches can be equal, as in nature: the copies are
    left in, and both carry the same label.

    Examples
    --------
    >>> first = next(simulate_families(1000, 50, seed=1))
    >>> first.id, first.columns["family"], first.columns["split"]
    ('SIM00001_000001', 'SIM00001', 'train')
    """
    evolution = evolution or Evolution()
    _check_seed(seed)
    sizes = family_sizes(n_sequences, n_families, exponent=exponent).tolist()
    return (
        record
        for number, size in enumerate(sizes, start=1)
        for record in simulate_family(number, size, seed=seed, evolution=evolution)
    )


def simulate_family(number: int, size: int, *, seed: int = 0, evolution: Evolution | None = None) -> Iterator[Record]:
    """Yield the members of one family, the same as those of :func:`simulate_families`.

    Parameters
    ----------
    number
        Number of the family, from 1.
    size
        Number of its members.
    seed, evolution
        As there.
    """
    evolution = evolution or Evolution()
    _check_seed(seed)
    if number < 1 or size < 1:
        raise InputError(f"Family number {number} with {size} members cannot be simulated; both count from 1.")
    return _members(number, size, seed, evolution)


def _members(number: int, size: int, seed: int, evolution: Evolution) -> Iterator[Record]:
    draws = Draws(seed, _FAMILY_STREAM, number)
    in_clan = bool(draws.uniform(1)[0] < evolution.clan_share)
    age = _lognormal(draws, evolution, "age")
    clan = (number - 1) // evolution.clan_size + 1
    # All families of a clan draw the same founder, from the clan's own stream, and go on with their own.
    alpha, ancestor = _founder(Draws(seed, _CLAN_STREAM, clan) if in_clan else draws, evolution)
    ancestry = Ancestry(evolution, alpha, draws)
    if in_clan:
        ancestor = ancestry.evolve(ancestor, np.array([evolution.clan_age]))
    family = f"SIM{number:05d}"
    shared = {"family": family}
    if evolution.clan_share:
        shared["clan"] = f"SIMCL{clan:04d}" if in_clan else ""
    splits = _splits(size, draws).tolist()
    for place, residues in enumerate(ancestry.leaves(ancestor, size, age=age)):
        columns = {**shared, "split": SPLITS[splits[place]]}
        yield Record(id=f"{family}_{place + 1:06d}", residues=residues, columns=columns)


def _founder(draws: Draws, evolution: Evolution) -> tuple[float, Front]:
    """Draw the gamma shape and the ancestor, with its site classes, that a family or a clan begins with."""
    alpha = evolution.alphas[int(draws.below(len(evolution.alphas), 1)[0])]
    length = round(_lognormal(draws, evolution, "length"))
    length = min(max(length, evolution.min_length), evolution.max_length)
    return alpha, Ancestry(evolution, alpha, draws).root(length)


def _lognormal(draws: Draws, evolution: Evolution, what: str) -> float:
    """One value of the lognormal of length or age, from one uniform."""
    median: float = getattr(evolution, f"median_{what}")
    spread: float = getattr(evolution, f"{what}_spread")
    return median * math.exp(spread * NormalDist().inv_cdf(float(draws.uniform(1)[0])))


def _splits(size: int, draws: Draws) -> NDArray[np.uint8]:
    """(size,) uint8: places in :data:`SPLITS`, shuffled; at least one is train.

    A tenth is rounded up or down at random, so that small families too give their tenth on average.
    """
    n_valid, n_test = (int(size * _HELD_OUT_SHARE + up) for up in draws.uniform(2))
    n_test = min(n_test, size - 1)
    n_valid = min(n_valid, size - 1 - n_test)
    splits = np.zeros(size, dtype=np.uint8)
    splits[:n_valid] = 1
    splits[n_valid : n_valid + n_test] = 2
    return splits[np.argsort(draws.uniform(size), kind="stable")]


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise InputError(f"seed={seed} is negative; expected 0 or more.")
