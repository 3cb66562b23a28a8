"""Evaluation tells what flatters: leaks, near duplicates, labels without a signal; and compares row by row."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import heads
from cli.heads_commands import app
from cli.render.pages import Pages
from embedstore.errors import InputError, StoreNotFoundError
from embedstore.store import Store
from heads.evaluation.nearest_training import by_kmers, nearest_training
from heads.evaluation.scoring import score_outcomes
from heads.testing.sequence_contract import families

HEADER = ("id", "sequence", "label", "split")


def _table(simulated: Any, path: Path, rows: list[tuple[str, str, str]]) -> Path:
    splits = ["train"] * 150 + ["valid"] * 42 + ["test"] * 48
    return simulated.table(path, [(*row, split) for row, split in zip(rows, splits, strict=True)], HEADER)


@pytest.fixture
def proteins(simulated: Any) -> list[tuple[str, str, str]]:
    return [row for n, seed in ((150, 1), (42, 2), (48, 3)) for row in simulated.proteins(n, seed=seed)]


def test_a_head_on_shuffled_labels_scores_at_chance(
    store: Store, simulated: Any, tmp_path: Path, proteins: list[tuple[str, str, str]]
) -> None:
    labels = np.random.default_rng(0).permutation([row[2] for row in proteins]).tolist()
    shuffled = [(name, text, label) for (name, text, _), label in zip(proteins, labels, strict=True)]
    # The last test protein of the store repeats a training one: another stands in its place here.
    table = _table(
        simulated, tmp_path / "shuffled.csv", [*shuffled[:-1], (*simulated.proteins(48, seed=3)[0][:2], labels[-1])]
    )
    for head in ("linear", "knn"):
        report = heads.evaluate(store, heads.fit(store, labels=table, head=head), relatives="none")
        assert report.metrics["accuracy"].low < 1 / 6 < report.metrics["accuracy"].high
        assert abs(report.metrics["mcc"].value) < 0.2


def test_planted_duplicates_across_splits_are_reported(store: Store) -> None:
    report = heads.evaluate(store, heads.fit(store, task="pfam"))
    assert (report.n_keys_in_train, report.leakage.n_exact, report.leakage.n_exact_rows) == (1, 1, 1)
    assert report.leakage.n_sampled == 48
    assert report.leakage.n_near >= 1
    assert sum(one.n for one in report.by_identity) == 48
    assert "words" in report.leakage.method


def test_near_duplicates_are_found_by_words_and_strangers_are_not() -> None:
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
    training = rng.choice(letters, (40, 150))
    changed = training.copy()
    for row in changed:
        row[rng.choice(150, 9, replace=False)] = 87
    queries = [*(row.tobytes() for row in changed), rng.choice(letters, 150).tobytes(), b"MK"]
    found = by_kmers(queries, [row.tobytes() for row in training])
    assert found.row[:40].tolist() == list(range(40))
    np.testing.assert_allclose(found.identity[:40], 0.94, atol=0.05)
    assert np.isnan(found.identity[40:]).all()
    assert found.row[40:].tolist() == [-1, -1]
    with pytest.raises(InputError, match="relatives is 'blast'; expected one of auto, mmseqs, words"):
        nearest_training([], [], method="blast")


def test_a_report_has_a_learning_curve_reliability_costs_and_confusions(store: Store) -> None:
    report = heads.evaluate(store, heads.fit(store, task="pfam"), relatives="none", fractions=(0.3, 0.1))
    assert [point.n_rows for point in report.curve] == [15, 45]
    assert report.curve[0].value <= report.curve[1].value <= report.metrics["accuracy"].value
    assert sum(one.n for one in report.reliability) == 48
    assert report.fit_seconds is not None
    plain = json.loads(json.dumps(report.to_dict()))
    assert set(plain["mcc"]) == {"value", "low", "high"}
    assert (plain["leakage"]["method"], plain["by_identity"]) == ("not asked for", [])
    with pytest.raises(InputError, match=r"The fractions are \(2,\); expected shares over 0 to 1"):
        heads.evaluate(store, heads.fit(store, task="pfam"), fractions=(2,))


class Links(HTMLParser):
    """Everything in a page that could load something, and the tags that stand open."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.charts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.charts += tag == "svg"
        if tag in ("script", "link", "iframe", "img", "object"):
            self.links.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.charts += tag == "svg"


@pytest.fixture(scope="module")
def comparison(store: Store) -> heads.Comparison:
    return heads.compare(
        store, task="pfam", heads=["linear", "knn", "composition"], params={"knn": {"k": 1}}, n_resamples=200
    )


def test_a_comparison_is_valid_json_and_one_page_without_any_reference(
    comparison: heads.Comparison, tmp_path: Path
) -> None:
    document = json.loads(comparison.save_json(tmp_path / "c.json").read_text())
    assert [row["name"] for row in document["results"]] == [row.name for row in comparison.results]
    assert document["about"]["train_sha256"]
    text = comparison.save_html(tmp_path / "c.html").read_text()
    page = Links()
    page.feed(text)
    assert page.links == []
    assert page.open == []
    assert page.charts >= 5
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert {path.name for path in tmp_path.iterdir()} == {"c.json", "c.html"}


