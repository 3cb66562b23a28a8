"""One contender in a process of its own: what it takes of processor time and memory, and how well it predicts.

    python -m benchmarks.judge_heads.contenders '{"folder": ..., "name": ..., ...}'

Prints one line of JSON. Reading and converting the vectors is not timed for the libraries, which want them in memory;
for our heads, which stream, it is.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.base import make_head
from heads.features.base import ArrayFeatures

Array = NDArray[Any]


class Rows:
    """Training and validation rows of a folder."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "about.json").read_text())
        self.n_rows, self.dim, self.n_classes = about["n_rows"], about["dim"], about["n_classes"]
        self.stored = np.memmap(folder / "train.f16", np.float16, mode="r", shape=(self.n_rows, self.dim))
        self.y = np.load(folder / "train_y.npy")
        self.X_valid = np.load(folder / "valid.npy")
        self.y_valid = np.load(folder / "valid_y.npy")

    def in_memory(self) -> NDArray[np.float32]:
        """All training rows as float32."""
        return np.asarray(self.stored, np.float32)


class Clock:
    """Processor time of this process, and the moments at which a model is looked at without the clock running."""

    def __init__(self, budget_s: float) -> None:
        self.budget_s, self.paused = budget_s, 0.0
        self.started = time.process_time()

    def seconds(self) -> float:
        """Since the start, less the pauses."""
        return time.process_time() - self.started - self.paused

    def over(self) -> bool:
        """Whether the budget is spent."""
        return self.seconds() > self.budget_s

    def look(self, function: Callable[[], float]) -> float:
        """Call something off the clock."""
        before = time.process_time()
        found = function()
        self.paused += time.process_time() - before
        return found


def epochs(
    rows: Rows,
    step: Callable[[Array, Array], object],
    predict: Callable[[Array], Array],
    clock: Clock,
    goal: float,
    *,
    batch: int,
) -> dict[str, Any]:
    """Train on shuffled batches until the validation rows are predicted as well as asked, or the budget is spent."""
    X = rows.in_memory()
    clock.started = time.process_time()
    accuracy, seen, n_epochs, next_look = 0.0, 0, 0, rows.n_rows // 2
    while not clock.over() and accuracy < goal:
        order = np.random.default_rng(n_epochs).permutation(rows.n_rows)
        for start in range(0, rows.n_rows, batch):
            chosen = order[start : start + batch]
            step(X[chosen], rows.y[chosen])
            seen += len(chosen)
            if seen >= next_look or clock.over():
                accuracy = clock.look(lambda: float((predict(rows.X_valid) == rows.y_valid).mean()))
                next_look += rows.n_rows // 2
                if accuracy >= goal or clock.over():
                    break
        n_epochs += 1
    return {
        "cpu_s": clock.seconds(),
        "valid_accuracy": accuracy,
        "epochs": seen / rows.n_rows,
        "cpu_s_an_epoch": clock.seconds() * rows.n_rows / max(1, seen),
        "reached": accuracy >= goal,
    }


def data_loader(rows: Rows, clock: Clock, goal: float) -> dict[str, Any]:
    """biotrainer's logistic regression: one linear layer, Adam at 1e-3, batches of 128 from a DataLoader of rows."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    class Proteins(TensorDataset):
        """A tensor a row, as biotrainer holds them."""

    torch.manual_seed(0)
    data = Proteins(torch.from_numpy(rows.in_memory()), torch.from_numpy(rows.y))
    model = torch.nn.Linear(rows.dim, rows.n_classes)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = torch.nn.CrossEntropyLoss()
    valid = torch.from_numpy(rows.X_valid)

    def accuracy_now() -> float:
        with torch.no_grad():
            return float((model(valid).argmax(dim=1).numpy() == rows.y_valid).mean())

    clock.started = time.process_time()
    accuracy, seen, next_look = 0.0, 0, rows.n_rows // 2
    while not clock.over() and accuracy < goal:
        for x, y in DataLoader(data, batch_size=128, shuffle=True):
            optimiser.zero_grad()
            loss_of(model(x), y).backward()
            optimiser.step()
            seen += len(y)
            if seen >= next_look or clock.over():
                accuracy = clock.look(accuracy_now)
                next_look += rows.n_rows // 2
                if accuracy >= goal or clock.over():
                    break
    return {
        "cpu_s": clock.seconds(),
        "valid_accuracy": accuracy,
        "epochs": seen / rows.n_rows,
        "cpu_s_an_epoch": clock.seconds() * rows.n_rows / max(1, seen),
        "reached": accuracy >= goal,
    }


def sgd(rows: Rows, clock: Clock, goal: float) -> dict[str, Any]:
    """scikit-learn's SGDClassifier with log-loss, a thousand rows a call."""
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(loss="log_loss", random_state=0)
    classes = np.arange(rows.n_classes)
    return epochs(rows, lambda X, y: model.partial_fit(X, y, classes=classes), model.predict, clock, goal, batch=1000)


