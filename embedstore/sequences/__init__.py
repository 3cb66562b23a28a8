"""Proteins in: records from files, the alphabet and its policy, and the key that identifies a sequence."""

from embedstore.sequences.alphabet import LEGAL, Normalised, looks_like_nucleotides, normalise
from embedstore.sequences.columns import ID_COLUMNS, SEQUENCE_COLUMNS
from embedstore.sequences.compression import file_sha256
from embedstore.sequences.discovery import SPLITS, SourceFile, source_files
from embedstore.sequences.formats import FORMATS
from embedstore.sequences.keys import digest, key_text, parse_key
from embedstore.sequences.reader import RecordReader, read_records
from embedstore.sequences.validation import ReadReport, Rejected

__all__ = [
    "FORMATS",
    "ID_COLUMNS",
    "LEGAL",
    "SEQUENCE_COLUMNS",
    "SPLITS",
    "Normalised",
    "ReadReport",
    "RecordReader",
    "Rejected",
    "SourceFile",
    "digest",
    "file_sha256",
    "key_text",
    "looks_like_nucleotides",
    "normalise",
    "parse_key",
    "read_records",
    "source_files",
]
