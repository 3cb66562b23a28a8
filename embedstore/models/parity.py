"""Checking on this machine that a model gives the vectors of its model card in any batch, order and precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.catalog import suggest_arguments
from embedstore.errors import InputError
from embedstore.models.base import STANDARD_RESIDUES, Model

TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 6e-2}
"""Largest ``|a - b| / |b|`` (Euclidean) between a vector computed alone and in a batch, by precision.

Padding changes the order of sums, and depth multiplies what that changes. Measured on random checkpoints, whose T5 has
harder attention than a trained one: ESM-2 of 33 layers 1e-6 in float32 and 2e-2 in bfloat16, ProtT5 of 24 layers 5e-6
and 4e-2; float16 was not measured. A batch without its mask moves vectors by more than 0.1.
"""

PARITY_TOLERANCE = 1e-4
"""The same between a residue's state here and under the model card's recipe, both in float32.

Measured as above: 1e-6 and 2e-5. What is wrong (a shifted slice, a mask, a token) moves states by 0.01 or more.
"""

LEAST_COSINE = {"float32": 0.999999, "float16": 0.9999, "bfloat16": 0.99}
"""Least cosine between a vector in a precision and in float32; ProtT5 as above 0.994 in bfloat16."""

LARGEST_STORED = 65_504.0
"""Largest number that float16 holds."""

STORED_COSINE = 0.999999
"""Least cosine between a vector and what float16 keeps of it."""

PROTEINS = {
    "ubiquitin, human": b"MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG",
    "preproinsulin, human": (
        b"MALWMRLLPLLALLALWGPDPAAAFVNQHLCGSHLVEALYLVCGERGFFYTPKTRREAEDLQVGQVELGGGPGAGSLQPLALEGSLQKRGIVEQCCTSICSLYQL"
        b"ENYCN"
    ),
    "lysozyme, hen": (
        b"KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWWCNDGRTPGSRNLCNIPCSALLSSDITASVNCAKKIVSDGNGM"
        b"NAWVAWRNRCKGTDVQAWIRGCRL"
    ),
    "green fluorescent protein": (
        b"MSKGEELFTGVVPILVELDGDVNGHKFSVSGEGEGDATYGKLTLKFICTTGKLPVPWPTLVTTFSYGVQCFSRYPDHMKQHDFFKSAMPEGYVQERTIFFKDDGN"
        b"YKTRAEVKFEGDTLVNRIELKGIDFKEDGNILGHKLEYNYNSHNVYIMADKQKNGIKVNFKIRHNIEDGSVQLADHYQQNTPIGDGPVLLPDNHYLSTQSALSKD"
        b"PNEKRDHMVLLEFVTAAGITHGMDELYK"
    ),
    "titin, domain I27": (b"LIEVEKPLYGVEVFVGETAHFEIELSEPDVHGQWKLKGQPLTASPDCEIIEDGKKHILILHNCQLGMTGEVSFQAANAKSAANLKVKEL"),
    "haemoglobin, beta chain, human": (
        b"MVHLTPEEKSAVTALWGKVNVDEVGGEALGRLLVVYPWTQRFFESFGDLSTPDAVMGNPKVKAHGKKVLGAFSDGLAHLDNLKGTFATLSELHCDKLHVDPENF"
        b"RLLGNVLVCVLAHHFGKEFTPPVQAAYQKVVAGVANALAHKYH"
    ),
    "glutathione peroxidase 1, human, with selenocysteine": (
        b"MCAARLAAAAAAAQSVYAFSARPLAGGEPVSLGSLRGKVLLIENVASLUGTTVRDYTQMNELQRRLGPRGLVVLGFPCNQFGHQENAKNEEILNSLKYVRPGGGF"
        b"EPNFMLFEKCEVNGAGAHPLFAFLREALPAPSDDATALMTDPKLITWSPVCRNDVAWNFEKFLVGPDGVPLRRYSRRFQTIDIEPDIEALLSQGPSCA"
    ),
    "every rare letter": b"MUZOBXK",
    "one residue": b"W",
}
"""What is checked by default: real proteins of 76 to 238 residues (UniProt; PDB 1TIT), and odd ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityCheck:
    """One thing that was measured.

    ``found`` is held against ``tolerance``, as a largest or a least value; ``problem`` is empty, or says what is wrong.
    """

    check: str
    found: float
    tolerance: float
    bound: str
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is within its tolerance."""
        return not self.problem


@dataclass(slots=True, kw_only=True)
class CheckReport:
    """What `check` measured of a model: its identity, facts, findings, and what could not be checked."""

    model: str
    identity: dict[str, Any]
    facts: dict[str, Any]
    findings: list[ParityCheck] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """Reasons not to trust the vectors."""
        return [finding.problem for finding in self.findings if finding.problem]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {"ok": self.ok, "problems": self.problems, **asdict(self)}


@suggest_arguments
def check(model: Model, sequences: Sequence[bytes] | None = None) -> CheckReport:
    """Measure whether a model's vectors are right on this machine.

    Parameters
    ----------
    model
        From `embedstore.models.load_model`.
    sequences
        Upper-case residues; by default :data:`PROTEINS`.

    Returns
    -------
    CheckReport
        Parity with the model card's own loop in float32 (residue by residue), vectors alone against vectors in a mixed
        batch, in another order and in a second run, what the precision costs, what float16 storage costs, whether each
        of the twenty residues has its own vector, whether unknown letters and long proteins are handled as declared.

    Raises
    ------
    InputError
        If no sequence is left that the model takes.

    Examples
    --------
    >>> from embedstore.models import load_model
    >>> check(load_model("kmer")).ok
    True
    """
    report = CheckReport(model=model.name, identity=model.identity(), facts=_facts(model))
    usable = _usable(model, list(PROTEINS.values()) if sequences is None else list(sequences), report)
    _check_against_float32(model, usable, report)
    mixed = _embed(model, usable)
    precision = str(report.identity["precision"])
    _check_invariance(model, usable, mixed, report, tolerance=TOLERANCE[precision])
    _check_storage(mixed, report)
    _check_letters(model, report)
    _check_longest(model, report)
    return report


def _facts(model: Model) -> dict[str, Any]:
    return {
        "dim": model.dim,
        "longest": model.max_residues,
        "window": model.window_residues,
        "poolings": list(model.poolings),
        "batch_residues": model.batch_residues,
        "unknown_letters": model.unknown_letters.decode(),
        "device": str(getattr(model, "device", "cpu")),
    }


def _usable(model: Model, sequences: list[bytes], report: CheckReport) -> list[bytes]:
    limit = model.max_residues
    usable = [sequence for sequence in sequences if limit is None or len(sequence) <= limit]
    if len(usable) < len(sequences):
        report.notes.append(f"{len(sequences) - len(usable)} of {len(sequences)} sequences are too long and left out")
    if not usable:
        raise InputError(f"No sequence to check {model.name!r} with; give at least one of up to {limit} residues.")
    report.facts["n_sequences"] = len(usable)
    return usable


def _check_against_float32(model: Model, sequences: list[bytes], report: CheckReport) -> None:
    """Parity of the float32 states with the recipe, and of the model's precision with float32."""
    # torch and transformers: a model without weights is checked without them.
    if report.identity["family"] == "kmer":
        report.notes.append("no model card to compare with: the vectors are defined by the code itself")
        return
    from embedstore.models.encoder_model import EncoderModel

    if not isinstance(model, EncoderModel):
        report.notes.append("no recipe to compare with: the model is not one of embedstore's families")
        return
    exact = model.in_precision("float32")
    report.findings += _parity(exact, sequences, report)
    if exact is not model:
        cosines = _cosines(_embed(model, sequences), _embed(exact, sequences))
        report.facts["precision_cosine_mean"] = float(cosines.mean())
        report.findings.append(
            _at_least(f"cosine of {model.precision} with float32", float(cosines.min()), LEAST_COSINE[model.precision])
        )


