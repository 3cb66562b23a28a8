"""The ``embedstore`` command: proteins in; store and neighbours out. One file a command."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.embedstore_commands.add import add
from cli.embedstore_commands.build import build
from cli.embedstore_commands.check import check
from cli.embedstore_commands.compact import compact
from cli.embedstore_commands.export import export
from cli.embedstore_commands.fetch import fetch
from cli.embedstore_commands.gc import gc
from cli.embedstore_commands.import_ import import_
from cli.embedstore_commands.index import index
from cli.embedstore_commands.info import info
from cli.embedstore_commands.lookup import lookup
from cli.embedstore_commands.ls import ls
from cli.embedstore_commands.models import models
from cli.embedstore_commands.rm import rm
from cli.embedstore_commands.search import search
from cli.embedstore_commands.simulate import simulate
from cli.embedstore_commands.verify import verify
from cli.version import print_version

app = typer.Typer(
    name="embedstore",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
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
