"""Keys and fingerprints: what changes them, and what does not."""

from pathlib import Path

import numpy as np
import pytest

from taxaforge.lineage import _walk, closure, fingerprint, key, plain

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("value", [Path("a"), np.int64(3), {1, 2}, float("nan"), object()])
def test_values_whose_changes_snakemake_would_miss_are_refused(value):
    with pytest.raises((TypeError, ValueError)):
        plain({"x": value})


def test_a_key_is_stable_across_machines_and_sessions():
    # printf '["train", {"a": null, "b": [1, 2.5]}]' | sha256sum
    assert key("train", {"b": [1, 2.5], "a": None}) == "94813b3a9ec6"


@pytest.fixture
def package(tmp_path):
    """A small package called taxaforge, and an adapter outside it."""
    files = {
        "__init__.py": "",
        "a.py": '"""Doc."""\nfrom taxaforge.b import f\n\n\ndef g():\n    """Doc."""\n    from . import c\n    return f(c)\n',
        "b.py": "import json\n\n\ndef f(x):\n    return x\n",
        "c.py": "VALUE = 1\n",
        "alone.py": "VALUE = 2\n",
        "adapter.py": "from taxaforge import alone\n",
    }
    root = tmp_path / "taxaforge"
    root.mkdir()
    for name, text in files.items():
        (root / name).write_text(text)
    adapter = tmp_path / "make_a.py"
    adapter.write_text("from taxaforge.adapter import job\n\nwith job(1):\n    from taxaforge.a import g\n    g()\n")
    return adapter, root


def test_imports_are_followed_wherever_they_stand(package):
    assert set(_walk(*package)) == {"make_a", "taxaforge", "taxaforge.a", "taxaforge.b", "taxaforge.c"}


def test_the_harness_around_a_job_is_not_part_of_its_code(package):
    assert "taxaforge.adapter" not in _walk(*package)
    assert "taxaforge.alone" not in _walk(*package)


@pytest.mark.parametrize("file, old, new, same", [
    pytest.param("a.py", '"""Doc."""', '"""Other words."""', True, id="docstring"),
    pytest.param("b.py", "    return x", "    # why\n    return (x)", True, id="comment and brackets"),
    pytest.param("c.py", "1", "2", False, id="a value two imports away"),
    pytest.param("alone.py", "2", "3", True, id="a module nobody imports"),
    pytest.param("b.py", "return x", "return not x", False, id="behaviour"),
])  # fmt: skip
def test_what_changes_a_fingerprint(package, file, old, new, same):
    adapter, root = package
    from taxaforge.lineage import _scan

    before = _walk(adapter, root)
    (root / file).write_text((root / file).read_text().replace(old, new))
    _scan.cache_clear()
    assert (_walk(adapter, root) == before) is same


def test_a_mistyped_adapter_is_an_error():
    with pytest.raises(FileNotFoundError):
        fingerprint(ROOT / "scripts" / "resolve_taxas.py")


def test_every_adapter_reaches_the_room_it_is_named_after():
    assert "taxaforge.taxonomy.resolve" in closure(ROOT / "scripts/resolve_taxa.py")
    assert "taxaforge.diffusion.stage" in closure(ROOT / "scripts/train_stage.py")
