"""Sets up a startup kit's own ``local`` folder, so that our jobs can run there, and no others.

FLARE refuses a job's components by ``class_allow_list``, but not those of a job that brings code of
its own. So nobody may submit such a job either, whatever the role.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ifl.engines.flare.local import FILE, Server, Site
from ifl.errors import ConfigError, OutputError

SITE, SERVER = "ifl.engines.flare.site.Site", "ifl.engines.flare.server.Server"
STARTUP = {SITE: "fed_client.json", SERVER: "fed_server.json"}
RIGHTS = ("submit_job", "clone_job", "manage_job", "download_job", "view", "operate")
DENIED = ("byoc", "shell_commands", "server-predeployed-flwr")
KEPT = "kept"  # the folder of the jobs that a server knows, in place of one that all share


def write_local(kit: Path, settings: Site | Server) -> None:
    """Write settings into a kit, what may run there, and who may do what.

    Raises:
        ConfigError: it is no startup kit, or that of another kind of participant.
        OutputError: it cannot be written.
    """
    ours = SITE if isinstance(settings, Site) else SERVER
    if not (kit / "startup" / STARTUP[ours]).is_file():
        raise ConfigError(
            f"{kit} holds no startup/{STARTUP[ours]}; name the folder that nvflare provision made "
            f"for {'a site' if ours == SITE else 'the server'}"
        )
    local = kit / "local"
    try:
        resources = _read(local / "resources.json.default")
        resources |= {"class_list_enforcement_mode": "enforce", "class_allow_list": [ours]}
        if isinstance(settings, Site):
            resources["allow_log_streaming"] = False
        else:
            resources = _kept(resources, str(kit.resolve() / KEPT))
        rights = _read(local / "authorization.json.default")
        roles = rights["permissions"].items()
        rights["permissions"] = {role: _without_code(said) for role, said in roles}
        files = {"resources.json": resources, "authorization.json": rights, FILE: asdict(settings)}
        for name, said in files.items():
            (local / name).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    except (OSError, ValueError, LookupError, AttributeError) as error:
        raise OutputError(f"{local} cannot be set up ({error})") from error


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _without_code(said: Any) -> dict[str, Any]:
    """Return the rights of a role without those to run code of its own."""
    rights = said if isinstance(said, dict) else dict.fromkeys(RIGHTS, said)
    return {**rights, **dict.fromkeys(DENIED, "none")}


def _kept(said: Any, folder: str) -> Any:
    """Return resources with a folder of the server's own for /tmp/nvflare."""
    if isinstance(said, dict):
        return {key: _kept(value, folder) for key, value in said.items()}
    if isinstance(said, list):
        return [_kept(value, folder) for value in said]
    return said.replace("/tmp/nvflare", folder) if isinstance(said, str) else said
