"""Homology heads against the programs that they stand for, and what their scores become."""

import shutil
import subprocess
import weakref
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from embedstore.errors import InputError, MissingPackageError, WorkerDiedError
from heads.alignment.blastp import BlastpHead
from heads.alignment.class_scores import ClassScores, ScoreSigmoid, ScoreSoftmax, class_scores, fit_softmax
from heads.alignment.diamond import DiamondHead
from heads.alignment.family_alignment import align_family, read_alignment, select_aligned
from heads.alignment.hits import Hits, hits_of
from heads.alignment.hmm_top_pick import HmmTopPickHead
from heads.alignment.hmmer import amino, digital
from heads.alignment.mmseqs import MMseqsHead
from heads.alignment.phmmer import PhmmerHead
from heads.alignment.smith_waterman import SmithWatermanHead
from heads.api.load import load
from heads.base import has_prediction
from heads.tasks.programs import run_program
from heads.testing.head_contract import as_fitted_head
from heads.testing.sequence_contract import ODD, families, random_proteins

HARD = {"changed": 0.45}
"""Families so wide that some queries find little."""


def fasta(path: Path, proteins: list[str]) -> Path:
    path.write_text("".join(f">{row}\n{protein}\n" for row, protein in enumerate(proteins)))
    return path


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed.")


def test_phmmer_finds_what_the_hmmer_program_finds_to_the_printed_digit(tmp_path: Path) -> None:
    needs("phmmer")
    pytest.importorskip("pyhmmer")
    X, y = families(60, **HARD)
    queries = [*families(24, seed=2, **HARD).X, "MKUOZBXJ" * 9]
    head = PhmmerHead(n_hits=1000).fit(X, y)
    table = tmp_path / "hits.txt"
    run_program("phmmer", "-E", "10", "--noali", "--tblout", table, fasta(tmp_path / "q.fasta", queries),
        fasta(tmp_path / "t.fasta", X))  # fmt: skip
    # --tblout has the target first and the query third.
    rows = [line.split() for line in table.read_text().splitlines() if not line.startswith("#")]
    hits = head.hits(queries)
    ours = zip(*(column.tolist() for column in (hits.query, hits.target, hits.evalue, hits.score)), strict=True)
    assert len(rows) > 50
    assert [(f"{q}", f"{t}", f"{e:.2g}", f"{s:.1f}") for q, t, e, s in ours] == [
        (row[2], row[0], f"{float(row[4]):.2g}", row[5]) for row in rows
    ]


def test_profiles_score_what_hmmsearch_scores(tmp_path: Path) -> None:
    needs("hmmsearch")
    pytest.importorskip("pyhmmer")
    queries = families(24, seed=2, **HARD).X
    head = HmmTopPickHead(second_pass=False).fit(*families(60, **HARD))
    (tmp_path / "profiles.hmm").write_text(head.texts()["profiles"])
    table = tmp_path / "hits.txt"
    run_program("hmmsearch", "-E", "10", "-Z", "8", "--noali", "--tblout", table, tmp_path / "profiles.hmm",
        fasta(tmp_path / "q.fasta", queries))  # fmt: skip
    rows = [line.split() for line in table.read_text().splitlines() if not line.startswith("#")]
    hits = head.hits(queries)
    ours = zip(*(column.tolist() for column in (hits.query, hits.target, hits.score)), strict=True)
    assert len(rows) > 10
    assert {(f"{q}", f"{t}", f"{s:.1f}") for q, t, s in ours} == {(row[0], row[2], row[5]) for row in rows}


def test_a_family_of_one_member_has_a_profile_of_hmmbuild(tmp_path: Path) -> None:
    needs("hmmbuild")
    pytest.importorskip("pyhmmer")
    members = random_proteins(3, seed=5)
    head = HmmTopPickHead().fit(members, ["a", "b", "b"])
    run_program("hmmbuild", "--amino", tmp_path / "made.hmm", fasta(tmp_path / "one.fasta", members[:1]))
    body = [line for line in (tmp_path / "made.hmm").read_text().splitlines() if line[:1] in " L"]
    ours = [line for line in head.texts()["profiles"].split("//")[0].splitlines() if line[:1] in " L"]
    assert ours == body


