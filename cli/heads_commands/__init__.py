"""The ``heads`` command: stored vectors in; predictions and scores out. One file a command."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.heads_commands.compare import compare
from cli.heads_commands.evaluate import evaluate
from cli.heads_commands.finetune import finetune
from cli.heads_commands.fit import fit
from cli.heads_commands.join import join
from cli.heads_commands.list import list_heads
from cli.heads_commands.predict import predict
from cli.heads_commands.tasks import tasks
from cli.version import print_version

app = typer.Typer(
    name="heads",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(epilog="The vectors come from `embedstore build`; see `embedstore --help`.")
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train fast heads on stored protein vectors.

    heads fit --task pfam --head linear

    heads evaluate pfam-linear

    heads predict pfam-linear unknown.fasta

    heads compare --task pfam
    """


for command in (fit, finetune, join, predict, evaluate, compare, tasks):
    app.command()(command)
app.command("list")(list_heads)