def _parity(exact: Any, sequences: list[bytes], report: CheckReport) -> Iterator[ParityCheck]:
    from embedstore.models.reference import intermediate_layer, reference_of

    # A run of letters that a tokenizer does not know becomes one token: the recipe loses count.
    comparable = [sequence for sequence in sequences if not set(sequence) & set(b"*J")]
    if len(comparable) < len(sequences):
        report.notes.append(f"{len(sequences) - len(comparable)} sequences with J or * have no recipe to compare with")
    if not comparable:
        return
    recipe, layer = reference_of(exact), intermediate_layer(exact)
    largest, least = 0.0, 1.0
    for chunk in _chunks(comparable, exact.batch_residues):
        for sequence, states in zip(chunk, exact.embed_residues(chunk), strict=True):
            expected = recipe.residues(sequence, layer=layer)
            largest = max(largest, relative_distance(states, expected))
            least = min(least, float(_cosines(states, expected).min()))
    yield _at_most("distance from the model card's recipe, float32", largest, PARITY_TOLERANCE)
    yield _at_least("cosine with the model card's recipe, float32", least, LEAST_COSINE["float32"])


def _check_invariance(
    model: Model, sequences: list[bytes], mixed: NDArray[np.float32], report: CheckReport, *, tolerance: float
) -> None:
    alone = np.vstack([model.embed([sequence]) for sequence in sequences])
    order = np.random.default_rng(0).permutation(len(sequences))
    shuffled = _embed(model, [sequences[row] for row in order])
    # Equal bits are guaranteed only on a CPU.
    run_tolerance = 0.0 if report.facts["device"] == "cpu" else tolerance
    report.findings += [
        _at_most("distance of alone from in a batch", relative_distance(mixed, alone), tolerance),
        _at_most("distance of another order", relative_distance(shuffled, mixed[order]), tolerance),
        _at_most("distance of a second run", relative_distance(_embed(model, sequences), mixed), run_tolerance),
    ]


