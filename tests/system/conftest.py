"""The finished small projects that damaged and killed ones are compared with; made once for a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system import reference
from tests.system.reference import Reference


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The surroundings of every child: a cache of its own, one thread, nothing of the caller's settings."""
    import os

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LLMREC_") and "SYSTEM" not in name]:
            patch.delenv(name)
        patch.setenv("LLMREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def small(finished: None, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return reference.make(tmp_path_factory.mktemp("small") / "made")


@pytest.fixture(scope="session")
def foreign(finished: None, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The same of another log, where one item is gone and one is new, so that codes shift."""
    return reference.make(tmp_path_factory.mktemp("foreign") / "made", 2, first=1)
