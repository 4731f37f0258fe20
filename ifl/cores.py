"""Counts the cores that this process may use, in one place for all."""


def available_cores() -> int:
    """Return the number of cores, at least 1.

    Affinity, quotas of containers and the environment variable LOKY_MAX_CPU_COUNT lower it.
    """
    from joblib import cpu_count  # brings numpy: not needed to answer --help

    return int(cpu_count())
