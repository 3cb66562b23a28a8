"""Top-pick HMM: the family whose profile scores best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from multiprocessing.pool import ThreadPool
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.alignment.base import HomologyHead, n_threads
from heads.alignment.family_alignment import INSTALL, align_family, find_aligner, read_alignment, select_aligned
from heads.alignment.hits import Hits, hits_of
from heads.alignment.hmmer import (
    EVERYTHING,
    LETTERS,
    LOOSE,
    PARALLEL,
    amino,
    digital,
    missing_pyhmmer,
    profile_text,
    pyhmmer_version,
    read_profiles,
    require_searchable,
)
from heads.base import LabelledExamples

if TYPE_CHECKING:
    from scipy.sparse import csr_array


SECOND_PASSES = (True, False, "loose")

_MAX_HITS = 1000
"""Most families of each query; the others have probabilities near 0."""

_HITS_AT_ONCE = 2**20


class HmmTopPickHead(HomologyHead):
    """The family with the best full-sequence score of its profile (Bileschi et al. 2022).

    Each family has one profile, built from its training members as by ``hmmbuild --amino``. Queries are searched as by
    ``hmmsearch -E 10``, and those without a hit again without filters. E-values are for a database of as many sequences
    as there are families, as in ``hmmscan``, so that they do not depend on the number of queries.

    Parameters
    ----------
    aligner
        One of `heads.alignment.family_alignment.ALIGNERS`. None: the first that is installed.
    alignment
        A table, or a folder of tables, with the aligned training proteins in the column ``aligned_sequence``, as
        published by Bileschi et al.; used in place of an aligner.
    second_pass
        Whether queries without a hit are searched again without filters, as the published comparison does.
        ``"loose"``: with loose filters first (`heads.alignment.hmmer.LOOSE`), which is much faster for hundreds of
        families and nearly always gives the same result.
    evalue
        Largest E-value of a hit in the first pass.
    threads
        None: the number of CPUs.
    target_type
        What is predicted.

    Attributes
    ----------
    profiles_
        The profiles in HMMER's text format, each named by the code of its family.
    aligner_
        The aligner; ``"given"`` with `alignment`.
    """

    target_types = ("class",)
    letters = LETTERS

    profiles_: str
    aligner_: str

    def __init__(
        self,
        *,
        aligner: str | None = None,
        alignment: str | PathLike[str] | None = None,
        second_pass: bool | str = True,
        evalue: float = 10.0,
        threads: int | None = None,
        target_type: str = "class",
    ) -> None:
        self.aligner = aligner
        self.alignment = alignment
        self.second_pass = second_pass
        self.evalue = evalue
        self.threads = threads
        self.target_type = target_type

    @classmethod
    def missing(cls) -> str | None:
        """Whether pyhmmer is missing, and how to install it and an aligner."""
        missing = missing_pyhmmer("hmm_top_pick")
        return missing and f"{missing} To fit it also needs an aligner: {', or '.join(INSTALL.values())}."

    @classmethod
    def _version(cls) -> str:
        return pyhmmer_version()

    @property
    def _members(self) -> csr_array:
        from scipy.sparse import eye_array

        return eye_array(self.n_outputs, dtype=np.bool_, format="csr")

    def _learn(self, residues: Sequence[str], train: LabelledExamples) -> None:
        if self.aligner is not None and self.alignment is not None:
            raise InputError("aligner and alignment are both given, and an alignment needs no aligner. Leave one out.")
        if self.second_pass not in SECOND_PASSES:
            raise InputError(f"second_pass is {self.second_pass!r}; expected True, False or 'loose'.")
        from pyhmmer.plan7 import Builder

        rows = None if self.alignment is None else read_alignment(self.alignment)
        self.aligner_ = find_aligner(self.aligner) if rows is None else "given"
        codes = train.targets.require_codes()
        order = np.argsort(codes, kind="stable")
        members = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)

        def profile(family: NDArray[np.int64]) -> str:
            # A profile needs a residue.
            sequences = [residues[row] for row in family.tolist() if residues[row]] or ["X"]
            code = int(codes[family[0]])
            name = str(self.classes_[code])
            builder = Builder(amino())
            try:
                aligned = (
                    align_family(sequences, self.aligner_, builder) if rows is None else select_aligned(sequences, rows)
                )
                return _profile(aligned, builder, name=str(code))
            except ValueError as error:
                raise InputError(
                    f"No profile can be built of class {name!r} ({len(sequences):,} proteins): {error} Leave that "
                    f"class out, or {'use another aligner (aligner=)' if rows is None else 'correct the alignment'}."
                ) from error

        with ThreadPool(n_threads(self.threads)) as pool:
            self._adopt("".join(pool.map(profile, members, chunksize=1)))

    def _adopt(self, profiles: str) -> None:
        self.profiles_ = profiles
        self._profiles: Any = None

    def _search(self, queries: Sequence[str]) -> Hits:
        if self._profiles is None:
            self._profiles = read_profiles(self.profiles_)
        hits = self._hits(list(enumerate(queries)), E=self.evalue, Z=float(len(self._profiles)))
        passes = {True: (EVERYTHING,), False: (), "loose": (LOOSE, EVERYTHING)}[self.second_pass]
        for options in passes:
            has_hit = set(hits[:, 0].astype(np.int64).tolist())
            rest = [(row, residues) for row, residues in enumerate(queries) if row not in has_hit]
            hits = np.concatenate([hits, self._hits(rest, **options)])
        return hits_of(len(queries), *hits.T)

    def _hits(self, queries: Sequence[tuple[int, str]], **options: Any) -> NDArray[np.float64]:
        """Query, family, bits and E-value of the best hits of each query, (m, 4), the best first."""
        from pyhmmer.hmmer import hmmsearch

        require_searchable((residues for _, residues in queries), "a protein")
        block = digital(queries)
        best, recent = np.zeros((0, 4)), []
        if not len(block):
            return best
        cpus = n_threads(self.threads)
        for top in hmmsearch(self._profiles, block, cpus=cpus, parallel=PARALLEL, **options):
            recent += [(float(hit.name), float(top.query.name), hit.score, hit.evalue) for hit in top.reported]
            # The second pass reports nearly every family for every query.
            if len(recent) > _HITS_AT_ONCE:
                best, recent = _best(np.concatenate([best, recent])), []
        return _best(np.concatenate([best, np.array(recent, np.float64).reshape(-1, 4)]))

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"n_profiles": np.array([self.n_outputs])}

    def settings(self) -> dict[str, Any]:
        """The program, the aligner, and the map from scores to probabilities."""
        return super().settings() | {"aligner": self.aligner_}

    def texts(self) -> dict[str, str]:
        """The profiles."""
        return {"profiles": self.profiles_}

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        super()._restore(arrays, settings, texts)
        self.aligner_ = settings.get("aligner", "hmmer")
        self._adopt(texts["profiles"])


def _best(hits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best `_MAX_HITS` hits of each query, the best first."""
    hits = hits[np.lexsort((hits[:, 1], -hits[:, 2], hits[:, 0]))]
    rank = np.arange(len(hits)) - np.searchsorted(hits[:, 0], hits[:, 0])
    best: NDArray[np.float64] = hits[rank < _MAX_HITS]
    return best


def _profile(alignment: Any, builder: Any, *, name: str) -> str:
    """The profile of a family's alignment as text."""
    from pyhmmer.plan7 import Background

    alignment.name = name
    profile, _, _ = builder.build_msa(alignment, Background(amino()))
    # Without the command line of this process.
    profile.command_line = None
    return profile_text([profile])
