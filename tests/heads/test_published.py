"""A comparison that follows a published table: its rows in its order, what was printed beside what is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import embedstore
import heads
from cli.heads_commands import app
from embedstore.errors import InputError, UnknownNameError
from embedstore.store import Store
from heads.base import make_head
from heads.catalog import HEADS
from heads.evaluation.methods import Settings
from heads.published import TABLES
from heads.published.table import PublishedTable
from heads.tasks import TASKS, TaskSelection

CHEAP = ["composition", "linear", "kmer"]


def followed(store: Store, **options: Any) -> Any:
    given = {"task": "pfam", "table": "study", "heads": CHEAP, "relatives": "none", "n_resamples": 20} | options
    return heads.compare(store, **given)


@pytest.mark.parametrize("name", list(TABLES))
def test_every_row_of_a_table_is_a_head_with_settings_that_it_has(name: str) -> None:
    table: PublishedTable = TABLES.load(name)
    assert table.name == name
    assert len({row.name for row in table.rows}) == len(table.rows)
    for row in table.rows:
        make_head(
            row.head,
            row.params,
            target_type=next(
                target_type for target_type in table.target_types if target_type in HEADS[row.head].target_types
            ),
        )
        for figure in row.figures:
            assert figure.task in table.measured_on
            assert figure.as_metric(TASKS[figure.task].main_metric) is not None or figure.metric == "pearson"
    assert {row for erratum in table.errata for row in erratum.rows} <= {row.name for row in table.rows}


def test_the_studys_printed_errors_become_accuracies() -> None:
    study: PublishedTable = TABLES.load("study")
    shown = {
        row.name: [round(100 * (one.as_metric("accuracy") or 0), 4) for one in row.figures if one.task == "pfam"]
        for row in study.rows
    }
    assert shown == {
        "Top-pick HMM": [98.586],
        "phmmer": [98.469],
        "BLASTp": [98.346],
        "k-mers": [90.006],
        "RNN": [98.2],
        "ProtCNN": [99.505, 99.988],
        "ProtENN": [99.841],
        "frozen embedding + linear": [89.1, 99.93],
        "amino acids and dipeptides": [],
    }


def test_rows_stand_in_the_published_order_beside_the_published_figures(store: Store) -> None:
    found = followed(store, heads=[*CHEAP, "knn"])
    beside = found.published
    assert [(line.method, line.published_row) for line in beside.results] == [
        ("k-mers", "k-mers"),
        ("frozen embedding + linear · kmer", "frozen embedding + linear"),
        ("amino acids and dipeptides", "amino acids and dipeptides"),
        ("knn · kmer", ""),
    ]
    assert {row.name for row in found.results} == {line.method for line in beside.results}
    assert beside.columns == ("published (17,929 families)", "published (100 families)")
    first, second, baseline, _ = beside.results
    assert first.published == {"published (17,929 families)": pytest.approx(0.90006)}
    assert second.printed["published (100 families)"] == "0.0007% error, corrected to 0.07%"
    assert baseline.baseline
    assert not baseline.published
    assert "measured on other rows: the random split of Pfam 32" in beside.caution
    assert "Here: 48 test rows of pfam, 6 classes" in beside.caution
    assert "Published as error rate; shown as accuracy" in beside.caution


def test_only_errata_of_the_shown_rows_are_told(store: Store) -> None:
    assert followed(store, heads=["kmer"]).published.errata == ()
    told = followed(store, heads=["linear"]).published.errata
    assert len(told) == 5
    assert "0.07%, six times ProtCNN's 0.012%" in told[0]


def test_without_rows_nothing_published_is_shown(store: Store) -> None:
    found = heads.compare(store, task="pfam", heads=["linear"], relatives="none", n_resamples=20)
    assert found.published is None
    assert found.to_dict()["published"] is None


def test_labels_that_nobody_published_on_stand_alone_and_it_says_so(store: Store) -> None:
    options = {"task": TaskSelection(dataset="pfam", label_column="family_accession"), "heads": ["kmer"]}
    beside = followed(store, **options).published
    assert beside.columns == ()
    assert "has no figures for these labels" in beside.caution


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task": TaskSelection(task="pfam", target_type="regression")},
            r"Table 'study' .* predict class of a protein, and pfam is regression .*--heads\)",
        ),
        ({"heads": ["knn"]}, r"No row of table 'study' .*can be compared on pfam: its heads are hmm_top_pick, phmmer"),
        (
            {"params": {"knn": {"k": 1}}},
            "Parameters were given for head 'knn', which is not compared; compared are kmer, linear",
        ),
        ({"epochs": 3}, "epochs is 3, and no head that is compared has that parameter: kmer, linear, composition"),
        ({"epochs": 0, "heads": ["rnn"]}, "epochs is 0; expected 1 or more"),
    ],
)
def test_a_wrong_combination_is_one_clear_error(store: Store, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        followed(store, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "studdy"}, "Unknown published table 'studdy'. Did you mean 'study'"),
        ({"heads": ["linaer"]}, "Unknown head 'linaer'. Did you mean 'linear'"),
        ({"spaces": ["esm2_8m"]}, "esm2_8m"),
    ],
)
def test_an_unknown_table_head_or_space_is_named(store: Store, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        followed(store, **options)


def test_a_row_whose_program_or_space_is_missing_fails_with_how_to_get_it_and_the_others_go_on(
    splits_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    bare = embedstore.open(tmp_path / "bare.zarr", mode="a")
    bare.add("pfam", splits_table)
    found = followed(bare, heads=["blastp", "linear", "kmer"])
    failures = {row.name: row.failure for row in found.results}
    assert [line.method for line in found.published.results] == ["BLASTp", "k-mers", "frozen embedding + linear"]
    assert "Install it: `apt-get install" in failures["BLASTp"]
    assert "Make one: `embedstore build" in failures["frozen embedding + linear"]
    assert failures["k-mers"] == ""
    found.save_html(tmp_path / "page.html")
    assert "Install it" in (tmp_path / "page.html").read_text()


def test_settings_of_the_caller_go_before_the_tables_and_those_before_a_small_trials() -> None:
    given = Settings(params={"rnn": {"hidden": 8}}, small=True, epochs=2)
    found = given.params_of("rnn", {"clip": 0.5, "hidden": 16})
    assert (found["hidden"], found["clip"], found["epochs"]) == (8, 0.5, 2)
    assert found["learning_rate"] == HEADS["rnn"].small["learning_rate"]
    assert given.params_of("linear") == {}
    assert Settings().params_of("rnn", {"clip": 0.5}) == {"clip": 0.5}


def test_a_network_says_how_long_it_was_trained_and_with_what(store: Store) -> None:
    found = followed(store, heads=["rnn"], small=True, epochs=1)
    assert found.published.results[0].epochs == 1
    assert found.results[0].settings["params"]["hidden"] == HEADS["rnn"].small["hidden"]


def variants(tmp_path: Path, *, longer: str) -> Store:
    """A data set of numbers of variants, one of them longer by so many residues."""
    wild = "MKVLATGHWYPQRNDESTIFC" * 2
    rows = ["id,sequence,label,split"]
    for number in range(90):
        place, letter = number % 40, "ACDEFGHIKLMNPQRSTVWY"[number % 19]
        residues = wild[:place] + letter + wild[place + 1 :] + (longer if number == 7 else "")
        rows.append(f"v{number},{residues},{number % 10 / 10},{('train', 'train', 'valid', 'test')[number % 4]}")
    (tmp_path / "variants.csv").write_text("\n".join(rows) + "\n")
    made = embedstore.open(tmp_path / "variants.zarr", mode="a")
    made.add("beta_lactamase", tmp_path / "variants.csv")
    return made


@pytest.mark.parametrize("longer", ["", "MK"])
def test_baselines_of_variants_stand_beside_deepprotein_where_lengths_agree(tmp_path: Path, longer: str) -> None:
    names = ["deepprotein_cnn", "composition", "one_hot_ridge"]
    params = {"deepprotein_cnn": {"filters": (4,), "kernels": (3,), "embedding": 8, "predictor": ()}}
    found = followed(
        variants(tmp_path, longer=longer),
        task="beta_lactamase",
        table="deepprotein",
        heads=names,
        epochs=1,
        params=params,
    )
    beside = found.published
    assert beside.results[0].published == {"published": 0.721}
    expected = ["CNN", "amino acids and dipeptides", *([] if longer else ["one-hot ridge"])]
    assert [line.method for line in beside.results] == expected
    left = {"one-hot ridge": "one_hot_ridge needs proteins of one length"} if longer else {}
    assert beside.left_out == left


def test_the_command_tells_table_caution_and_errata_and_writes_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*more: str) -> Any:
        words = ["compare", "--task", "pfam", "--rows", "study", "--heads", "kmer,linear", "--relatives", "none"]
        words += ["--out", "pfam-compare"]
        done = CliRunner().invoke(app, [*words, *more], env={"EMBEDSTORE": str(store.path), "COLUMNS": "200"})
        assert done.exit_code == 0
        return done

    told = run().stdout
    assert told.index("k-mers") < told.index("frozen embedding + linear · kmer")
    assert "0.9001" in told
    assert "measured on other rows" in told
    assert "Erratum: 0.0007%" in told
    page = (tmp_path / "pfam-compare.html").read_text()
    assert "Published results" in page
    assert "9.994% error" in page
    assert "Errors in print" in page
    document = json.loads(run("--json").stdout)["published"]
    assert document["results"][0]["published"] == {"published (17,929 families)": pytest.approx(0.90006)}
    lines = run("--tsv").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["method", "k-mers", "frozen embedding + linear · kmer"]
