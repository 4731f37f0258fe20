"""Reads how much memory this process takes, where Linux tells it."""

from pathlib import Path

from ifl.errors import ConfigError

STATUS = Path("/proc/self/status")


def peak_mb() -> float:
    """Return the most resident memory that this process ever had, in MB of 10^6 bytes."""
    return _read("VmHWM")


def resident_mb() -> float:
    """Return the resident memory of this process, in MB of 10^6 bytes.

    Raises:
        ConfigError: the system is not Linux; so does ``peak_mb``.
    """
    return _read("VmRSS")


def _read(name: str) -> float:
    if not STATUS.exists():
        raise ConfigError(f"memory is measured on Linux alone, which has {STATUS}; measure there")
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    (kilobytes,) = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kilobytes) * 1024 / 1e6