def test_all_that_hmmer_sees_has_one_alphabet_which_outlives_it() -> None:
    pyhmmer = pytest.importorskip("pyhmmer")
    members = families(12, n_families=2).X[::2]
    assert digital(enumerate(members)).alphabet is amino()
    assert align_family(members, "hmmer", pyhmmer.plan7.Builder(amino())).alphabet is amino()
    assert align_family(members[:1], "hmmer", pyhmmer.plan7.Builder(amino())).alphabet is amino()


def test_a_protein_beyond_hmmers_limit_is_named() -> None:
    pytest.importorskip("pyhmmer")
    long = "ACDEFGHIKLMNPQRSTVWY" * 5001
    X, y = families(8, n_families=2)
    message = r"at most 100,000 residues, and a (training )?protein has 100,020 \(ACDEF"
    with pytest.raises(InputError, match=message):
        HmmTopPickHead().fit(X, y).predict([*X, long])
    with pytest.raises(InputError, match=message):
        PhmmerHead().fit([*X, long], [*y, y[0]]).predict(X)


def test_queries_without_a_hit_get_a_second_search_without_filters() -> None:
    pytest.importorskip("pyhmmer")
    train, queries = families(60, **HARD), families(40, seed=2, changed=0.8).X
    once = HmmTopPickHead(second_pass=False).fit(*train)
    twice = HmmTopPickHead().fit(*train)
    first, both = once.has_prediction(queries), twice.has_prediction(queries)
    assert first.sum() < both.sum()
    np.testing.assert_array_equal(once.predict(queries)[first], twice.predict(queries)[first])


def test_what_does_not_pass_loose_filters_is_searched_without_any() -> None:
    pytest.importorskip("pyhmmer")
    queries = families(40, seed=2, changed=0.8).X
    without, loosely = (
        HmmTopPickHead(second_pass=how).fit(*families(60, **HARD)).hits(queries) for how in (True, "loose")
    )
    np.testing.assert_array_equal(loosely.has_hit, without.has_hit)
    # Scores are the same however a profile came to be compared.
    scores = dict(zip(zip(without.query, without.target, strict=True), without.score, strict=True))
    assert len(loosely) < len(without)
    assert all(scores[q, t] == s for q, t, s in zip(loosely.query, loosely.target, loosely.score, strict=True))
    with pytest.raises(InputError, match="second_pass is 'max'; expected True, False or 'loose'"):
        HmmTopPickHead(second_pass="max").fit(*families(16))


@pytest.mark.parametrize("aligner", ["hmmer", "mafft", "famsa", "pyfamsa"])
def test_a_familys_alignment_has_every_residue_of_every_member(aligner: str) -> None:
    pyhmmer = pytest.importorskip("pyhmmer")
    if aligner == "pyfamsa":
        pytest.importorskip("pyfamsa")
    elif aligner != "hmmer":
        needs(aligner)
    members = [*families(12, n_families=2).X[::2], "MK", "UZOBXJ"]
    alignment = align_family(members, aligner, pyhmmer.plan7.Builder(pyhmmer.easel.Alphabet.amino())).textize()
    rows = dict(zip(alignment.names, alignment.alignment, strict=True))
    found = [rows[str(number)] for number in range(len(members))]
    assert [row.replace("-", "").replace(".", "").upper() for row in found] == members
    assert len({len(row) for row in found}) == 1


