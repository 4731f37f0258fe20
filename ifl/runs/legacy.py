"""Names the methods of runs of before: what run.json did not say then, or says otherwise now.

The tables are of before run.json had an entry "method". They are frozen: what came later says it
itself (``ifl.runs.method``).
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


def title_of_now(title: str, settings: Mapping[str, Any]) -> str:
    """Return a method's title, with what its title of before left unsaid.

    Args:
        settings: of the method, as the run's configuration has them.
    """
    if title == "FedProto" and "predict" not in settings:
        return "FedProto, by modular blocks"
    if title == "CSE-FSL" and settings.get("sync_clients") is False:
        return "CSE-FSL without averaging"
    return title
