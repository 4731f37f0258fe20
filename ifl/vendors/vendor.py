"""Takes part in a federation for one vendor, and leaves a folder that its blocks are exported from.

The folder is that of a finished run of one client: ``ifl export`` takes it.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ifl.client.client import Client
from ifl.client.privatise import told as privacy_told
from ifl.client.state import tensors_of
from ifl.data.dataset import Dataset
from ifl.engines.frames import Frame, framed
from ifl.engines.grpc.caller import Caller
from ifl.engines.grpc.certificates import read_certificates
from ifl.errors import ConfigError, LostError
from ifl.federation.identity import data_digest
from ifl.federation.own_code import own_code
from ifl.runs import checkpoint
from ifl.runs.folder import TABLES, RunFolder, read_about
from ifl.runs.provenance import now, provenance
from ifl.runs.wholeness import digests
from ifl.vendors.agreed import Agreed
from ifl.vendors.heard import Results
from ifl.vendors.party import VendorParty
from ifl.vendors.settings import BLOCKS, Vendor
from ifl.vendors.traffic import Traffic

LAST_SECONDS = 60.0  # in which a server that was killed at the end may want to hear it again


class VendorRun:
    """A vendor's part in a run, from its start or its last checkpoint.

    Args:
        vendor: its own settings.
        agreed: the terms.
        data: its own.
        say: is told in a sentence what goes on.

    Raises:
        ConfigError: something does not suit the terms, or its folder is of other terms.
    """

    def __init__(
        self,
        vendor: Vendor,
        agreed: Agreed,
        data: Dataset,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.vendor, self.agreed, self.data, self._say = vendor, agreed, data, say
        self.folder = vendor.path(vendor.folder)
        kept = (read_about(self.folder) or {}).get("agreed")
        if kept not in (None, agreed.digest):
            raise ConfigError(f"folder {self.folder} holds a run of other terms; name another one")
        torch.set_num_threads(vendor.threads)
        client = vendor.client(agreed, data)
        self.party = VendorParty(
            client, agreed, vendor.seed, self.folder, data.test, self._finished
        )
        self._caller = Caller(
            vendor.address,
            read_certificates(vendor.path(vendor.certificates), vendor.name),
            vendor.name,
            self.party.told,
            self.party.frame,
            self._too_large,
            vendor.message_mb,
            self._patience,
            say,
        )

    def run(self) -> Path:
        """Take part until the server says goodbye; return the folder.

        Raises:
            BusyError: another process takes part from this folder.
            RefusedError, LostError, MessageError: as ``Caller.run``.
        """
        with RunFolder(self.folder) as record:
            if read_about(self.folder) is None:
                record.describe({**self._about(), "finished": False})
            try:
                self._caller.run()
            except LostError:
                if not self._done():
                    raise
                self._say(f"Already finished: {self.folder}")
        return self.folder

    def _patience(self) -> float:
        """Return the seconds to wait for a server, which may have ended where this is finished."""
        return min(self.vendor.patience, LAST_SECONDS) if self._done() else self.vendor.patience

    def _done(self) -> bool:
        return bool((read_about(self.folder) or {}).get("finished"))

    def _too_large(self, error: ConfigError) -> Frame:
        return framed({self.party.number: [error]})

    def _about(self) -> dict[str, Any]:
        members = self.vendor.members(self.agreed, self.data)
        return {
            "agreed": self.agreed.digest,
            "federation": self.agreed.terms,
            "parties": list(self.agreed.parties),
            "client": self.party.number,
            "data": self.data.name,
            "method": {"title": self.agreed.title},
            "config": {"clients": {"members": [{"name": self.vendor.name, **members}]}},
            "imports": str(self.vendor.place.resolve()),
            "data_digest": data_digest(self.data),
            "class_names": [*self.data.class_names],
            **provenance("cpu"),
        }

    def _finished(self, client: Client, traffic: Traffic, found: Results) -> None:
        """Write the folder of a finished run: tables, run.json and the trained blocks."""
        row, owner = found.row, str(client.number)
        assert row["round"] is not None
        number = int(row["round"])
        mine = [pair for pair in found.compositions if owner in pair[:2]]
        _write(self.folder, "rounds", [row.values()])
        _write(self.folder, "compositions", [(number, *pair) for pair in mine])
        traffic.write(self.folder / "traffic.csv", client.number)
        names = [name for name in row if name.startswith("accuracy_")]
        own = found.traffic.get(client.name)
        final = {
            **self._about(),
            "run": self.party.run,
            "ended": now(),
            "finished": True,
            "totals": {"rounds": number, "seconds": row["seconds"]},
            "result": {name: row[name] for name in names},
            "traffic": own,
            "tables": digests(self.folder),
            **privacy_told(client.disclosure, [client]),
        }
        state: dict[str, Any] = {"engine": None, "blocks": self._blocks(client), "final": final}
        state |= {"client": client.state(), "run": self.party.run, "identity": json.dumps({})}
        state["traffic"] = [[*each] for each in traffic.rows()]
        checkpoint.write(self.folder, number, state, keep=2)
        text = json.dumps(final, indent=2) + "\n"
        (self.folder / "run.json").write_text(text, encoding="utf-8")
        mean = row["accuracy_mean"]
        said = "not tested" if mean is None else f"{100 * mean:.1f} %"
        self._say(f"Finished: {self.folder}, accuracy {said}, bytes {own}")

    def _blocks(self, client: Client) -> dict[str, Any]:
        """Return what ``ifl.federation.trained`` makes the blocks from."""
        data = self.data
        kept: dict[str, Any] = {
            kind: {
                str(client.number): {
                    "tensors": tensors_of(block),
                    "like": client.number,
                    "code": own_code(*block.modules()),
                }
            }
            for kind, block in ((kind, getattr(client.model, kind)) for kind in BLOCKS)
        }
        agreed = {"shape": [*data.shape], "classes": data.classes, "samples": data.train.kind}
        agreed |= {"class_names": [*data.class_names], "tokens": data.train.kind == "tokens"}
        return {"agreed": {**agreed, "fusion_dim": self.agreed.fusion_dim}, **kept}


def _write(folder: Path, name: str, rows: Any) -> None:
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([TABLES[name], *rows])
