"""Names the methods of runs whose run.json does not: those of before it had an entry "method".

A frozen table: what came later says it itself (``ifl.runs.method``), and nothing is added here.
"""

from collections.abc import Mapping
from typing import Any

TITLES: Mapping[str, str] = {
    "ifl": "IFL",
    "ifl_aligned": "IFL aligned",
    "ifl_frugal": "IFL frugal",
    "ifl_statistics": "IFL statistics",
    "fsl": "FSL",
    "cse_fsl": "CSE-FSL",
    "fl": "FL",
    "lg_fedavg": "LG-FedAvg",
    "fedgh": "FedGH",
    "fedproto": "FedProto",
    "feddistill": "FedDistill",
    "local": "no communication",
    "centralized": "all data in one place",
}
SENDS: Mapping[str, str] = {"local": "never", "centralized": "once"}
KINDS: Mapping[str, str] = {
    "z": "fusion outputs z",
    "y": "labels",
    "params": "parameters",
    "grad": "gradients of z",
    "x": "images",
    "sd": "deviations of z",
    "samples": "sample counts",
}


def method_of_before(choice: str) -> dict[str, Any]:
    """Return the entry "method" that run.json would have had, by the option of conf/method."""
    sends = SENDS.get(choice, "each round")
    return {"title": TITLES.get(choice, choice), "sends": sends, "kinds": dict(KINDS)}
