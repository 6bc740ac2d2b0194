"""What all tests share: where the checkout is, and where material outside it may be."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real material to measure on, outside the project; skips where it is not there."""
    path = Path(os.environ.get("TAXAFORGE_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no shared material at {path}; set TAXAFORGE_SHARED")
    return path


@pytest.fixture(scope="session")
def gbif_replica(shared):
    """The module of the loopback GBIF; DATA: the pictures it may serve, FILE: the module's own."""
    path, data = shared / "tools/gbif_replica.py", shared / "data/lepidoptera"
    if not (path.exists() and data.exists()):
        pytest.skip(f"needs {path} and {data}; set TAXAFORGE_SHARED")
    spec = importlib.util.spec_from_file_location("gbif_replica", path)
    module = sys.modules["gbif_replica"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.DATA, module.FILE = data, path
    return module
