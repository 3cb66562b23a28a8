"""`lookup` on real proteins beside BLASTp and MMseqs2: accuracy, calibration, promised errors, unknown families.

    python -m benchmarks.bench_lookup DATA [--only pfam hard scop2 kog] [--models mini blastp ...] [--draws N]

In each draw a tenth of the families is left out of reference and calibration alike; a promise is then checked on test
proteins of known and of those unknown families, mixed as lookup assumes. No calibrator or threshold is fitted on
them. Each section is kept in ``results/lookup.json`` as soon as it is ready, model by model; what ``--limit`` makes
small, for programs that take hours, in ``results/lookup_limited.json``. Vectors and the programs' answers stay in
``--work``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.aligners import ALIGNERS
from benchmarks.harness import RESULTS, write_result
from benchmarks.judge_lookup.protocol import Splits, judge, seconds_per_thousand
from benchmarks.judge_lookup.searchers import ByAlignment, ByVectors, Searcher
from benchmarks.judge_mini.models import ModelVectors, VectorFinder
from benchmarks.judge_mini.sets import Data
from benchmarks.train_mini.data import order
from embedstore.models import load_model

MODELS = ("mini", "kmer", "blastp", "blastp_votes", "mmseqs", "mmseqs_votes")
PACKAGES = ("embedstore", "numpy", "scipy", "scikit-learn", "torch")
_ONE_IN = 10


def pfam(data: Data) -> Splits:
    """The random split."""
    return _splits(data, "pfam")


def hard(data: Data) -> Splits:
    """Clusters at 40% identity apart; there is no validation split, so a tenth of the training rows is held out.

    The held-out rows have near relatives among those that stay, which the test rows have not.
    """
    rows = data.split("pfam", "hard_train")
    spare = np.array([int.from_bytes(order(name)[:4], "big") % _ONE_IN == 0 for name in rows.columns["id"]])
    return Splits(train=rows.take(~spare), valid=rows.take(spare), test=data.split("pfam", "hard_valid", asked=True))


def scop2(data: Data) -> Splits:
    """Superfamilies at most 30% identical; the rare ones, which no split has, are strangers too."""
    plain = _splits(data, "scop2")
    return Splits(
        train=plain.train, valid=plain.valid, test=plain.test, strangers=data.split("scop2", "rare", asked=True)
    )


def kog(data: Data) -> Splits:
    """Four examples a group."""
    return _splits(data, "kog_cegma")


SECTIONS = {"pfam": pfam, "hard": hard, "scop2": scop2, "kog": kog}


def main() -> None:
    """Run the sections and write the JSON."""
    given = _arguments()
    given.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    data = Data(given.data, given.limit)
    name = "lookup" if given.limit is None else "lookup_limited"
    kept = _earlier(RESULTS / f"{name}.json")
    for section in given.only or SECTIONS:
        splits = SECTIONS[section](data)
        for model in given.models:
            started = time.monotonic()
            searcher = _searcher(model, given.work)
            found = judge(searcher, splits, draws=given.draws)
            if not model.endswith("_votes"):
                embed = searcher.finder.model.vectors if isinstance(searcher, ByVectors) else None
                found["seconds_per_thousand"] = seconds_per_thousand(searcher, splits, embed)
            found |= {"date": datetime.now(UTC).isoformat(timespec="seconds"), "program": _program(searcher)}
            kept.setdefault(section, {})[model] = found
            write_result(name, {"sections": kept}, packages=PACKAGES)
            print(f"[{section}, {model}: {time.monotonic() - started:.0f} s]")
            print(_shown(found), flush=True)


def _splits(data: Data, name: str) -> Splits:
    return Splits(
        train=data.split(name, "train"), valid=data.split(name, "valid"), test=data.split(name, "test", asked=True)
    )


def _searcher(model: str, work: Path) -> Searcher:
    plain = model.removesuffix("_votes")
    if plain in ALIGNERS:
        return ByAlignment(ALIGNERS[plain](work), with_votes=plain != model)
    return ByVectors(VectorFinder(model, ModelVectors(load_model(model, precision="float32")), work))


def _program(searcher: Searcher) -> str | None:
    return searcher.aligner.version if isinstance(searcher, ByAlignment) else None


def _shown(found: dict[str, Any]) -> str:
    def told(metric: dict[str, float]) -> str:
        return f"{metric['value']:.4f} [{metric['low']:.4f}, {metric['high']:.4f}]"

    lines = [f"  accuracy {told(found['accuracy'])}   calibration error {told(found['calibration_error'])}"]
    for rate, said in {"0.5 probable": found["at_half"], **found["max_error"]}.items():
        oracle = found["oracle"].get(rate, {}).get("coverage_known")
        lines.append(
            f"  {rate:>12}: error {told(said['error'])}  known {told(said['error_known'])}  "
            f"coverage {told(said['coverage_known'])}" + (f" (oracle {oracle:.3f})" if oracle is not None else "")
            + f"  unknown rejected {told(said['unknown_rejected'])}"
        )  # fmt: skip
    if "seconds_per_thousand" in found:
        lines.append(f"  seconds per 1,000 queries {found['seconds_per_thousand']}")
    return "\n".join(lines)


def _earlier(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))["sections"]) if path.exists() else {}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", choices=SECTIONS)
    parser.add_argument(
        "--models", "--model", nargs="+", default=MODELS, help=f"of {', '.join(MODELS)}, or the catalog"
    )
    parser.add_argument("--draws", type=int, default=1, help="of the families that are left out")
    parser.add_argument("--limit", type=int, help="test rows of each set, eight times as many training rows")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bench_lookup")
    return parser.parse_args()


if __name__ == "__main__":
    main()
