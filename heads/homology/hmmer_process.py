"""HMMER in a process of its own: it ends the process on some faults, and must not end ours."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError, WorkerDiedError
from heads.homology.hmmer_worker import DONE, read_frame, write_frame

Rows = NDArray[np.float64]
"""(m, 4): query, target or family, bits, E-value."""

_CODE = "from heads.homology.hmmer_worker import serve; serve()"
_SHOWN = 40
_PATIENCE_S = 10.0
"""For a process that has closed its end to be gone, so that its own exit code is seen."""


class HmmerProcess:
    """A process that builds and searches with HMMER; started when it is first asked, and anew where it has died.

    HMMER's library ends the process that it runs in where its own checks fail (``esl_fatal``), which no exception tells
    of. What it died of is asked a second time, of a fresh process; only what ends that too is an error.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._said: IO[bytes] | None = None
        self._holds: dict[str, str] = {}

    def build(self, members: Sequence[str], *, aligner: str, name: str) -> str:
        """The profile of a family's members as text, as ``hmmbuild --amino`` makes it.

        Parameters
        ----------
        members
            Clean, at least one, none empty.
        aligner
            One of `heads.homology.family_alignment.ALIGNERS`.
        name
            What the profile is called.

        Raises
        ------
        WorkerDiedError
            If HMMER ends the process, twice.
        InputError
            If it refuses the family.
        """
        request = {"do": "build", "members": list(members), "aligner": aligner, "name": name}
        return self._twice(request, {}).decode("ascii")

    def hmmsearch(
        self, profiles: str, queries: Sequence[tuple[int, str]], *, cpus: int, options: Mapping[str, Any]
    ) -> Rows:
        """Hits of numbered queries among profiles, in no order.

        Raises
        ------
        WorkerDiedError
            If HMMER ends the process on a query, twice; it is named.
        InputError
            If it refuses them.
        """
        request = {"do": "hmmsearch", "cpus": cpus, "options": dict(options)}
        return self._hits(request, {"profiles": profiles}, [one for one in queries if one[1]])

    def phmmer(
        self, targets: Sequence[str], queries: Sequence[tuple[int, str]], *, cpus: int, most: int, evalue: float
    ) -> Rows:
        """The best hits of numbered queries among sequences, in the order of the queries and of the hits.

        Parameters
        ----------
        targets
            Clean; empty ones find nothing.
        most
            Hits of each query at most.
        evalue
            Largest one that counts.

        Raises
        ------
        WorkerDiedError, InputError
            As `hmmsearch`.
        """
        request = {"do": "phmmer", "cpus": cpus, "options": {"E": evalue, "most": most}}
        return self._hits(request, {"targets": targets}, [one for one in queries if one[1]])

    def stop(self) -> None:
        """End the process; the next question starts another."""
        with self._lock:
            if self._process is not None and self._owner == os.getpid():
                self._ended()
            self._process = None

    def _hits(self, request: Mapping[str, Any], needs: Mapping[str, Any], queries: Sequence[tuple[int, str]]) -> Rows:
        """Ask for all queries at once; where that fails, for halves, down to the one that does it."""
        if not queries:
            return np.zeros((0, 4))
        try:
            answer = self._twice({**request, "queries": list(queries)}, needs)
        except (WorkerDiedError, InputError) as error:
            if len(queries) == 1:
                residues = queries[0][1]
                raise type(error)(
                    f"HMMER cannot search with a protein of {len(residues):,} residues ({residues[:_SHOWN]}…): {error} "
                    "Leave it out, or use another head of alignments (smith_waterman, blastp)."
                ) from error
            middle = len(queries) // 2
            return np.concatenate([self._hits(request, needs, half) for half in (queries[:middle], queries[middle:])])
        return np.asarray(np.load(io.BytesIO(answer), allow_pickle=False), np.float64)

    def _twice(self, request: Mapping[str, Any], needs: Mapping[str, Any]) -> bytes:
        with self._lock:
            try:
                return self._asked(request, needs)
            except WorkerDiedError:
                return self._asked(request, needs)

    def _asked(self, request: Mapping[str, Any], needs: Mapping[str, Any]) -> bytes:
        self._require_process()
        for name, value in needs.items():
            token = _token(value)
            if self._holds.get(name) != token:
                self._exchange({"do": f"keep {name}", name: value})
                self._holds[name] = token
        return self._exchange(request)

    def _exchange(self, request: Mapping[str, Any]) -> bytes:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise AssertionError("the process was started")
        try:
            write_frame(process.stdin, json.dumps(request).encode("ascii"))
            answer = read_frame(process.stdout)
        except BrokenPipeError:
            answer = None
        except BaseException:
            # Interrupted between question and answer: the next answer would be taken for this one's.
            self.stop()
            raise
        if answer is None:
            raise WorkerDiedError(self._ended(patience_s=_PATIENCE_S))
        if answer[:1] != DONE:
            raise InputError(f"it says: {answer[1:].decode(errors='replace')}.")
        return answer[1:]

    def _require_process(self) -> None:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return
        self.stop()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        # A path that was made in this process is not in the other's.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environment,
        )
        self._owner, self._holds = os.getpid(), {}
        weakref.finalize(self, _end, self._process, self._said)

    def _ended(self, *, patience_s: float = 0.0) -> str:
        """How the process ended, and its last words."""
        process, said = self._process, self._said
        if process is None or said is None:
            raise AssertionError("the process was started")
        self._process, self._said = None, None
        return _end(process, said, patience_s)


def _end(process: subprocess.Popen[bytes], said: IO[bytes], patience_s: float = 0.0) -> str:
    """Wait for the process, kill it where it goes on, and tell how it ended; nothing where that was told before."""
    if said.closed:
        return ""
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
    code = process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    with said:
        said.seek(0)
        words = said.read().decode(errors="replace").strip() or "nothing"
    return f"its process ended with code {code} and said: {words.splitlines()[-1]}"


def _token(value: Any) -> str:
    """What tells one set of profiles or targets from another."""
    digest = hashlib.sha256()
    for text in (value,) if isinstance(value, str) else value:
        digest.update(text.encode("ascii") + b"\n")
    return digest.hexdigest()


HMMER = HmmerProcess()
"""The one that all heads ask."""
