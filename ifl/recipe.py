"""What a run is composed from, known before Hydra composes it: to recognise finished runs fast."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ifl.results import fingerprint, read_about


def recipe(overrides: Iterable[str], name: str, folders: Iterable[str]) -> str:
    """Return 16 hex digits of all that a configuration is composed from, known before it is.

    Equal recipes in one study make equal configurations. Different ones may too, where
    their difference changes no result: that only ``fingerprint`` can tell.

    Args:
        overrides: as typed, in their order; those of ``launcher`` and ``runtime`` do not count.
        name: of the primary configuration.
        folders: where configurations are looked for.
    """
    kept = [o for o in overrides if not o.lstrip("+~").startswith(("launcher=", "runtime."))]
    digest = hashlib.sha256(json.dumps([name, kept]).encode())
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.yaml")):
            digest.update(f"{path.relative_to(folder)} ".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def finished(study: Path) -> dict[str, dict[str, Any]]:
    """Return {recipe: run.json, with "folder" added} of the finished runs in a folder.

    Left out are those whose folder is not, or no longer, named after their configuration.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(study.glob("*/run.json")):
        folder, about = path.parent, read_about(path.parent)
        if about and about["finished"] and fingerprint(about["config"]) in folder.name:
            found.setdefault(about.get("recipe", ""), {**about, "folder": str(folder)})
    return found
