"""Lineage keys: what a result was made from, in twelve characters.

A key covers a rule's own settings, the code it can reach, the user files that enter at it, and the
keys of the jobs before it. It stands in `params.key` of every rule, so that Snakemake reruns a job
when, and only when, one of these changes, even after a failed run has deleted an intermediate file.
Paths, hosts, dates and `runtime` are never part of it.
"""

import ast
import hashlib
import json
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).parent
HARNESS = frozenset({"taxaforge.adapter", "taxaforge.tracking"})
"""Modules around a job that cannot change what it computes; their edits rerun nothing."""
ALTERNATIVES, SHARED = "taxaforge.guidance.methods", "shared"
"""A package of which a job runs one module, and the module of it that all of them import."""


def plain(value: object) -> object:
    """The value as canonical JSON types, dictionaries sorted.

    Snakemake compares `repr`s, so order and type must not drift. Raises TypeError for a Path, a
    numpy number, a model or a set, ValueError for NaN: changes in those would go unnoticed.
    """
    return json.loads(json.dumps(value, sort_keys=True, allow_nan=False))


def key(*parts: object) -> str:
    """Twelve hex digits over plain values; see `plain` for what is refused.

    >>> key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(plain(parts)).encode()).hexdigest()[:12]


def fingerprint(adapter: Path, alternative: str = "") -> str:
    """A key over the adapter and every module of this package that it can import.

    Imports are followed statically, wherever they stand in a file. Comments, docstrings and
    formatting have no effect; neither have dynamic imports, package data and HARNESS.

    Args: alternative: the one module of ALTERNATIVES that the job runs; "": any of them.
    Raises FileNotFoundError for an adapter that does not exist.
    """
    return _fingerprint(adapter, PACKAGE, alternative)


def closure(adapter: Path, alternative: str = "") -> set[str]:
    """Names of the package's modules that `fingerprint` covers."""
    return set(_walk(adapter, PACKAGE, alternative)) - {adapter.stem}


@cache
def _fingerprint(adapter: Path, package: Path, alternative: str) -> str:
    return key(_walk(adapter, package, alternative))


def _walk(adapter: Path, package: Path, alternative: str = "") -> dict[str, str]:
    digests, waiting = {}, [(adapter.stem, adapter)]
    while waiting:
        name, path = waiting.pop()
        if name in digests:
            continue
        digests[name], imported = _scan(path, name)
        for other in imported:
            harness = any(other == module or other.startswith(module + ".") for module in HARNESS)
            file = None if harness or _not_run(other, alternative) else _module_file(other, package)
            if file:
                waiting.append((other, file))
    return digests


def _not_run(name: str, alternative: str) -> bool:
    """Is this a module of ALTERNATIVES other than the one that runs?"""
    prefix, _, own = name.rpartition(".")
    return bool(alternative) and prefix == ALTERNATIVES and own not in (alternative, SHARED)


def _module_file(name: str, package: Path) -> Path | None:
    """The file of a module of this package; None for every other name."""
    if name.split(".")[0] != "taxaforge":
        return None
    base = package.joinpath(*name.split(".")[1:])
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


@cache
def _scan(path: Path, name: str) -> tuple[str, frozenset[str]]:
    """(digest of the code without docstrings, every name it may import, parents included)."""
    tree = ast.parse(path.read_text("utf-8"))
    parent = name if path.name == "__init__.py" else name.rpartition(".")[0]
    names = {name}
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                base = resolve_name("." * node.level + (node.module or ""), parent) if node.level else node.module
                names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node, clean=False) is not None:
                    node.body = node.body[1:] or [ast.Pass()]
    for full in list(names):
        parts = full.split(".")
        names |= {".".join(parts[:end]) for end in range(1, len(parts))}
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest(), frozenset(names)
