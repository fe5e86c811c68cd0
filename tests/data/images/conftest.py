"""Fixtures for tests on images: a separate cache, and a folder of three classes."""

from pathlib import Path

import pytest
from data.own_data import write_classes

from project.data.images import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "my images")
