"""The architectures of DeepProtein, with their published figures for each task."""

from __future__ import annotations

from heads.published.table import COMPOSITION, KMER, ON_VARIANTS, Erratum, Figure, PublishedRow, PublishedTable
from heads.tasks.data import INPUTS
from heads.tasks.targets import KINDS

_CITATION = "Xie et al. 2025, DeepProtein: deep learning library for protein sequence learning, Bioinformatics 41"
_PAIRS = ("ppi_affinity", "yeast_ppi", "human_ppi")


def _rho(**values: float) -> tuple[Figure, ...]:
    """Published rank correlations by task."""
    return tuple(
        Figure(task=task, metric="spearman", value=value, printed=f"{value:.3f} rho") for task, value in values.items()
    )


def _accuracy(**values: float) -> tuple[Figure, ...]:
    return tuple(
        Figure(task=task, metric="accuracy", value=value, printed=f"{value:.3f}") for task, value in values.items()
    )


def _graph(name: str, head: str, figures: tuple[Figure, ...] = (), note: str = "") -> PublishedRow:
    return PublishedRow(name=name, head=head, params={"graph": "atoms"}, figures=figures, note=note)


DEEPPROTEIN = PublishedTable(
    name="deepprotein",
    title="DeepProtein",
    citation=_CITATION,
    target_types=KINDS,
    inputs=INPUTS,
    measured_on={
        "fluorescence": "DeepProtein's own test rows",
        "beta_lactamase": "DeepProtein's own test rows",
        "binary_localization": "DeepProtein's own test rows",
        "scl": "DeepProtein's own test rows, ten classes",
        "ppi_affinity": "DeepProtein's own test rows",
        "human_ppi": "DeepProtein's own test rows",
        "remote_homology": "its superfamily holdout; the test rows of this task are the fold-level holdout",
    },
    rows=(
        PublishedRow(name="CNN", head="deepprotein_cnn", figures=_rho(fluorescence=0.680, beta_lactamase=0.721)),
        PublishedRow(name="CNN-RNN (GRU)", head="deepprotein_cnn_rnn", params={"cell": "gru"}),
        PublishedRow(name="CNN-RNN (LSTM)", head="deepprotein_cnn_rnn", params={"cell": "lstm"}),
        PublishedRow(
            name="Transformer", head="deepprotein_transformer", figures=_rho(fluorescence=0.648, beta_lactamase=0.348)
        ),
        _graph("GCN", "gcn", _rho(fluorescence=0.397, beta_lactamase=0.417)),
        _graph("GAT", "gat"),
        _graph("NeuralFP", "neural_fp", _rho(fluorescence=0.413, beta_lactamase=0.133)),
        _graph("AttentiveFP", "attentive_fp"),
        _graph("MPNN", "mpnn"),
        _graph("graph transformer", "graph_transformer", note="replaces its PAGTN and Graphormer"),
        PublishedRow(
            name="frozen PLM + MLP",
            head="mlp",
            params={
                "hidden": (1024, 1024, 512),
                "dropout": 0.1,
                "learning_rate": 1e-4,
                "weight_decay": 0.0,
                "batch_rows": 32,
                "start": None,
            },
            note="mean-pooled vectors; here of the store's spaces, with early stopping",
        ),
        PublishedRow(
            name="DeepProt-T5",
            head="finetune",
            params={"preset": "deepprotein"},
            figures=(
                *_rho(beta_lactamase=0.873),
                *_accuracy(binary_localization=0.922, scl=0.827, human_ppi=0.764, remote_homology=0.738),
                Figure(task="ppi_affinity", metric="rmse", value=2.41, printed="RMSE 2.41"),
                Figure(task="ppi_affinity", metric="pearson", value=0.643, printed="Pearson 0.643"),
            ),
            note="the whole ProtT5 encoder is trained, which needs a GPU; a smaller model: finetune.model. Published "
            "with 30 to 50 epochs, batches of 10 to 16 and proteins cut at 300 residues",
        ),
        COMPOSITION,
        KMER,
        *ON_VARIANTS,
    ),
    errata=(
        Erratum(
            text="PEER's printed sizes of the sets of pairs count distinct chains, not pairs (affinity: 2,127, 212 and "
            "343 chains are 2,421, 203 and 326 pairs).",
            tasks=_PAIRS,
        ),
    ),
    notes=(
        "Networks from sequence: published with Adam at 1e-4 (graphs 1e-5), batches of 32, up to 100 epochs, seeds 7, "
        "42 and 100; here the same but for the seeds, with early stopping on the validation loss.",
        "The graph networks read the atom graph of the protein's SMILES, which has no 3D structure.",
        "Its networks on descriptors (amino-acid and pseudo-amino-acid composition, conjoint triad, quasi-sequence "
        "order) are not heads here; the composition baselines are the closest.",
    ),
)
"""DeepProtein's architectures, the simplest first, then baselines, of which it has none."""
