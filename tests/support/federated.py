"""A server and vendors in threads of one process, over TLS, on tiny data."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from conftest import CLASSES, DIM, SHAPE, images

from ifl.data.dataset import Dataset
from ifl.engines.grpc.certificates import SERVER, Authority, read_certificates
from ifl.engines.grpc.listener import Listener
from ifl.errors import IFLError
from ifl.vendors.agreed import Agreed, agreed
from ifl.vendors.server import VendorServer
from ifl.vendors.settings import Vendor
from ifl.vendors.vendor import VendorRun

NAMES = ("ann", "ben", "cleo")
TERMS: Mapping[str, Any] = {
    "parties": [*NAMES],
    "seed": 0,
    "classes": CLASSES,
    "fusion_dim": DIM,
    "batch_size": 8,
    "method": {"_target_": "ifl.methods.ifl.IFL", "tau": 2},
    "codec": {"_target_": "ifl.comm.codecs.Float32"},
    "rounds": 6,
    "eval_every": 3,
    "checkpoint_every": 2,
    "test": "private",
    "tells": ["losses"],
    "on_lost": "rejoin",
    "on_bad_upload": "stop",
}
WIDTHS = {"ann": [], "ben": [12], "cleo": [6, 6]}
BLOCK = "ifl.models.mlp_"


def terms(**changes: Any) -> Agreed:
    return agreed({**TERMS, **changes})


def data_of(name: str, public: bool = False) -> Dataset:
    """Return data of a vendor that no other has, but for a public test set."""
    seed = 10 + NAMES.index(name)
    test = images(40, seed=99) if public else images(30 + seed, seed=100 + seed)
    return Dataset(name, images(64 + seed, seed=seed), test, SHAPE, CLASSES)


def vendor_of(name: str, place: Path, address: str, /, **changes: Any) -> Vendor:
    settings: dict[str, Any] = {
        "name": name,
        "agreed": "agreed.yaml",
        "server": address,
        "certificates": f"../certificates/{name}",
        "seed": 1000 + NAMES.index(name),
        "data": "digits",
        "network": {
            "base": {"_target_": f"{BLOCK}base", "widths": WIDTHS[name]},
            "modular": {"_target_": f"{BLOCK}modular", "widths": WIDTHS[name]},
        },
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
        "patience": 20.0,
        "place": place / name,
    }
    return Vendor(**{**settings, **changes})


@contextmanager
def listening(place: Path, said: list[str], address: str = "127.0.0.1:0") -> Iterator[Listener]:
    """Listen with certificates that are made in a folder."""
    authority = Authority(place / "certificates")
    authority.issue([SERVER, *NAMES])
    own = read_certificates(place / "certificates" / SERVER, SERVER)
    listener = Listener(address, own, len(NAMES), say=said.append)
    try:
        yield listener
    finally:
        listener.close()


class Party(Thread):
    """A vendor in a thread; keeps the sentence that ended it, if one did."""

    def __init__(self, run: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._run_it, self.error = run, ""
        self.start()

    def run(self) -> None:
        try:
            self._run_it()
        except IFLError as error:
            self.error = str(error)


def joined(place: Path, address: str, common: Agreed, **changes: Any) -> dict[str, VendorRun]:
    """Return the vendors' parts, not yet begun: what they draw is drawn one after the other."""
    found = {}
    for name in common.parties:
        (place / name).mkdir(exist_ok=True)
        vendor = vendor_of(name, place, address, **changes)
        found[name] = VendorRun(vendor, common, data_of(name, common.test == "public"))
    return found


def federated(place: Path, common: Agreed, **changes: Any) -> dict[str, Any]:
    """Let a server and its vendors run to the end; return what the server's run.json holds."""
    place.mkdir(exist_ok=True)
    said: list[str] = []
    with listening(place, said) as listener:
        runs = joined(place, listener.address, common, **changes)
        threads = [Party(run.run) for run in runs.values()]
        server = VendorServer(common, place / "run", listener, patience=20, say=said.append)
        about = server.run()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
        assert thread.error == ""
    return {**about, "said": said}


def weights(place: Path, name: str, common: Agreed) -> torch.Tensor:
    """Return the first weights of a vendor's trained base block."""
    from ifl.runs import checkpoint

    last = checkpoint.newest(place / name / "run")
    assert last is not None
    tensors = last.state["blocks"]["base"][str(common.parties.index(name))]["tensors"]
    first: torch.Tensor = next(iter(tensors.values()))
    return first
