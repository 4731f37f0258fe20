"""What the engine gives a server half besides uploads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from conftest import SMALL, WIDE, Build, play
from torch import Generator, Tensor, nn

from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.federation.build import Federation
from ifl.methods.base import Server
from ifl.methods.ifl import IFL, IFLServer
from ifl.methods.parts.row_selection import sample
from ifl.seeding import rng


@dataclass(frozen=True)
class Drawing(IFLServer):
    """Draws for itself and lets a module of its own draw, in every turn."""

    drawn: list[Tensor] = field(default_factory=list)

    def reply(self, uploads: Mapping[int, Message], draws: Generator) -> Mapping[int, Message]:
        kept = nn.Dropout(0.5)(torch.ones(9)) > 0
        self.drawn.extend([torch.rand(3, generator=draws), kept])
        return super().reply(uploads, draws)


@dataclass(frozen=True)
class Drawn(IFL):
    server: Drawing = field(default_factory=Drawing)

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        return self.server


def test_a_server_draws_from_the_stream_of_the_turn_and_its_modules_do_too(tiny: Build) -> None:
    method = Drawn()
    play(tiny(method, seed=5), 2)
    for number in (1, 2):
        stream = rng(5, "server", "modules", number, 0)
        mask = torch.empty(9).bernoulli_(0.5, generator=stream) > 0
        own, kept = method.server.drawn[2 * number - 2 : 2 * number]
        assert torch.equal(kept, mask)
        assert torch.equal(own, torch.rand(3, generator=stream))  # behind what the module drew


def pool_of_round_1(federation: Federation) -> Message:
    """Return what client 0 is sent in round 1."""
    channel, down = federation.engine.channel, federation.engine.channel.down
    arrived: list[dict[int, Message]] = []

    def noted(messages: Mapping[int, Message]) -> dict[int, Message]:
        arrived.append(down(messages))
        return arrived[-1]

    channel.down = noted  # type: ignore[method-assign]
    federation.engine.round(1)
    return next(replies[0] for replies in arrived if replies)


def test_a_relay_draws_its_rows_at_the_start_of_that_stream(tiny: Build) -> None:
    methods = IFL(tau=1), IFL(tau=1, relay="sample", relay_rows=5)
    whole, some = (pool_of_round_1(tiny(method, SMALL, WIDE, count=3)) for method in methods)
    assert len(whole["y"]) == 3 * 8
    rows = sample(whole["y"], 5, rng(0, "server", "modules", 1, 0))
    assert torch.equal(some["z"], whole["z"][rows])
    assert torch.equal(some["y"], whole["y"][rows])
