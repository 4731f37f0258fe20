"""Writes the folder of the job that an administrator of FLARE submits: no code, no setting."""

import json
from collections.abc import Sequence
from pathlib import Path

from ifl.engines.flare.kit import SERVER, SITE
from ifl.errors import ConfigError, OutputError

NAME, APP = "ifl", "app"


def write_job(folder: Path, sites: Sequence[str]) -> None:
    """Write the job.

    Args:
        sites: names of the sites that are to take part, as FLARE knows them; none for all there
            are.

    Raises:
        ConfigError: a site is named twice.
        OutputError: something is there already, or it cannot be written.
    """
    if len({*sites}) != len(sites):
        raise ConfigError(f"sites must differ from each other, got {', '.join(sites)}")
    version = {"format_version": 2}
    files = {
        "meta.json": {
            "name": NAME,
            "resource_spec": {},
            "min_clients": max(len(sites), 1),
            "mandatory_clients": [],
            "deploy_map": {APP: ["server", *sites] if sites else ["@ALL"]},
        },
        f"{APP}/config/config_fed_server.json": {
            **version,
            "workflows": [{"id": "tunnel", "path": SERVER, "args": {}}],
            "components": [],
        },
        f"{APP}/config/config_fed_client.json": {
            **version,
            "executors": [{"tasks": ["tunnel"], "executor": {"path": SITE, "args": {}}}],
            "components": [],
        },
    }
    if folder.exists():
        raise OutputError(f"{folder} is there already; name another folder")
    try:
        for name, said in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error})") from error
