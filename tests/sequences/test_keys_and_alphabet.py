from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstore.errors import InputError, SequenceError
from embedstore.sequences import digest, key_text, looks_like_nucleotides, normalise, parse_key

PROTEINS = st.text(string.ascii_uppercase + "*", max_size=300).map(str.encode)


@pytest.mark.parametrize(
    ("residues", "key"),
    [
        (b"ACGT", "SQ.aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2"),  # GA4GH refget v2
        (b"", "SQ.z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXc"),  # GA4GH VRS, digest of nothing
    ],
)
def test_keys_are_those_that_ga4gh_publishes(residues: bytes, key: str) -> None:
    assert key_text(digest(residues)) == key


@given(PROTEINS)
def test_key_text_round_trips_and_begins_sha512(residues: bytes) -> None:
    key = digest(residues)
    assert len(key) == 24
    assert hashlib.sha512(residues).digest().startswith(key)
    assert parse_key(key_text(key)) == key


@pytest.mark.parametrize("text", ["", "SQ.", "aKF498dAxcJAqme6QYQ7EZ07-fiw8Kw2", "SQ.aKF498dAxcJAqme6QYQ7EZ07+fiw8Kw2"])
def test_what_is_not_a_key_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a key; expected 'SQ.'"):
        parse_key(text)


def test_a_digest_of_another_length_has_no_key_text() -> None:
    with pytest.raises(InputError, match="A digest of 16 bytes; a key has 24"):
        key_text(bytes(16))


def test_normalising_counts_what_it_changes() -> None:
    normal = normalise(b" mK-\tLv..X*\r\n")
    assert normal.residues == b"MKLVX"
    assert (normal.n_gaps, normal.n_stops, normal.n_white_space, normal.n_lower_case) == (3, 1, 4, 2)


def test_only_stops_at_the_end_are_removed() -> None:
    assert normalise(b"MK*LV**").residues == b"MK*LV"
    assert normalise(b"MK*-\n").residues == b"MK"


def test_all_letters_stay() -> None:
    letters = string.ascii_uppercase.encode()
    assert normalise(letters).residues == letters


@given(st.text(string.ascii_letters + "*-. \t\n", max_size=200).map(str.encode))
def test_normalising_twice_changes_nothing_and_every_character_is_accounted_for(raw: bytes) -> None:
    once = normalise(raw)
    assert normalise(once.residues).residues == once.residues
    assert len(raw) == len(once.residues) + once.n_gaps + once.n_stops + once.n_white_space


@pytest.mark.parametrize(
    ("raw", "shown", "position"),
    [(b"MK 1L", "'1'", 3), (b"M,K", "','", 2), ("MKÄ".encode(), "'Ä'", 3), (b"\x00", "", 1)],
)
def test_an_illegal_character_is_named_with_its_residue_position(raw: bytes, shown: str, position: int) -> None:
    with pytest.raises(SequenceError, match=f"character {shown}.*at residue {position} is not an amino acid"):
        normalise(raw)


@pytest.mark.parametrize("residues", [b"ATGGCCATTGTAATG", b"AUGNNNGCU", b"ATGRGCCATTGTAATGGCCATTG"])
def test_nucleotides_look_like_nucleotides(residues: bytes) -> None:
    assert looks_like_nucleotides(residues)


@pytest.mark.parametrize("residues", [b"", b"MKTAYIAKQR", b"GAGAGSGAGAGSGAGAGY", b"HHHHHH"])
def test_proteins_do_not_look_like_nucleotides(residues: bytes) -> None:
    assert not looks_like_nucleotides(residues)
