"""Entry points of the two console scripts."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from embedstore.errors import EmbedstoreError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""

TERMINATED = 143
"""Exit code after SIGTERM, which batch systems and clouds send before they kill."""

_RESUME = "What was committed stays; run the same command again to go on."
_RESTART = (
    "Embedded vectors stay, the finished rows of a comparison are on its page, and a fine-tuning resumes; any other "
    "command starts again."
)

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)


def embedstore() -> None:
    """Run the ``embedstore`` command."""
    _run(_embedstore_app, after=_RESUME)


def heads() -> None:
    """Run the ``heads`` command."""
    _run(_heads_app, after=_RESTART)


def _embedstore_app() -> None:
    from cli.embedstore_commands import app

    app()


def _heads_app() -> None:
    from cli.heads_commands import app

    app()


def _run(command: Callable[[], Any], *, after: str) -> None:
    """Run a command; what we raise, a disk that takes nothing and Ctrl-C are one line, others keep their traceback.

    `after` says what an interrupted command leaves.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        command()
    except EmbedstoreError as error:
        _stop(f"{_error()} {error}", 2)
    except OSError as error:
        if error.errno not in (*_DISK_FULL, *_NO_ACCESS):
            raise
        _discard_stdout()
        if error.errno in _NO_ACCESS:
            _stop(f"{_error()} No access to {error.filename}: {error.strerror}. Change its mode, or take another.", 2)
        place = error.filename or "the output"
        _stop(f"{_error()} Cannot write {place}: {error.strerror}. Make room, or write elsewhere.", 2)
    except KeyboardInterrupt:
        _interrupted(after)
    except SystemExit as end:
        if end.code == TERMINATED:
            _stop(f"Ended by SIGTERM. {after}", TERMINATED)
        # typer turns Ctrl-C into this code itself, and says nothing.
        if end.code == INTERRUPTED:
            _interrupted(after)
        raise


def _terminate(*_: object) -> NoReturn:
    # An exception, so that workers are ended, and parts that are not committed removed, on the way out.
    sys.exit(TERMINATED)


def _interrupted(after: str) -> NoReturn:
    _stop(f"Interrupted. {after}", INTERRUPTED)


def _error() -> str:
    from cli.render.output import styled

    return styled("error:", sys.stderr, fg="red")


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(code)


def _discard_stdout() -> None:
    """Send what is still buffered nowhere: Python would complain on its way out that it cannot be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
