"""What all tests share: where the checkout is, and where material outside it may be."""

import os
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
