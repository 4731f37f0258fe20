import pytest

from ifl.cores import available_cores
from ifl.federation.workers import Workers


def test_cores_are_counted_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_cores() >= 1
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert available_cores() == 1
    assert Workers(None).count == 1
