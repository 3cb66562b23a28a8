"""Tables for eyes, and how a command ends: by Ctrl-C, on a full disk."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

import embedstore
from cli.render.output import print_rows, styled

SCRIPTS = Path(sys.executable).parent
KEY = "SQ." + "k" * 32


def table(rows: list[dict[str, object]], width: int, capsys: pytest.CaptureFixture[str], **options: object) -> str:
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setenv("COLUMNS", str(width))
        print_rows(rows, **options)  # type: ignore[arg-type]
    return capsys.readouterr().out


def hit(query: str, ids: list[str]) -> dict[str, object]:
    return {"query": query, "rank": 1, "score": 0.8765, "ids": ids, "key": KEY}


def test_all_columns_are_there_where_they_fit(capsys: pytest.CaptureFixture[str]) -> None:
    heading, rule, row = table([hit("q1", ["a:x"])], 160, capsys, spare=["key"]).splitlines()
    assert heading.split() == ["query", "rank", "score", "ids", "key"]
    assert len(rule) == len(row) == max(map(len, (heading, rule, row)))
    assert row.split() == ["q1", "1", "0.8765", "a:x", KEY]


def test_a_spare_column_is_dropped_before_anything_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    printed = table([hit("sp|P69905|HBA_HUMAN", ["swissprot:P69905"])], 80, capsys, spare=["key"])
    assert KEY not in printed
    assert "sp|P69905|HBA_HUMAN     1  0.8765  swissprot:P69905" in printed


def test_prose_alone_is_wrapped_and_at_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "prot_t5", "parameters": 1_208_141_824, "summary": "the encoder alone, in half precision"}
    lines = table([row], 50, capsys).splitlines()
    assert max(map(len, lines)) <= 50
    assert "1,208,141,824" in lines[2]
    assert " ".join(" ".join(lines[2:]).split()[2:]) == row["summary"]


@pytest.mark.parametrize("width", [80, 30])
def test_what_cannot_be_a_table_is_printed_as_blocks_with_nothing_broken(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = table([hit("q" * 90, ["a:" + "x" * 90])], width, capsys, spare=["key"])
    assert printed.startswith("query " + "q" * 90)
    assert KEY in printed
    assert "x" * 90 in printed


def test_a_long_list_is_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert "a:1, a:2, a:3 and 997 more" in table([hit("q", [f"a:{n}" for n in range(1, 1001)])], 160, capsys)


def test_a_column_of_numbers_stands_right_also_after_a_gap(capsys: pytest.CaptureFixture[str]) -> None:
    lines = table([{"name": "a", "longest": None}, {"name": "b", "longest": 39_998}], 80, capsys).splitlines()
    assert lines[2:] == ["a           -", "b      39,998"]


def test_what_steers_a_terminal_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in table([hit("q\x1b[2J", ["a:x"])], 160, capsys)


@pytest.mark.parametrize("width", [80, 160])
def test_the_catalog_fits_the_terminal(width: int, tmp_path: Path) -> None:
    printed = subprocess.run(
        [SCRIPTS / "embedstore", "models"],
        env={**os.environ, "COLUMNS": str(width)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert max(map(len, printed.splitlines())) <= width
    assert "1,208,141,824" in printed


def test_search_names_an_id_once(tmp_path: Path) -> None:
    (tmp_path / "twice.fasta").write_text(">a\nMKVLATGHI\n>a\nMKVLATGHI\n>b\nMKVLWWWWW\n")
    subprocess.run([SCRIPTS / "embedstore", "build", "-m", "kmer", "twice.fasta"], cwd=tmp_path, check=True)
    found = subprocess.run(
        [SCRIPTS / "embedstore", "search", "twice.fasta", "-k", "1", "--tsv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert found[1].split("\t")[3] == "twice:a"


def test_ctrl_c_says_that_the_command_can_go_on(tmp_path: Path) -> None:
    from embedstore.testing.family_files import write_families

    write_families(tmp_path / "p.csv", 20_000, 20)
    command = [SCRIPTS / "embedstore", "build", "-m", "kmer", "p.csv"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # The store appears when work begins.
    deadline = time.monotonic() + 60
    while not (tmp_path / "embedstore.zarr").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    printed, told = running.communicate(timeout=60)
    assert running.returncode == 130
    assert printed == ""
    assert told.splitlines()[-1] == "Interrupted. What was committed stays; run the same command again to go on."
    assert "Traceback" not in told
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["models"], ["models", "--json"], ["models", "--tsv"], ["--help"]])
def test_a_full_disk_under_stdout_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [SCRIPTS / "embedstore", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: Cannot write the output: No space left on device.")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "proposed"),
    [
        (["embedstore", "build", "--model", "prot_t5"], {"prot_t5", "prot_t5_bfd"}),
        (["heads", "fit", "--head", "lin"], {"linear"}),
        (["heads", "fit", "--task", "pfa"], {"pfam", "pfam_clustered"}),
        (["heads", "fit", "--store", "a.zarr", "--dataset", "fa"], {"families"}),
        (["embedstore", "search", "--store", "a.zarr", "--space", "km"], {"kmer-"}),
        (["heads", "fit", "--store", "none.zarr", "--dataset", ""], set()),
    ],
)
def test_the_shell_completes_names(tmp_path: Path, typed: list[str], proposed: set[str]) -> None:
    from embedstore.testing.family_files import write_families

    if "a.zarr" in typed:
        write_families(tmp_path / "p.csv", 40, 2)
        store = embedstore.open(tmp_path / "a.zarr", mode="a")
        store.add("families", tmp_path / "p.csv")
        embedstore.build(store, embedstore.load_model("kmer"))
    command, *words = typed
    environment = {
        **os.environ,
        f"_{command.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join([command, *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [SCRIPTS / command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    names = {name[:5] if name.startswith("kmer-") else name for name in done.stdout.split()}
    assert names == proposed
    assert "Traceback" not in done.stderr


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert styled("x", Terminal(), bold=True) == "\x1b[1mx\x1b[0m"
    assert styled("x", io.StringIO(), bold=True) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("x", Terminal(), bold=True) == "x"


@pytest.mark.parametrize("name", ["embedstore", "heads"])
def test_summaries_of_commands_fit_a_line(name: str) -> None:
    app = import_module(f"cli.{name}_commands").app
    for command in app.registered_commands:
        summary = (command.callback.__doc__ or "").split("\n\n")[0]
        assert len(summary) <= 66, command.callback.__name__
        assert "\n" not in summary