def test_rows_are_tested_against_the_best_on_the_same_rows(comparison: heads.Comparison) -> None:
    best, *others = comparison.results
    assert best.against_best is None
    assert {row.against_best.test for row in others if row.against_best} == {"mcnemar"}
    for row in others:
        assert row.against_best is not None
        assert row.p_holm is not None
        assert row.p_holm >= row.against_best.p_value
        assert row.against_best.difference.value == pytest.approx(
            best.metrics["accuracy"].value - row.metrics["accuracy"].value
        )
    frame = comparison.to_frame()
    assert frame["accuracy"].is_monotonic_decreasing
    assert frame["failure"].tolist() == [""] * 3


def test_a_row_that_fails_is_named_and_stops_no_other(store: Store, tmp_path: Path) -> None:
    found = heads.compare(
        store, task="pfam", heads=["knn", "linear"], params={"knn": {"k": -1}}, relatives="none", n_resamples=50
    )
    assert [row.name for row in found.results] == ["linear · kmer", "knn · kmer"]
    assert "k is (-1,); expected whole numbers" in found.results[-1].failure
    assert "expected whole numbers" in found.save_html(tmp_path / "c.html").read_text()
    assert found.to_dict()["results"][-1]["metrics"] == {}
    with pytest.raises(InputError, match="No method of the comparison worked"):
        heads.compare(store, task="pfam", heads=["knn"], params={"knn": {"k": -1}}, relatives="none")
    with pytest.raises(InputError, match="head 'mlp', which is not compared; compared are knn"):
        heads.compare(store, task="pfam", heads=["knn"], params={"mlp": {}})


@pytest.mark.parametrize("error", [TypeError("'int' object is not iterable"), OSError(28, "No space left on device")])
def test_a_row_that_fails_in_no_way_of_ours_stops_no_other(error: Exception, store: Store) -> None:
    class Failing(Majority):
        name = "failing"

        def score(self, data: Any, split: str, **rest: Any) -> Any:
            raise error

    found = heads.compare(store, task="pfam", heads=["linear"], methods=[Failing()], relatives="none")
    assert [row.name for row in found.results] == ["linear · kmer", "failing"]
    assert str(error) in found.results[-1].failure


def test_a_comparison_that_is_stopped_has_lost_no_row_that_was_done(store: Store, tmp_path: Path) -> None:
    class Stopped(Majority):
        name = "stopped"

        def score(self, data: Any, split: str, **rest: Any) -> Any:
            raise KeyboardInterrupt

    kept: list[heads.Comparison] = []
    given: dict[str, Any] = {"task": "pfam", "relatives": "none", "n_resamples": 50, "on_result": kept.append}
    with pytest.raises(KeyboardInterrupt):
        heads.compare(store, table="study", heads=["kmer", "linear"], methods=[Stopped()], **given)
    assert [len(found.results) for found in kept] == [1, 2]
    assert kept[0].pending == ("frozen embedding + linear · kmer", "stopped")
    assert "<b>Not finished.</b> 1 more methods were to be compared: stopped." in kept[1].save_html(
        tmp_path / "so_far.html"
    ).read_text(encoding="utf-8")
    kept.clear()
    assert heads.compare(store, heads=["linear"], **given).pending == ()
    assert kept == []


def test_figures_on_rows_that_heads_have_seen_say_so(store: Store, tmp_path: Path) -> None:
    found = heads.compare(store, task="pfam", heads=["linear"], split="valid", relatives="none", n_resamples=50)
    assert "Not held out." in found.save_html(tmp_path / "valid.html").read_text()
    assert "Hyper-parameters were selected" in found.to_dict()["seen"]
    held_out = heads.compare(store, task="pfam", heads=["linear"], relatives="none", n_resamples=50)
    assert held_out.to_dict()["seen"] is None
    page = held_out.save_html(tmp_path / "test.html").read_text()
    assert "Not held out." not in page
    assert "A quick trial." not in page


def test_a_page_of_small_networks_says_so(store: Store, tmp_path: Path) -> None:
    found = heads.compare(store, task="pfam", heads=["linear"], small=True, relatives="none", n_resamples=50)
    assert "A quick trial." in found.save_html(tmp_path / "small.html").read_text()


def test_a_checkpoint_is_of_one_training_and_stops_no_other(store: Store, tmp_path: Path) -> None:
    """Guard learning curves, which are of fewer rows, and several seeds: each is a training of its own."""
    place = tmp_path / "run"
    params = {"epochs": 1, "filters": (4,), "kernels": (3,), "predictor": (), "checkpoint": str(place)}
    fitted = heads.fit(store, task="pfam", head="deepprotein_cnn", params=params)
    kept = {file: file.read_bytes() for file in place.iterdir()}
    assert kept
    report = heads.evaluate(store, fitted, relatives="none", fractions=(0.3,))
    assert [point.n_rows for point in report.curve] == [45]
    found = heads.compare(
        store,
        task="pfam",
        heads=["deepprotein_cnn"],
        params={"deepprotein_cnn": params},
        seeds=2,
        relatives="none",
        n_resamples=50,
    )
    assert found.results[0].failure == ""
    assert {file: file.read_bytes() for file in place.iterdir() if file.is_file()} == kept
    assert sorted(file.name for file in place.iterdir() if file.is_dir()) == ["seed_0", "seed_1"]


