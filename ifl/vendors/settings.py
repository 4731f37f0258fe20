"""Holds a vendor's own settings, vendor.yaml, and makes its client of them."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from ifl.checks import check_above, check_text, check_whole
from ifl.client.client import Client
from ifl.client.contract import check_contract
from ifl.client.habits import check_follows_seed, check_keeps_state
from ifl.client.privacy import Privacy
from ifl.client.privatise import check_hidden
from ifl.client.settings import Optimizers, Training
from ifl.data.augment import Distortion
from ifl.data.dataset import Dataset
from ifl.engines.grpc.certificates import check_name
from ifl.engines.grpc.places import UNIX
from ifl.errors import ConfigError
from ifl.models import SplitModel
from ifl.runs.made import made, told
from ifl.seeding import global_stream
from ifl.vendors.agreed import Agreed

BLOCKS = ("base", "modular")
NEEDED = ("name", "agreed", "server", "certificates", "seed", "data", "network", "optimizer")


@dataclass(frozen=True)
class Vendor:
    """A vendor's own settings; none of them leaves it.

    Args:
        name: of its party, as its certificate has it.
        agreed: the file of the terms.
        server: its address, HOST:PORT, or unix:PATH of a socket on this machine.
        certificates: the folder of its own.
        seed: of all that it draws; nobody else should know it.
        data: a mapping with a ``_target_``, or the name of an option of conf/data.
        network: "base" and "modular", each with a ``_target_``.
        optimizer: a ``_target_`` and settings for both blocks, or "base" and "modular" of these.
        folder: of its checkpoints and of what stays of the run.
        privacy: settings of ``ifl.client.privacy.Privacy``.
        augment: a mapping with a ``_target_``; None for none.
        patience: seconds without a server after which it gives up.
        message_mb: MiB of a message at most.
        threads: of torch.
        place: the folder of the file, from which paths go; what it imports may lie there.

    Raises:
        ConfigError: a value is out of range.
    """

    name: str
    agreed: str
    server: str
    certificates: str
    seed: int
    data: Any
    network: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    folder: str = "run"
    privacy: Mapping[str, Any] = field(default_factory=dict)
    augment: Mapping[str, Any] | None = None
    patience: float = 600.0
    message_mb: int = 512
    threads: int = 1
    place: Path = field(default_factory=Path)

    def __post_init__(self) -> None:
        check_name(self.name)
        for key in ("agreed", "server", "certificates", "folder"):
            check_text(key, getattr(self, key))
        check_whole("seed", self.seed, 0)
        check_whole("threads", self.threads, 1)
        check_above("patience", self.patience, 0)
        if not isinstance(self.network, Mapping) or {*self.network} != {*BLOCKS}:
            raise ConfigError(f"network must have base and modular, got {self.network}")
        if not isinstance(self.optimizer, Mapping):
            raise ConfigError(f"optimizer must be a mapping with _target_, got {self.optimizer}")

    def path(self, name: str) -> Path:
        """Return a path that is said from the folder of the file."""
        return self.place / Path(name).expanduser()

    @property
    def address(self) -> str:
        """The server's address; a socket's path goes from the folder of the file, too."""
        if not self.server.startswith(UNIX):
            return self.server
        return f"{UNIX}{self.path(self.server[len(UNIX) :]).absolute()}"

    def importable(self) -> None:
        """Let what lies beside the file be imported by its name."""
        place = str(self.place.resolve())
        if place not in sys.path:
            sys.path.insert(0, place)

    def number(self, agreed: Agreed) -> int:
        """Return which client it is; raise ConfigError if it is none."""
        if self.name not in agreed.parties:
            raise ConfigError(
                f"name {self.name} is not among the parties of {self.agreed}: "
                f"{', '.join(agreed.parties)}"
            )
        return agreed.parties.index(self.name)

    def members(self, agreed: Agreed, data: Dataset) -> dict[str, Any]:
        """Return the configuration of both blocks, with all that they leave out."""
        common = {"shape": [*data.shape], "fusion_dim": agreed.fusion_dim}
        common["classes"] = agreed.classes
        return {kind: told(self.network[kind], common) for kind in BLOCKS}

    def client(self, agreed: Agreed, data: Dataset) -> Client:
        """Return its client at the start.

        Raises:
            ConfigError: data, network or optimiser do not suit what was agreed on.
        """
        number, name = self.number(agreed), self.name
        if data.classes != agreed.classes:
            raise ConfigError(
                f"data has {data.classes} classes, and {self.agreed} says {agreed.classes}; number "
                "them as was agreed on, and set data.classes"
            )
        settings = self.optimizer
        both = settings if {*settings} == {*BLOCKS} else dict.fromkeys(BLOCKS, settings)
        makers = [made({**both[kind], "_partial_": True}) for kind in BLOCKS]
        augment = Distortion() if self.augment is None else made(self.augment)
        training = Training(
            Optimizers(*makers), agreed.batch_size, self.seed, "cpu", augment=augment
        )
        members = self.members(agreed, data)
        some = data.train.first(2).inputs()

        def network() -> SplitModel:
            with global_stream(self.seed, "client", number, "weights"):
                blocks = [made(members[kind]) for kind in BLOCKS]
                if not all(isinstance(block, nn.Module) for block in blocks):
                    raise ConfigError("network.base and network.modular must make torch modules")
                model = SplitModel(*blocks)
                check_contract(model, name, some, agreed.fusion_dim, agreed.classes)
            return model

        model = network()
        tried = data.train.first(agreed.batch_size).inputs()
        check_contract(model, name, tried, agreed.fusion_dim, agreed.classes, agreed.batch_size)
        check_follows_seed(model, network(), name, some)
        check_keeps_state(model, network(), name, some)
        disclosure = Privacy(**self.privacy).disclosure(agreed.classes)
        check_hidden(agreed.method, disclosure)
        client = Client(name, number, model, data.train, training, disclosure)
        agreed.method.open([client], training)  # what it checks, it checks here
        return client


def vendor(settings: Mapping[str, Any], place: Path) -> Vendor:
    """Return the settings of a file.

    Args:
        settings: what it says.
        place: its folder.

    Raises:
        ConfigError: a key is missing or unknown, or a value is out of range.
    """
    known = {*Vendor.__dataclass_fields__} - {"place"}
    if unknown := sorted(map(str, settings.keys() - known)):
        raise ConfigError(f"{unknown[0]} is no key of vendor.yaml; it has {', '.join(known)}")
    if lacking := [key for key in NEEDED if key not in settings]:
        raise ConfigError(f"{lacking[0]} is needed in vendor.yaml")
    return Vendor(**settings, place=place)
