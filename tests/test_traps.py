"""Traps that other tools fell into, and what guards this one: here, or in the test that is named.

- a reader that keeps the last line of a wrapped record -> tests/sequences/test_fasta.py::test_every_way_of_writing_gives_the_same_records
- a header without sequence -> tests/sequences/test_fasta.py::test_a_record_without_sequence_is_rejected_with_its_reason_and_reading_goes_on
- gzip, whole or cut -> tests/sequences/test_fasta.py::test_a_file_cut_short_is_an_error_and_not_fewer_records
- two identical sequences hang or kill the writer -> tests/test_traps.py::test_equal_sequences_within_and_across_batches_and_data_sets_are_one_vector
- the last partial batch is skipped -> tests/embedding/test_build.py::test_the_last_partial_batch_is_not_lost
- the same, for every remainder -> tests/models/test_batching.py::test_the_last_partial_batch_is_kept_for_every_remainder
- mean over padding -> embedstore/testing/model_contract.py::test_a_sequence_alone_equals_itself_in_a_mixed_batch
- special tokens in the mean -> tests/models/test_families.py::test_special_tokens_in_the_mean_would_be_noticed
- a hand-written loop -> tests/models/test_families.py::test_a_batch_equals_the_model_cards_recipe_one_protein_at_a_time
- states before the last layer norm -> tests/models/test_families.py::test_residue_states_equal_the_recipes_after_the_last_norm
- out of memory swallowed, sequences lost -> tests/embedding/test_build.py::test_running_out_of_memory_halves_the_batch_and_loses_nothing
- the same, of one that never fits -> tests/embedding/test_build.py::test_what_fails_alone_too_is_skipped_by_name
- silent truncation at 400 to 1024 -> tests/test_traps.py::test_five_thousand_residues_are_visibly_windowed_cut_skipped_or_refused
- a cache key that is too small -> tests/test_traps.py::test_each_field_of_an_identity_that_changes_is_another_space
- the same, built -> tests/embedding/test_build.py::test_any_other_identity_is_another_space
- the same, length policy -> tests/embedding/test_windows.py::test_each_policy_and_number_is_a_space_of_its_own
- row order from a directory listing -> tests/store/test_store.py::test_the_order_of_a_directory_listing_changes_nothing
- the same, names of parts -> tests/test_traps.py::test_shuffled_part_names_give_the_same_store
- k larger than the index -> embedstore/testing/index_contract.py::test_k_larger_than_the_index_gives_each_row_once
- an empty index -> embedstore/testing/index_contract.py::test_an_empty_index_has_no_neighbours
- inner product and L2 mixed -> embedstore/testing/index_contract.py::test_nearest_are_those_of_the_definition
- the same, order of scores -> embedstore/testing/index_contract.py::test_scores_are_cosines_in_descending_order
- an index that is stale after an append -> tests/test_traps.py::test_a_search_finds_what_was_added_a_moment_ago
- ids mangled -> tests/test_traps.py::test_ids_go_byte_for_byte_through_the_command_line_and_are_no_paths
- the same, in files -> tests/sequences/test_fasta.py::test_ids_are_kept_byte_for_byte
- one transaction for all: a crash loses everything -> tests/embedding/test_build.py::test_killed_at_any_moment_and_run_again_gives_the_same_store
- the same, of several processes -> tests/test_fault_harness.py::test_builds_that_are_killed_lose_and_double_nothing
- space-joined input, or not -> tests/test_traps.py::test_no_tokenizer_reads_one_of_the_twenty_residues_as_unknown
- the same, noticed -> tests/models/test_families.py::test_the_other_spelling_of_the_input_is_unknown_to_the_tokenizer
- a quadratic id check -> tests/test_traps.py::test_adding_eight_times_as_many_ids_costs_about_eight_times_as_much
- the same, a million keys -> tests/store/test_keys.py::test_many_keys_in_many_runs_are_all_found

What this field does badly:

- arrays in another order than their ids -> embedstore/testing/model_contract.py::test_rows_follow_the_order_of_the_input
- the same, in a store -> tests/embedding/test_build.py::test_every_distinct_sequence_gets_its_own_vector
- a dead writer looks like success -> tests/embedding/test_threads.py::test_a_writer_that_fails_with_a_full_queue_neither_hangs_nor_writes_on
- the same, a dead worker -> tests/embedding/test_executors.py::test_a_worker_that_ends_at_any_point_is_noticed
- a leftover file is reused -> tests/store/test_store.py::test_a_part_without_a_record_does_not_exist
- family guessed from a substring -> tests/models/test_loading.py::test_a_directory_needs_its_family
- the same, contradicted -> tests/models/test_loading.py::test_a_checkpoint_of_another_architecture_is_refused
- eval of strings, pickles, remote code -> tests/test_traps.py::test_nothing_that_is_read_is_run
- a pickle that runs code -> tests/models/test_loading.py::test_a_pickle_that_would_run_code_is_refused
- swallowed optional imports -> tests/test_traps.py::test_an_import_that_fails_is_told
- utils that import everything -> tests/test_traps.py::test_no_module_is_called_utils
- work at import -> tests/cli/test_cli.py::test_help_imports_nothing_heavy
"""  # noqa: E501 - a table: one row a line

