"""Predictions written batch by batch: TSV, CSV, JSON, Parquet, or a FASTA of letters; a file is whole or not there."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from embedstore.errors import InputError
from embedstore.exchange.atomic_files import replacing
from heads.api.predictions import Predictions

_LINE = 60


def write_predictions(path: str | PathLike[str], batches: Iterable[Predictions], *, probabilities: bool = False) -> int:
    """Write predictions as they come, in the format that the name ends in.

    Parameters
    ----------
    path
        ``.tsv``, ``.csv``, ``.json`` (one list of documents), ``.parquet``; for predictions of residues also
        ``.fasta``. What stands there is replaced once all is written.
    batches
        At least one, as `heads.predict_batches` gives them.
    probabilities
        Of residues: write the probability of each letter too (``.parquet``, ``.json`` has them anyway).

    Returns
    -------
    int
        Number of proteins.

    Raises
    ------
    InputError
        For another ending, or a FASTA of what is no letter a residue.
    StoreWriteError
        If it cannot be written; nothing is left behind then.
    """
    target = Path(path)
    if target.suffix not in _WRITERS:
        raise InputError(
            f"{target.name} does not say a format; expected a name that ends in {', '.join(_WRITERS)} (--out)."
        )
    with replacing(target) as work:
        return _WRITERS[target.suffix](work, batches, probabilities)


def _tsv(path: Path, batches: Iterable[Predictions], probabilities: bool) -> int:
    def line(values: Iterable[str]) -> str:
        # A tab or a line break inside a value would shift all that follows.
        return "\t".join(value.translate({9: " ", 10: " ", 13: " "}) for value in values) + "\n"

    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        return _table(batches, lambda rows: file.writelines(map(line, rows)))


def _csv(path: Path, batches: Iterable[Predictions], probabilities: bool) -> int:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        # A carriage return alone gets no quotes, and would end the line for who reads it.
        return _table(batches, lambda rows: writer.writerows([cell.replace("\r", " ") for cell in row] for row in rows))


def _table(batches: Iterable[Predictions], write: Callable[[Iterable[Iterable[str]]], Any]) -> int:
    """Write a line of names, then a line each protein; the number of proteins."""
    done, first = 0, True
    for batch in batches:
        columns = batch.columns()
        if first:
            write([list(columns)])
        first = False
        write([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))
        done += len(batch)
    return done


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else f"{value:.6g}" if isinstance(value, float) else str(value)


def _json(path: Path, batches: Iterable[Predictions], probabilities: bool) -> int:
    done, first = 0, True
    with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("[")
        for batch in batches:
            for document in batch.to_dicts():
                file.write(("\n " if first else ",\n ") + json.dumps(document, ensure_ascii=False))
                first = False
            done += len(batch)
        file.write("\n]\n")
    return done


def _parquet(path: Path, batches: Iterable[Predictions], probabilities: bool) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    done, writer = 0, None
    try:
        for batch in batches:
            columns: Mapping[str, Any] = batch.columns()
            if probabilities and batch.letter_probabilities is not None:
                columns = {**columns, "probabilities": [shares.tolist() for shares in batch.letter_probabilities]}
            # Ids are text whatever bytes they had: Parquet holds UTF-8 alone.
            plain = {name: [_utf8(value) for value in values] for name, values in columns.items()}
            table = pa.table(plain) if writer is None else pa.table(plain, schema=writer.schema)
            writer = writer or pq.ParquetWriter(path, _typed(table.schema))
            writer.write_table(table.cast(writer.schema))
            done += len(batch)
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise InputError("There is nothing to write: no protein was predicted.")
    return done


def _typed(schema: Any) -> Any:
    """A column without a value in the first batch has no type; it is one of probabilities."""
    import pyarrow as pa

    fields = [field.with_type(pa.float64()) if pa.types.is_null(field.type) else field for field in schema]
    return pa.schema(fields)


def _utf8(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(value, str) else value


def _fasta(path: Path, batches: Iterable[Predictions], probabilities: bool) -> int:
    done = 0
    with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
        for batch in batches:
            if batch.letters is None:
                raise InputError("A FASTA file holds a letter a residue; this head predicts whole proteins. Use .tsv.")
            for name, text in zip(batch.ids, batch.letters, strict=True):
                lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
                file.write(f">{name}\n" + "".join(f"{line}\n" for line in lines))
            done += len(batch)
    return done


_WRITERS: dict[str, Callable[[Path, Iterable[Predictions], bool], int]] = {
    ".tsv": _tsv,
    ".csv": _csv,
    ".json": _json,
    ".parquet": _parquet,
    ".fasta": _fasta,
}
