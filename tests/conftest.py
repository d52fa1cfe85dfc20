"""Property tests repeat themselves exactly; data that do not travel with the repository are optional."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("soak", parent=settings.get_profile("default"), derandomize=False, max_examples=500)
settings.load_profile(os.environ.get("BITLINE_HYPOTHESIS", "default"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with trained models and data sets: $BITLINE_SHARED, or `shared` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("BITLINE_SHARED", beside))
    if not folder.is_dir():
        pytest.skip("no folder of shared models and data; name it with BITLINE_SHARED")
    return folder