from __future__ import annotations

import ast
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedstore
from embedstore.embedding.embedder import space_spec
from embedstore.embedding.windows import LongSequencePolicy
from embedstore.errors import InputError
from embedstore.indexes.query import search_records
from embedstore.models import load_model
from embedstore.models.base import STANDARD_RESIDUES
from embedstore.models.catalog import FAMILIES
from embedstore.sequences import digest
from embedstore.store import Store, space_writer, spaces
from embedstore.store.manifest import space_id
from embedstore.testing.checkpoints import make_checkpoint
from embedstore.types import Record

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("embedstore", "heads", "cli")


def fasta(path: Path, sequences: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{residues}\n" for name, residues in sequences.items()))
    return path


def proteins(count: int, *, seed: int = 0) -> dict[str, str]:
    source = random.Random(seed)
    return {f"p{i}": "".join(source.choices("ACDEFGHIKLMNPQRSTVWY", k=source.randint(5, 60))) for i in range(count)}


def content(store: Store) -> dict[bytes, bytes]:
    rows = [
        (key.tobytes(), row.tobytes())
        for name in store.spaces()
        for keys, vectors in store.space(name).blocks()
        for key, row in zip(keys, vectors, strict=True)
    ]
    assert len(dict(rows)) == len(rows), "a key came twice"
    return dict(rows)


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def guards() -> list[tuple[str, str]]:
    return re.findall(r"-> (\S+)::(\w+)", __doc__ or "")


@pytest.mark.parametrize(("file", "name"), guards(), ids=[name for _, name in guards()])
def test_each_trap_has_the_test_that_the_table_names(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_equal_sequences_within_and_across_batches_and_data_sets_are_one_vector(tmp_path: Path) -> None:
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    distinct = list(proteins(7).values())
    for name, count in (("first", 300), ("second", 301)):
        store.add(name, fasta(tmp_path / f"{name}.fasta", {f"{name}{i}": distinct[i % 7] for i in range(count)}))
    # Two proteins a batch: equal ones meet in a batch, across batches, and across data sets.
    report = embedstore.build(store, load_model("kmer"), batch_residues=120)
    assert (report.n_expected, report.n_embedded) == (7, 7)
    assert set(content(store)) == {digest(text.encode()) for text in distinct}
    assert store.space().take(store.dataset("second").digests).shape[0] == 301
    assert embedstore.verify(store).ok


@pytest.mark.parametrize("long", ["window", "truncate", "skip", "error"])
def test_five_thousand_residues_are_visibly_windowed_cut_skipped_or_refused(tmp_path: Path, long: str) -> None:
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    whole = "MKVLATGHISAGLKCDWEYR" * 250
    store.add("mine", fasta(tmp_path / "p.fasta", {"long": whole, "short": "MKV"}))
    # ESM-1's table of positions ends at 1,022 residues, as in ESM-1b.
    model = load_model(make_checkpoint(tmp_path / "esm1", "esm1", n_positions=1_026), family="esm")
    assert model.max_residues is not None
    assert model.max_residues < 5000
    if long == "error":
        with pytest.raises(InputError, match="1 proteins have more than .* residues"):
            embedstore.build(store, model, long=long)
        assert store.spaces() == []
        return
    report = embedstore.build(store, model, long=long)
    told = {"window": report.n_windowed, "truncate": report.n_truncated, "skip": report.n_skipped}
    assert told == {name: int(name == long) for name in told}
    space = store.space()
    assert str(space.identity["long"]).startswith(f"{long} ")
    key = digest(whole.encode())
    if long == "skip":
        assert "5,000 residues; " in space.skipped[key]
        return
    (flags,) = {int(flag) for part in space.parts for flag in part.array("flags").read() if flag}
    assert flags == {"window": spaces.FLAG_WINDOWED, "truncate": spaces.FLAG_TRUNCATED}[long]
    first = model.embed([whole[: model.max_residues].encode()])[0].astype(np.float16)
    stored = space.take(np.frombuffer(key, np.uint8)[None])[0]
    assert (np.abs(stored - first).max() < 1e-2) == (long == "truncate"), "the end of the protein counts in windows"


def test_each_field_of_an_identity_that_changes_is_another_space() -> None:
    model = load_model("kmer")
    identity = space_spec(model, pooling="mean", dtype="float16", long=LongSequencePolicy(kind="skip", limit=None))
    must = {"model", "checkpoint", "revision", "weights_sha256", "adapter_sha256", "layer", "pooling", "dtype"}
    assert set(identity) >= must | {"precision", "residue_policy", "long", "format"}
    ids = {space_id(identity)}
    for name, value in identity.items():
        other = {int: 7, str: f"{value}x", type(None): "x"}[type(value)]
        ids.add(space_id({**identity, name: other}))
    assert len(ids) == 1 + len(identity)


@pytest.mark.parametrize("seed", [1, 2])
def test_shuffled_part_names_give_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Names sort by time; where a clock is wrong, or two machines write, that is no order to rely on."""
    source = random.Random(seed)
    files = [fasta(tmp_path / f"{part}.fasta", proteins(40, seed=part)) for part in range(4)]
    found: list[Any] = []
    for shuffled in (False, True):
        store = embedstore.open(tmp_path / f"{shuffled}.zarr", mode="a")
        with monkeypatch.context() as patch:
            patch.setattr(space_writer, "PART_ROWS", 20)
            if shuffled:
                name = lambda: f"{source.getrandbits(60):016d}-{source.getrandbits(32):08x}"  # noqa: E731
                patch.setattr("embedstore.store.part_writer.new_part_name", name)
            for number, file in enumerate(files):
                store.add(f"d{number}", file)
            embedstore.build(store, load_model("kmer"), batch_residues=300)
        store.refresh()
        assert len(store.space().parts) > 4
        assert embedstore.verify(store).ok
        rows = {
            name: [
                (one, row.tobytes(), vector.tobytes())
                for one, row, vector in zip(
                    store.dataset(name).ids(),
                    store.dataset(name).digests,
                    store.space().take(store.dataset(name).digests),
                    strict=True,
                )
            ]
            for name in store.datasets()
        }
        found.append((content(store), rows))
    assert found[0] == found[1]


def test_a_search_finds_what_was_added_a_moment_ago(tmp_path: Path) -> None:
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    model = load_model("kmer")
    store.add("old", fasta(tmp_path / "old.fasta", proteins(30)))
    embedstore.build(store, model)
    query = [Record(id="q", residues=b"WWHHWWHHWWHHCCMM")]
    (before,) = search_records(store, store.space(), query, k=1)
    assert before.score < 0.9
    store.add("new", fasta(tmp_path / "new.fasta", {"late": "WWHHWWHHWWHHCCMM"}))
    embedstore.build(store, model)
    (after,) = search_records(store, store.space(), query, k=1)
    assert after.ids == ["new:late"]
    assert after.score > 0.999


IDS = [
    "sp|P12345|X_Y",
    "a/b/../c",
    "../../etc/passwd",
    "with.dot.",
    ".",
    "a b  c",
    " lead",
    "tab'\"quote",
    "Ünïcödé-蛋白",
]


def test_ids_go_byte_for_byte_through_the_command_line_and_are_no_paths(tmp_path: Path) -> None:
    sequences = list(proteins(len(IDS), seed=3).values())
    table = tmp_path / "odd.csv"
    quoted = ['"' + name.replace('"', '""') + '"' for name in IDS]
    table.write_text("id,sequence\n" + "".join(f"{a},{b}\n" for a, b in zip(quoted, sequences, strict=True)))

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", "from cli.main import embedstore; embedstore()", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "EMBEDSTORE": "s.zarr", "PYTHONUTF8": "1"}
        ended = subprocess.run(
            command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False, timeout=120, env=environment
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    run("build", "--model", "kmer", "odd.csv")
    hits = json.loads(run("search", "odd.csv", "-k", "1", "--json"))
    assert [(hit["query"], hit["ids"]) for hit in hits] == [(name, [f"odd:{name}"]) for name in IDS]
    names = {path.name for path in tmp_path.rglob("*")}
    assert not [name for name in names if any(part in name for part in ("P12345", "passwd", "with", "lead", "蛋白"))]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_no_tokenizer_reads_one_of_the_twenty_residues_as_unknown(tmp_path: Path, family: str) -> None:
    model: Any = load_model(make_checkpoint(tmp_path / family, family), family=family)
    tokens = model.tokens
    ids = [int(tokens.ids[letter]) for letter in STANDARD_RESIDUES]
    assert len(set(ids)) == 20
    assert not {tokens.unk_id, tokens.pad_id, -1} & set(ids)
    assert not set(STANDARD_RESIDUES) & set(model.unknown_letters)


def test_adding_eight_times_as_many_ids_costs_about_eight_times_as_much(tmp_path: Path) -> None:
    """Processor seconds as a ratio within one run: with a check of each id against all others it would be 64."""

    def seconds(count: int) -> float:
        file = tmp_path / f"{count}.fasta"
        letters = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
        rows = letters[np.random.default_rng(count).integers(0, 20, (count, 12))]
        file.write_bytes(b"".join(b">id%d\n%b\n" % (i, row.tobytes()) for i, row in enumerate(rows)))
        store = embedstore.open(tmp_path / f"{count}.zarr", mode="a")
        started = time.process_time()
        store.add("many", file)
        return time.process_time() - started

    seconds(1000)
    small, large = seconds(15_000), seconds(120_000)
    assert large < 20 * small


def test_nothing_that_is_read_is_run() -> None:
    forbidden = {
        "eval",
        "exec",
        "compile",
        "__import__",
        "pickle.load",
        "pickle.loads",
        "pickle.Unpickler",
        "yaml.load",
    }
    modules = {"dill", "marshal", "shelve", "joblib", "cloudpickle"}
    safe_words = {"torch.load": ("weights_only", "True"), "np.load": ("allow_pickle", "False")}
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not {alias.name.partition(".")[0] for alias in node.names} & modules, f"{path}:{node.lineno}"
            elif isinstance(node, ast.ImportFrom):
                names = {alias.name for alias in node.names}
                assert node.module != "pickle" or names == {"UnpicklingError"}, f"{path}:{node.lineno}"
                assert (node.module or "").partition(".")[0] not in modules, f"{path}:{node.lineno}"
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in forbidden, f"{path}:{node.lineno} calls {called}"
                words = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert words.get("trust_remote_code") != "True", f"{path}:{node.lineno} runs code of a checkpoint"
                name, value = safe_words.get(called, ("", ""))
                assert not name or words.get(name, value if called == "np.load" else None) == value, (
                    f"{path}:{node.lineno} takes pickles of any kind"
                )


def test_an_import_that_fails_is_told() -> None:
    for path, tree in sources():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.ExceptHandler)
                and node.type is not None
                and "ImportError" in ast.unparse(node.type)
            ):
                raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                assert raises, f"{path}:{node.lineno} swallows an import that fails"


def test_no_module_is_called_utils() -> None:
    names = {path.stem for path, _ in sources()} | {path.parent.name for path, _ in sources()}
    assert not names & {"utils", "util", "helpers", "common", "misc", "manager"}
