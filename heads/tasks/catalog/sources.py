"""Where the files of several tasks come from, and who is to be cited for them."""

from __future__ import annotations

from heads.tasks.spec import RemoteFile

PEER = "Xu et al. 2022, PEER: a comprehensive and multi-task benchmark for protein sequence understanding, NeurIPS"
TAPE = "Rao et al. 2019, Evaluating protein transfer learning with TAPE, NeurIPS"
FLIP = "Dallago et al. 2021, FLIP: benchmark tasks in fitness landscape inference for proteins, NeurIPS"
TDC = "Huang et al. 2021, Therapeutics Data Commons, NeurIPS"

PEER_URL = "https://github.com/DeepGraphLearning/PEER_Benchmark"
FLIP_URL = "https://github.com/J-SNACKKB/FLIP"
TDC_URL = "https://tdcommons.ai"

PEER_LAYOUT = "LMDB (not read here): convert to CSV with columns id, sequence, label in train.csv, valid.csv, test.csv"
FLIP_LAYOUT = "CSV with columns sequence, target, set, validation; or FASTA headers with SET=, VALIDATION=, TARGET="
PAIR_LAYOUT = "LMDB (not read here): convert to CSV with columns id, sequence, sequence_2, label"

_FLIP_COMMIT = "62cace8735f5610e2743cf06ce0f944b37fffaa6"
_BENCHMARKS = ("nadavbra/protein_bert", "83198c99f18147c126f16f504e53e2201a6256e4", "protein_benchmarks/")


def github(repository: str, commit: str, path: str, name: str, sha256: str | None, *members: str) -> RemoteFile:
    """A file of a repository at one commit."""
    url = f"https://raw.githubusercontent.com/{repository}/{commit}/{path}"
    return RemoteFile(url=url, name=name, sha256=sha256, members=members)


def flip(folder: str, sha256: str | None, *members: str) -> tuple[RemoteFile, ...]:
    """The zip archive of a FLIP landscape, and the files in it that are wanted."""
    return (github("J-SNACKKB/FLIP", _FLIP_COMMIT, f"splits/{folder}/splits.zip", "splits.zip", sha256, *members),)


def benchmark(stem: str, **sha256: str) -> tuple[RemoteFile, ...]:
    """CSV files of a task, one a split, as ProteinBERT's repository has them."""
    repository, commit, folder = _BENCHMARKS
    return tuple(
        github(repository, commit, f"{folder}{stem}.{split}.csv", f"{split}.csv", found)
        for split, found in sha256.items()
    )
