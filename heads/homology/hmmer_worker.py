"""What runs in HMMER's own process: requests come in as frames of JSON, profiles and hits go out as frames of bytes."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from typing import IO, Any

import numpy as np

from heads.homology.family_alignment import align_family
from heads.homology.hmmer import PARALLEL, digital, profile_text, read_profiles

DONE, REFUSED = b"+", b"-"
"""First byte of an answer: what was asked for, or why it cannot be had."""

_LENGTH_BYTES = 8


def read_frame(file: IO[bytes]) -> bytes | None:
    """The next frame; None where the other side has ended."""
    length = file.read(_LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        return None
    frame = file.read(n_bytes := int.from_bytes(length, "little"))
    return frame if len(frame) == n_bytes else None


def write_frame(file: IO[bytes], frame: bytes) -> None:
    """Write a frame and send it."""
    file.write(len(frame).to_bytes(_LENGTH_BYTES, "little") + frame)
    file.flush()


def serve() -> None:
    """Answer what standard input asks until it ends."""
    # An interrupt is the asking process's to handle: it ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # What HMMER prints must not fall between the answers.
    os.dup2(2, 1)
    kept: dict[str, Any] = {}
    while (request := read_frame(sys.stdin.buffer)) is not None:
        try:
            answer = DONE + _answer(json.loads(request), kept)
        except (ValueError, RuntimeError, MemoryError) as error:
            answer = REFUSED + (str(error) or type(error).__name__).encode()
        write_frame(answers, answer)


def _answer(request: Mapping[str, Any], kept: dict[str, Any]) -> bytes:
    match request["do"]:
        case "build":
            return _built(request["members"], request["aligner"], request["name"]).encode("ascii")
        case "keep profiles":
            kept["profiles"] = read_profiles(request["profiles"])
            return b""
        case "keep targets":
            kept["targets"] = digital(enumerate(request["targets"]))
            return b""
        case "hmmsearch":
            return _profile_hits(kept["profiles"], request["queries"], request["cpus"], request["options"])
        case "phmmer":
            return _sequence_hits(kept["targets"], request["queries"], request["cpus"], request["options"])
    raise ValueError(f"{request['do']!r} is no request.")


def _built(members: list[str], aligner: str, name: str) -> str:
    """The profile of a family's members as text."""
    from pyhmmer.easel import Alphabet
    from pyhmmer.plan7 import Background, Builder

    alphabet = Alphabet.amino()
    builder = Builder(alphabet)
    alignment = align_family(members, aligner, builder)
    alignment.name = name
    profile, _, _ = builder.build_msa(alignment, Background(alphabet))
    # It would hold the command line of this process.
    profile.command_line = None
    return profile_text([profile])


def _profile_hits(profiles: list[Any], queries: list[tuple[int, str]], cpus: int, options: Mapping[str, Any]) -> bytes:
    from pyhmmer.hmmer import hmmsearch

    search: Any = hmmsearch
    searches = search(profiles, digital(queries), cpus=cpus, parallel=PARALLEL, **options)
    return _packed(
        (int(hit.name), int(top.query.name), hit.score, hit.evalue) for top in searches for hit in top.reported
    )


def _sequence_hits(targets: Any, queries: list[tuple[int, str]], cpus: int, options: Mapping[str, Any]) -> bytes:
    from pyhmmer.hmmer import phmmer

    most = options["most"]
    searches = phmmer(digital(queries), targets, cpus=cpus, E=options["E"])
    return _packed(
        (int(top.query.name), int(hit.name), hit.score, hit.evalue)
        for top in searches
        for hit, _ in zip(top.reported, range(most), strict=False)
    )


def _packed(rows: Iterable[tuple[int, int, float, float]]) -> bytes:
    """(m, 4) float64 as a file of numpy's."""
    file = io.BytesIO()
    np.save(file, np.array(list(rows), np.float64).reshape(-1, 4), allow_pickle=False)
    return file.getvalue()
