"""The ``embedstore`` command: proteins in; store and neighbours out. One file a command."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.embedstore_app.add import add
from cli.embedstore_app.build import build
from cli.embedstore_app.check import check
from cli.embedstore_app.compact import compact
from cli.embedstore_app.export import export
from cli.embedstore_app.fetch import fetch
from cli.embedstore_app.gc import gc
from cli.embedstore_app.import_ import import_
from cli.embedstore_app.index import index
from cli.embedstore_app.info import info
from cli.embedstore_app.lookup import lookup
from cli.embedstore_app.ls import ls
from cli.embedstore_app.models import models
from cli.embedstore_app.rm import rm
from cli.embedstore_app.search import search
from cli.embedstore_app.simulate import simulate
from cli.embedstore_app.verify import verify
from cli.version import print_version

app = typer.Typer(
    name="embedstore",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(epilog="Fast heads on the stored vectors: `heads --help`.")
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Embed every protein once, use the vectors many times.

    embedstore add pfam random_split/

    embedstore build --model prot_t5

    embedstore lookup unknown.fasta --task pfam
    """


for command in (add, fetch, build, ls, info, verify, compact, gc, rm, search, lookup, models, check, simulate):
    app.command()(command)
app.command("import")(import_)
app.command()(export)
app.add_typer(index, name="index")