def _check_storage(vectors: NDArray[np.float32], report: CheckReport) -> None:
    largest = float(np.abs(vectors).max())
    report.findings.append(_at_most("largest number, for float16", largest, LARGEST_STORED))
    if largest <= LARGEST_STORED:
        stored = vectors.astype(np.float16).astype(np.float32)
        report.findings.append(
            _at_least("cosine after float16 storage", float(_cosines(stored, vectors).min()), STORED_COSINE)
        )


def _check_letters(model: Model, report: CheckReport) -> None:
    residues = model.embed([bytes([letter]) for letter in STANDARD_RESIDUES])
    n_distinct = len(np.unique(np.round(residues, 4), axis=0))
    report.findings.append(_at_least("residues with a vector of their own", n_distinct, len(STANDARD_RESIDUES)))
    if model.unknown_letters:
        vectors = model.embed([b"MKV" + bytes([letter]) + b"LAT" for letter in model.unknown_letters])
        n_finite = int(np.isfinite(vectors).all(axis=1).sum())
        report.findings.append(_at_least("unknown letters that are embedded", n_finite, len(model.unknown_letters)))


def _check_longest(model: Model, report: CheckReport) -> None:
    if model.max_residues is None:
        return
    try:
        model.embed([b"M" * (model.max_residues + 1)])
        refused = 0
    except InputError:
        refused = 1
    report.findings.append(_at_least(f"{model.max_residues + 1:,} residues are refused", refused, 1))


def _at_most(name: str, found: float, tolerance: float) -> ParityCheck:
    wrong = "" if found <= tolerance else f"{name}: {found:.3g}; expected at most {tolerance:.3g}."
    return ParityCheck(check=name, found=found, tolerance=tolerance, bound="at most", problem=wrong)


def _at_least(name: str, found: float, tolerance: float) -> ParityCheck:
    wrong = "" if found >= tolerance else f"{name}: {found:.7g}; expected at least {tolerance:.7g}."
    return ParityCheck(check=name, found=found, tolerance=tolerance, bound="at least", problem=wrong)


def _embed(model: Model, sequences: Sequence[bytes]) -> NDArray[np.float32]:
    return np.vstack([model.embed(chunk) for chunk in _chunks(sequences, model.batch_residues)])


def _chunks(sequences: Sequence[bytes], budget: int) -> Iterator[list[bytes]]:
    """Batches in the order given, so that lengths mix and short rows are padded."""
    chunk: list[bytes] = []
    for sequence in sequences:
        if chunk and (len(chunk) + 1) * max(map(len, [*chunk, sequence])) > budget:
            yield chunk
            chunk = []
        chunk.append(sequence)
    yield chunk


def relative_distance(vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest relative Euclidean distance between rows of two (n, D) matrices; NaN counts as infinite.

    >>> relative_distance(np.array([[3.0, 4.0]], dtype=np.float32), np.array([[3.0, 4.5]], dtype=np.float32)) < 0.1
    True
    """
    ratios = np.linalg.norm(vectors - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return float(np.where(np.isnan(ratios), np.inf, ratios).max())


def _cosines(vectors: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) cosine between rows of two (n, D) matrices, in float64."""
    a, b = vectors.astype(np.float64), expected.astype(np.float64)
    products: NDArray[np.float64] = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return products