def mlp_classifier(rows: Rows, clock: Clock, goal: float) -> dict[str, Any]:
    """scikit-learn's MLPClassifier with one hidden layer of 256, batches of 200."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((256,), random_state=0, batch_size=200)
    classes = np.arange(rows.n_classes)
    return epochs(rows, lambda X, y: model.partial_fit(X, y, classes=classes), model.predict, clock, goal, batch=2000)


def lda(rows: Rows, clock: Clock, goal: float) -> dict[str, Any]:
    """scikit-learn's LinearDiscriminantAnalysis with its default solver."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return whole(rows, LinearDiscriminantAnalysis(), clock, goal)


def logistic(rows: Rows, clock: Clock, goal: float, *, iterations: int) -> dict[str, Any]:
    """scikit-learn's LogisticRegression, a few iterations of L-BFGS."""
    import warnings

    from sklearn.linear_model import LogisticRegression

    warnings.simplefilter("ignore")
    return whole(rows, LogisticRegression(max_iter=iterations), clock, goal) | {"iterations": iterations}


def whole(rows: Rows, model: Any, clock: Clock, goal: float) -> dict[str, Any]:
    """A model that is fitted by one call."""
    X = rows.in_memory()
    clock.started = time.process_time()
    model.fit(X, rows.y)
    seconds = clock.seconds()
    accuracy = float((model.predict(rows.X_valid) == rows.y_valid).mean())
    return {"cpu_s": seconds, "valid_accuracy": accuracy, "reached": accuracy >= goal}


def ours(rows: Rows, clock: Clock, goal: float, *, head: str, params: dict[str, Any]) -> dict[str, Any]:
    """A head of the catalog on the stored vectors; half of the validation rows are given to it to choose on."""
    model = make_head(head, params)
    half = len(rows.y_valid) // 2
    clock.started = time.process_time()
    model.fit(ArrayFeatures(rows.stored), rows.y, rows.X_valid[:half], rows.y_valid[:half])
    seconds = clock.seconds()
    accuracy = float((model.predict(rows.X_valid[half:]) == rows.y_valid[half:]).mean())
    return {
        "cpu_s": seconds,
        "valid_accuracy": accuracy,
        "reached": accuracy >= goal,
        "settings": {name: value for name, value in model.settings().items() if isinstance(value, int | float | str)},
    }


def ridge(rows: Rows, clock: Clock, goal: float, *, which: str) -> dict[str, Any]:
    """A number from the vectors: ours with 25 penalties against scikit-learn's RidgeCV with as many."""
    weights = np.random.default_rng(5).normal(size=rows.dim)
    X = rows.in_memory()
    y = (X @ weights + 3 * np.random.default_rng(6).normal(size=rows.n_rows)).astype(np.float64)
    y_valid = rows.X_valid @ weights
    if which == "ours":
        del X
        model: Any = make_head("linear", target_type="regression")
        clock.started = time.process_time()
        model.fit(ArrayFeatures(rows.stored), y)
    else:
        from sklearn.linear_model import RidgeCV

        model = RidgeCV(alphas=np.geomspace(1e-2, 1e6, 25))
        clock.started = time.process_time()
        model.fit(X, y)
    seconds = clock.seconds()
    error = float(np.sqrt(np.mean((model.predict(rows.X_valid) - y_valid) ** 2)))
    return {"cpu_s": seconds, "alpha": float(model.alpha_), "valid_rmse": error}


CONTENDERS: dict[str, Callable[..., dict[str, Any]]] = {
    "ours": ours,
    "sklearn_lda": lda,
    "sklearn_logistic": logistic,
    "sklearn_sgd": sgd,
    "sklearn_mlp": mlp_classifier,
    "data_loader": data_loader,
    "ridge": ridge,
}


def peak_bytes() -> int:
    """Most memory that this process has held; pages of the mapped file count while they are there."""
    # Not from getrusage, which a child process inherits from its parent.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    """Run what the argument says."""
    asked = json.loads(sys.argv[1])
    rows = Rows(Path(asked["folder"]))
    before = peak_bytes()
    clock = Clock(asked["budget_s"])
    found = CONTENDERS[asked["contender"]](rows, clock, asked["goal"], **asked.get("options", {}))
    found |= {"peak_bytes": peak_bytes(), "before_bytes": before}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
