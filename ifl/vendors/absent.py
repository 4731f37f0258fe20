"""Stands for a client that is elsewhere: what a server without networks knows of it."""

from typing import Any

import torch

from ifl.client.client import Client
from ifl.client.privacy import Disclosure
from ifl.client.settings import Training
from ifl.data.dataset import Shard
from ifl.errors import ConfigError


class Absent(Client):
    """A client without network, samples or memory.

    Args:
        name: of its party.
        number: k.
        training: what was agreed on.
        samples: how many it has.
        classes: of which; None where it does not tell.
    """

    def __init__(
        self, name: str, number: int, training: Training, samples: int, classes: list[int] | None
    ) -> None:
        self.name, self.number, self.training = name, number, training
        self.disclosure, self.anchors, self.optimizers = Disclosure(), None, ()
        self.draws = self.draws_tested = False
        self.shard = Shard(torch.zeros(samples, 1, dtype=torch.uint8), torch.zeros(samples))
        if classes is not None:
            self.classes = torch.tensor(classes, dtype=torch.int64)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "classes":
            raise ConfigError(
                "this method needs to know the classes of each vendor; agree on tells: [classes]"
            )
        raise ConfigError(
            f"this method needs {name} of {self.name} at the server, and a server of vendors has "
            "no network and no samples; choose method: ifl, or feddistill"
        )
