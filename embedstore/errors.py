"""Errors that embedstore raises on purpose, grouped by what the caller can do about them.

::

    EmbedstoreError                     anything below; the command line prints one line and exits with 2
    ├── InputError (ValueError)         what you passed in is wrong: change it
    │   ├── SequenceError               a record is not a protein
    │   ├── FileFormatError             a file cannot be read as what it claims to be
    │   ├── UnknownNameError            no such model, head, task, data set or space
    │   ├── UnknownArgumentError (TypeError)    a function has no such argument
    │   └── SpaceMismatchError          vectors of another space than the one expected
    ├── MissingFileError (FileNotFoundError)
    ├── WeightsUnavailableError (OSError)   a checkpoint is neither on disk nor reachable
    ├── DownloadError (OSError)         a file could not be fetched whole, or is another one
    ├── OutOfMemoryError (MemoryError)  a batch did not fit: smaller batches
    ├── NonFiniteError (ArithmeticError)    a model gave NaN or infinity for a sequence
    ├── StoreError (RuntimeError)       the store cannot serve this: another store, another version, a repair
    │   ├── StoreNotFoundError
    │   ├── StoreVersionError           written by a newer release
    │   ├── StoreCorruptError           a file is not what its commit record says
    │   └── StoreWriteError (OSError)   disk full, no permission
    ├── MissingPackageError (ImportError)   an optional package is not installed: install it
    ├── WorkerDiedError (RuntimeError)  a worker process ended unexpectedly
    └── LedgerError (RuntimeError)      expected != embedded + skipped: the run must not count as a success

Each class is also the builtin that fits best, so that ``except ValueError`` works for people who do not know ours.
"""

from __future__ import annotations


class EmbedstoreError(Exception):
    """Base of all errors raised on purpose. ``kind`` is a stable code for programs."""

    kind = "error"

    def __str__(self) -> str:
        # LookupError and OSError subclasses would print a repr or an errno tuple; the message is what we wrote.
        return str(self.args[0]) if self.args else self.kind


class InputError(EmbedstoreError, ValueError):
    """What was passed in is wrong; the message says what, where, and what to do."""

    kind = "input"


class SequenceError(InputError):
    """A record does not hold a protein sequence."""

    kind = "sequence"


class FileFormatError(InputError):
    """A file cannot be read as the format that its name or content claims."""

    kind = "file-format"


class UnknownNameError(InputError):
    """A name that is in no catalog."""

    kind = "unknown-name"


class UnknownArgumentError(InputError, TypeError):
    """A keyword argument that the function does not have."""

    kind = "unknown-argument"


class SpaceMismatchError(InputError):
    """Vectors of one space were handed to something made for another."""

    kind = "space-mismatch"


class MissingFileError(EmbedstoreError, FileNotFoundError):
    """A path that does not exist."""

    kind = "missing-file"


class WeightsUnavailableError(EmbedstoreError, OSError):
    """A checkpoint is neither on disk nor reachable."""

    kind = "weights-unavailable"


class DownloadError(EmbedstoreError, OSError):
    """A file could not be downloaded whole, or is not the one that was expected."""

    kind = "download"


class OutOfMemoryError(EmbedstoreError, MemoryError):
    """A batch did not fit into memory."""

    kind = "out-of-memory"


class NonFiniteError(EmbedstoreError, ArithmeticError):
    """A model gave NaN or infinity for a sequence of the batch."""

    kind = "non-finite"


class StoreError(EmbedstoreError, RuntimeError):
    """The store cannot serve the request."""

    kind = "store"


class StoreNotFoundError(StoreError):
    """No store at this path."""

    kind = "store-not-found"


class StoreVersionError(StoreError):
    """The store was written by a newer release."""

    kind = "store-version"


class StoreCorruptError(StoreError):
    """A file is not what its commit record says."""

    kind = "store-corrupt"


class StoreWriteError(StoreError, OSError):
    """The store could not be written: disk full, no permission, a failing device."""

    kind = "store-write"


class MissingPackageError(EmbedstoreError, ImportError):
    """An optional package is not installed; the message says how to get it."""

    kind = "missing-package"


class WorkerDiedError(EmbedstoreError, RuntimeError):
    """A worker process ended unexpectedly: killed, out of memory, a crash in a driver."""

    kind = "worker-died"


class LedgerError(EmbedstoreError, RuntimeError):
    """Expected and accounted-for sequences differ: nothing may be reported as done."""

    kind = "ledger"