def test_several_seeds_are_one_row_with_their_mean(store: Store) -> None:
    found = heads.compare(store, task="pfam", heads=["linear"], seeds=2, relatives="none", n_resamples=50)
    assert len(found.results[0].by_seed) == 2
    assert found.results[0].metrics["accuracy"].value == pytest.approx(np.mean(found.results[0].by_seed))
    assert found.about["seeds"] == [0, 1]


class Majority:
    """A row that is no head: always the most frequent training class."""

    name = head = "majority"
    source = "labels"

    def score(self, data: Any, split: str, *, seed: int, n_resamples: int, draw_seed: int) -> Any:
        from heads.evaluation.metrics import ClassOutcomes
        from heads.evaluation.resources import Cost

        names, codes = np.unique(data.labels[data.rows("train")], return_inverse=True)
        rows = data.rows(split)
        true = np.searchsorted(names, data.labels[rows])
        shares = np.bincount(codes) / len(codes)
        predicted = np.full(len(rows), int(shares.argmax()))
        found = ClassOutcomes(
            names=names,
            n_known=len(names),
            true=true,
            predicted=predicted,
            confidence=shares[predicted].astype(np.float32),
            p_true=shares[true].astype(np.float32),
            rank=np.argsort(np.argsort(-shares))[true],
            squares=np.full(len(rows), (shares**2).sum(), np.float32),
        )
        return Cost(), score_outcomes(data, rows, found, Cost(), n_resamples=n_resamples, seed=draw_seed)

    def describe(self) -> dict[str, Any]:
        return {"id": "labels"}

    def settings(self) -> dict[str, Any]:
        return {}


def test_rows_of_another_kind_take_part_without_a_change(store: Store) -> None:
    found = heads.compare(store, task="pfam", heads=["linear"], methods=[Majority()], relatives="none", n_resamples=100)
    assert [row.name for row in found.results] == ["linear · kmer", "majority"]
    assert found.results[1].against_best is not None
    assert found.results[1].against_best.p_value < 0.01


def test_compare_on_the_command_line_writes_both_files(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        app,
        ["compare", "--task", "pfam", "--heads", "linear,knn", "--param", "knn.k=1", "--relatives", "none", "--json"],
        env={"EMBEDSTORE": str(store.path)},
    )
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["results"]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"pfam-compare.html", "pfam-compare.json"}
    assert "are also in the training rows" in done.stderr


def test_a_page_that_cannot_be_written_meanwhile_ends_no_comparison(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pages").mkdir()
    pages = Pages(tmp_path / "pages" / "mine")
    (tmp_path / "pages").rmdir()
    given: dict[str, Any] = {"task": "pfam", "relatives": "none", "n_resamples": 20, "on_result": pages.save_so_far}
    found = heads.compare(store, heads=["centroid", "knn"], **given)
    assert len(found.results) == 2
    assert "mine.html could not be written" in capsys.readouterr().err
    for folder in (".", "..", ""):
        with pytest.raises(InputError, match="is a folder; expected a name"):
            Pages(Path(folder))


@pytest.mark.parametrize("out", [[], ["--out", "mine"], ["--out", "mine.html"]])
def test_only_a_comparison_that_is_named_is_replaced(
    out: list[str], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["compare", "--task", "pfam", "--heads", "centroid,knn", "--relatives", "none", *out]
    for _ in range(2):
        done = CliRunner().invoke(app, arguments, env={"EMBEDSTORE": str(store.path)})
        assert done.exit_code == 0, done.output
        assert "the rows so far" in done.stderr
    pages = {path.name for path in tmp_path.iterdir() if path.suffix == ".html"}
    assert pages == ({"mine.html"} if out else {"pfam-compare.html", "pfam-compare-2.html"})


def test_heads_on_sequences_are_compared_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = zip(*families(40, n_families=5), ["train", "train", "valid", "test"] * 10, strict=True)
    lines = [f"p{number},{','.join(row)}" for number, row in enumerate(rows)]
    (tmp_path / "mine.csv").write_text("\n".join(["id,sequence,label,split", *lines]) + "\n")
    compare = ["compare", "--labels", "mine.csv", "--relatives", "none", "--heads"]
    done = CliRunner().invoke(app, [*compare, "composition,length"], env={"EMBEDSTORE": ""})
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "mine-compare.json").read_text())["about"]["store"] is None
    monkeypatch.delenv("EMBEDSTORE", raising=False)
    with pytest.raises(StoreNotFoundError, match="No store at"):
        heads.compare(labels="mine.csv", heads=["composition", "linear"])
    with pytest.raises(StoreNotFoundError, match="No store at elsewhere"):
        heads.compare("elsewhere", labels="mine.csv", heads=["composition"])
