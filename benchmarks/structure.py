"""Measure the structure of a checkout: sizes, layers, import circles, long signatures and retired words.

    python -m benchmarks.structure [CHECKOUT] [--json]

Reads the source alone, and runs none of it. Circles count imports inside functions, and leave out those under
``TYPE_CHECKING``, which are never executed.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("embedstore", "heads", "cli")
SMALL, LARGE, LONG_FUNCTION, MANY_PARAMETERS, FORWARDING_LINES = 60, 400, 60, 7, 30

RETIRED = [
    "told",
    "tell",
    "kept",
    "found",
    "one",
    "chosen",
    "there",
    "asked",
    "built",
    "ballots",
    "count_ballots",
    "contender",
    "contenders",
    "promise",
    "promises",
    "proof",
    "prove",
    "evidence",
    "obituary",
    "Death",
    "halves",
    "homes",
    "part_homes",
    "claims",
    "Claim",
    "alone",
    "AtWork",
    "gathering",
    "buckets",
    "Sieve",
    "intake",
    "Intake",
    "admit",
    "Tally",
    "judged",
    "judge",
    "drawn",
    "drawn_of",
    "Goal",
    "Material",
    "Standing",
    "Row",
    "lacking",
    "Lanes",
    "Attempt",
    "settle",
    "WriteBehind",
    "read_ahead",
    "blend",
    "LongPolicy",
    "KeptIndex",
    "kind_of",
    "searcher_of",
    "model_of",
    "Recipe",
    "pieces",
    "Effort",
    "Principal",
    "nothing_found",
    "Finding",
    "SplitRows",
    "rows_of",
    "BothFeatures",
    "even_lengths",
    "with_vectors",
    "Whole",
    "answered",
    "Labelled",
    "Annotator",
    "Judged",
    "Metric",
    "Measured",
    "mean_of",
    "KeptPromise",
    "Evidence",
    "Promise",
    "Proof",
    "grow",
    "Learnt",
    "Alone",
    "Several",
    "begin_linear",
    "Asked",
    "asked_rows",
    "question_labels",
    "embed_again",
    "ensemble_of",
    "takes_rows",
    "RowOptions",
]
"""Words of the old vocabulary that were names of variables, functions and classes."""


def modules(root: Path) -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(tree: ast.Module, known: dict[str, Path]) -> set[str]:
    """Modules of ours that a module imports anywhere, but under ``TYPE_CHECKING``."""
    names = set()
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            stack.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            # The package itself only where something else than its modules is taken from it.
            names |= inner & known.keys()
            names |= {node.module} if inner - known.keys() else set()
        stack.extend(ast.iter_child_nodes(node))
    return names


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph[name]:
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            component = []
            while not component or component[-1] != name:
                component.append(stack.pop())
            if len(component) > 1:
                components.append(sorted(component))

    for name in graph:
        if name not in order:
            visit(name)
    return components


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method."""
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def n_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Parameters but ``self`` and ``cls``."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    stars = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
    return sum(argument.arg not in ("self", "cls") for argument in named) + len(stars)


def takes_anything(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a public function takes keyword arguments that its signature does not name."""
    return not function.name.startswith("_") and function.args.kwarg is not None


def only_forwards(tree: ast.Module) -> bool:
    """Whether a module defines nothing of its own."""
    plain = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign, ast.AnnAssign, ast.If)
    return all(isinstance(node, plain) for node in tree.body)


def layers(root: Path) -> dict[str, int]:
    """Layers of each contract of import-linter that is about the inside of a package."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {
        row["containers"][0]: len(row["layers"]) for row in contracts if row["type"] == "layers" and "containers" in row
    }


def measure(root: Path) -> dict[str, Any]:
    """All figures of a checkout."""
    known = modules(root)
    texts = {name: path.read_text(encoding="utf-8") for name, path in known.items()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    n_lines = {name: text.count("\n") for name, text in texts.items()}
    rows: dict[str, dict[str, int]] = {}
    for package in (*PACKAGES, "all"):
        own = [name for name in known if package in ("all", name.split(".")[0])]
        every = [function for name in own for function in functions(trees[name])]
        rows[package] = {
            "lines": sum(n_lines[name] for name in own),
            "modules": len(own),
            f"modules under {SMALL} lines": sum(n_lines[name] < SMALL for name in own),
            f"modules over {LARGE} lines": sum(n_lines[name] > LARGE for name in own),
            "loose modules beside folders": sum(
                name.count(".") == 1 and known[name].name != "__init__.py" and not name.endswith("__main__")
                for name in own
            ),
            f"forwarding modules under {FORWARDING_LINES} lines": sum(
                n_lines[name] < FORWARDING_LINES and only_forwards(trees[name]) and known[name].name != "__init__.py"
                for name in own
            ),
            f"functions with more than {MANY_PARAMETERS} parameters": sum(
                n_parameters(f) > MANY_PARAMETERS for f in every
            ),
            f"functions over {LONG_FUNCTION} lines": sum(
                (f.end_lineno or 0) - f.lineno >= LONG_FUNCTION for f in every
            ),
            "public functions with **keywords": sum(takes_anything(f) for f in every),
        }
    graph = {name: imports(tree, known) - {name} for name, tree in trees.items()}
    words: Counter[str] = Counter()
    for text in texts.values():
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME and token.string in RETIRED:
                words[token.string] += 1
    return {
        "packages": rows,
        "layers": layers(root),
        "circles": circles(graph),
        "retired words": dict(words.most_common()),
        "uses of retired words": sum(words.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", nargs="?", type=Path, default=Path())
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.checkout.resolve())
    if given.json:
        print(json.dumps(figures, indent=1))
        return
    names = list(figures["packages"]["all"])
    print(f"{'':48}" + "".join(f"{package:>12}" for package in figures["packages"]))
    for name in names:
        print(f"{name:48}" + "".join(f"{row[name]:12,}" for row in figures["packages"].values()))
    print("layers:", ", ".join(f"{package} {n}" for package, n in figures["layers"].items()))
    print("import circles:", "; ".join(" - ".join(circle) for circle in figures["circles"]) or "none")
    print("uses of retired words:", figures["uses of retired words"])
    print("  ", ", ".join(f"{word} {n}" for word, n in list(figures["retired words"].items())[:25]))


if __name__ == "__main__":
    main()