def test_an_unknown_aligner_and_one_that_is_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyhmmer")
    with pytest.raises(InputError, match="aligner is 'muscle'; expected one of pyfamsa, famsa, mafft, hmmer"):
        HmmTopPickHead(aligner="muscle").fit(*families(16))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingPackageError, match="famsa is not installed. Install it: `conda"):
        HmmTopPickHead(aligner="famsa").fit(*families(16))
    monkeypatch.setattr("heads.alignment.family_alignment.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="one of pyfamsa, famsa, mafft is needed, and none is installed"):
        HmmTopPickHead().fit(*families(16))


def test_profiles_are_made_of_the_alignment_that_is_given(tmp_path: Path) -> None:
    pyhmmer = pytest.importorskip("pyhmmer")
    X, y = families(24, **HARD)
    lines = []
    for family in np.unique(y):
        members = [protein for protein, label in zip(X, y, strict=True) if label == family]
        made = align_family(members, "hmmer", pyhmmer.plan7.Builder(amino())).textize()
        lines += [
            f"p{name},{members[int(name)]},{row.lower().replace('-', '.')}"
            for name, row in zip(made.names, made.alignment, strict=True)
        ]
    table = tmp_path / "families.csv"
    table.write_text("\n".join(["sequence_name,sequence,aligned_sequence", *lines]) + "\n")
    head, by_itself = HmmTopPickHead(alignment=table).fit(X, y), HmmTopPickHead(aligner="hmmer").fit(X, y)
    again = load(as_fitted_head(head).save(tmp_path / "head")).head
    np.testing.assert_array_equal(again.predict(X), head.predict(X))
    assert (head.settings()["aligner"], by_itself.settings()["aligner"]) == ("given", "hmmer")
    np.testing.assert_array_equal(head.hits(X).score, by_itself.hits(X).score)

    table.write_text("\n".join(["sequence_name,sequence,aligned_sequence", *lines[1:]]) + "\n")
    with pytest.raises(InputError, match=r"class '.*' \(.* proteins\): the alignment lacks 1 of its"):
        HmmTopPickHead(alignment=table).fit(X, y)
    table.write_text("sequence_name,sequence,aligned_sequence\np0,MKV,M-L\n")
    with pytest.raises(InputError, match="aligned_sequence of 'p0' is not its sequence with gaps"):
        HmmTopPickHead(alignment=table).fit(X, y)
    table.write_text("sequence_name,sequence\np0,MKV\n")
    with pytest.raises(InputError, match="aligner and alignment are both given"):
        HmmTopPickHead(alignment=table, aligner="mafft").fit(X, y)
    with pytest.raises(InputError, match="has no column 'aligned_sequence'"):
        HmmTopPickHead(alignment=table).fit(X, y)


def test_a_protein_of_two_families_has_the_row_of_each(tmp_path: Path) -> None:
    table = tmp_path / "families.csv"
    lines = ["a0,MKVLA,MKVLA--", "a1,MKVLAGG,MKVLAGG", "b0,MKVLA,--MKVLA-", "b1,AAMKVLAA,AAMKVLAA"]
    table.write_text("\n".join(["sequence_name,sequence,aligned_sequence", *lines]) + "\n")
    rows = read_alignment(table)
    assert list(select_aligned(["MKVLA", "MKVLAGG"], rows).textize().alignment) == ["MKVLA--", "MKVLAGG"]
    assert list(select_aligned(["MKVLA", "AAMKVLAA"], rows).textize().alignment) == ["--MKVLA-", "AAMKVLAA"]
    table.write_text("\n".join(["sequence_name,sequence,aligned_sequence", *lines[:2], "b0,MKVLA,--MKVLA"]) + "\n")
    with pytest.raises(InputError, match="of 'b0' differs from that of an equal sequence before it, and both have 7"):
        read_alignment(table)


@pytest.mark.parametrize("aligner", ["pyfamsa", "mafft"])
def test_a_family_is_aligned_in_the_same_way_twice(aligner: str) -> None:
    pytest.importorskip("pyhmmer")
    if aligner == "pyfamsa":
        pytest.importorskip("pyfamsa")
    else:
        needs(aligner)
    wide = families(60, n_families=4, changed=0.75)
    groups = [[protein for protein, label in zip(*wide, strict=True) if label == one] for one in np.unique(wide.y)]
    first, second = ([list(align_family(one, aligner, None).textize().alignment) for one in groups] for _ in range(2))
    assert first == second


def test_blastp_answers_as_blastp_run_by_hand(tmp_path: Path) -> None:
    needs("blastp", "makeblastdb")
    X, y = families(60, **HARD)
    queries = [*families(40, seed=2, **HARD).X, *ODD]
    database, asked = fasta(tmp_path / "t.fasta", X), fasta(tmp_path / "q.fasta", queries)
    subprocess.run(["makeblastdb", "-dbtype", "prot", "-in", database, "-out", tmp_path / "t"], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    command = ["blastp", "-outfmt", "10", "-max_hsps", "1", "-num_alignments", "1"]
    done = subprocess.run(
        [*command, "-query", asked, "-db", tmp_path / "t"], check=True, capture_output=True, text=True
    )
    lines = [line.split(",") for line in done.stdout.splitlines()]
    expected = np.full(len(queries), "", y.dtype)
    for line in lines:
        expected[int(line[0])] = y[int(line[1])]
    head = BlastpHead().fit(X, y)
    assert head.predict(queries).tolist() == expected.tolist()
    hits = head.hits(queries)
    assert [f"{score:g}" for score in hits.score.tolist()] == [f"{float(line[11]):g}" for line in lines]
    assert (expected != "").sum() > 10
    assert "" in expected


def test_smith_waterman_scores_what_parasail_scores() -> None:
    pytest.importorskip("pyopal")
    parasail = pytest.importorskip("parasail")
    X, y = families(24, **HARD)
    queries = [*families(6, seed=2, **HARD).X, "MKXBZ" * 12, "W" * 300]
    hits = SmithWatermanHead(n_hits=24).fit(X, y).hits(queries)
    raw = np.round((hits.score * np.log(2) + np.log(0.041)) / 0.267).astype(int)
    for query, target, score in zip(hits.query.tolist(), hits.target.tolist(), raw.tolist(), strict=True):
        assert parasail.sw_striped_sat(queries[query], X[target], 11, 1, parasail.blosum62).score == score
    assert len(hits) > 150


@pytest.mark.parametrize("target_type", [BlastpHead, DiamondHead, MMseqsHead])
def test_a_missing_program_is_named_with_how_to_install_it(
    target_type: type[BlastpHead], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingPackageError, match=r"not found on the path. Install it: `apt-get install .*bioconda"):
        target_type().fit(*families(16))


def test_mmseqs_answers_and_drops_no_row() -> None:
    needs("mmseqs")
    head = MMseqsHead().fit(*families(60))
    X, y = families(16, seed=2)
    found = head.predict([*ODD, *X])
    assert found[len(ODD) :].tolist() == y.tolist()
    assert found[0] is None


@pytest.mark.parametrize("target_type", [BlastpHead, DiamondHead, MMseqsHead])
@pytest.mark.parametrize("length", [1, 9, 10])
def test_peptides_too_short_to_be_found_are_no_hits(target_type: type[BlastpHead], length: int) -> None:
    needs(*target_type.programs)
    peptides = [protein[:length] for protein in random_proteins(12, seed=0)]
    head = target_type().fit(peptides, ["a", "b"] * 6)
    assert head.predict_proba([*peptides[:2], *families(2).X]).shape == (4, 2)


def test_training_proteins_without_a_seed_are_no_hits() -> None:
    needs("mmseqs")
    head = MMseqsHead().fit(["X" * 30, "X" * 25], ["a", "b"])
    assert not head.has_prediction(families(2).X).any()


@pytest.mark.parametrize("target_type", [BlastpHead, DiamondHead, MMseqsHead])
def test_a_temporary_directory_may_have_blanks_in_its_name(
    target_type: type[BlastpHead], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(*target_type.programs)
    (tmp_path / "my files").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "my files"))
    X, y = families(24)
    assert target_type().fit(X, y).predict(X[:6]).tolist() == y[:6].tolist()


def test_only_the_best_families_of_a_query_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyhmmer")
    head = HmmTopPickHead(aligner="hmmer").fit(*families(60))
    # The second pass gives every family to each of these.
    strangers = random_proteins(5, seed=4)
    every = head.hits(strangers)
    monkeypatch.setattr("heads.alignment.hmm_top_pick._MAX_HITS", 2)
    monkeypatch.setattr("heads.alignment.hmm_top_pick._HITS_AT_ONCE", 3)
    best = head.hits(strangers)
    assert len(every) > len(best) == 10
    np.testing.assert_array_equal(best.target, every.top(2).target)
    np.testing.assert_array_equal(best.score, every.top(2).score)


def test_a_program_that_fails_is_an_error_with_its_last_words() -> None:
    with pytest.raises(WorkerDiedError, match="ls ended with code 2 and said: .*no-such-folder"):
        run_program("ls", "/no-such-folder")


def test_the_database_goes_with_the_head() -> None:
    needs("diamond")
    head = DiamondHead().fit(*families(24))
    head.predict(families(4, seed=1).X)
    directory, gone = head._directory(), weakref.ref(head)
    assert directory.exists()
    del head
    assert gone() is None
    assert not directory.exists()


def test_votes_are_sums_of_bits() -> None:
    members = csr_array(np.eye(2, dtype=bool)[[0, 1, 1]])
    hits = hits_of(2, [0, 0, 0], [0, 1, 2], [50, 40, 30], [0, 0, 0])
    assert class_scores(hits, members).code.tolist() == [0, 1]
    voted = class_scores(hits, members, n_votes=3)
    assert voted.code.tolist() == [1, 0]
    assert voted.score.tolist() == [70, 50]


def scores_of(*rows: list[tuple[int, float]]) -> ClassScores:
    query = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    flat = [hit for row in rows for hit in row]
    codes, bits = [code for code, _ in flat], [score for _, score in flat]
    return ClassScores(n_queries=len(rows), query=query, code=np.array(codes, int), score=np.array(bits, float))


def test_shares_grow_with_the_score_and_with_its_lead() -> None:
    weak, strong, close, nothing, tie = ScoreSoftmax(slope=3, floor=10).probabilities(
        scores_of([(1, 12)], [(1, 300)], [(1, 300), (2, 290)], [], [(3, 40), (0, 40)]), 5
    )
    assert 0.2 < weak[1] < 0.6 < 0.99 < strong[1]
    assert close[1] < 0.6
    assert close.argmax() == 1
    assert not nothing.any()
    assert tie.argmax() == 3, "the program's first hit leads"
    assert has_prediction(np.array([weak, nothing])).tolist() == [True, False]


def test_a_best_hit_below_the_floor_still_leads() -> None:
    (shares,) = ScoreSoftmax(slope=3, floor=1000).probabilities(scores_of([(4, 20)]), 5)
    assert shares.argmax() == 4
    assert shares.sum() == pytest.approx(1)


def test_probabilities_are_as_often_right_as_they_say() -> None:
    rng = np.random.default_rng(0)
    bits = rng.uniform(15, 80, 2000)
    right = rng.random(2000) < bits**2 / (bits**2 + 30**2)
    codes = np.where(right, 0, rng.integers(1, 50, 2000))
    scores = scores_of(*([(0, score)] for score in bits.tolist()))
    fitted = fit_softmax(scores, codes, 50)
    shares = fitted.probabilities(scores, 50)[:, 0]
    for low, high in ((0.2, 0.5), (0.5, 0.7), (0.7, 0.9)):
        there = (shares > low) & (shares <= high)
        assert abs(shares[there].mean() - right[there].mean()) < 0.06


def test_several_labels_are_shared_out_by_score_and_by_share_of_the_best() -> None:
    shares = ScoreSigmoid().probabilities(scores_of([(0, 200), (1, 190), (2, 20)], []), 4)
    assert shares[0, 0] > shares[0, 1] > 0.5 > shares[0, 2] > shares[0, 3] == 0
    assert not shares[1].any()


def test_labels_of_the_best_hits_are_given_to_a_protein_that_may_have_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pyopal")
    labels = {"PF00000.0": ["a"], "PF00001.1": ["a", "b"], "PF00002.2": []}
    (X, y), (X_valid, y_valid), (queries, truth) = (families(n, seed=n, n_families=3) for n in (30, 24, 12))
    head = SmithWatermanHead(target_type="multilabel")
    searched: list[str] = []

    def search(queries: list[str]) -> Hits:
        searched.extend(queries)
        return SmithWatermanHead._search(head, queries)

    monkeypatch.setattr(head, "_search", search)
    head.fit(X, [labels[name] for name in y], X_valid, [labels[name] for name in y_valid])
    # Once for confidences and thresholds together.
    assert len(searched) == len(X_valid)
    assert [head.classes_[row].tolist() for row in head.predict(queries)] == [labels[name] for name in truth]
