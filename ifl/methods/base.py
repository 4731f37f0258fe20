"""Defines a method: a conversation between a client half and a server half.

The client half is a generator: it yields an upload and is resumed with the server's
reply, or closed where the server refuses the upload. The server half maps the uploads of
all clients that take part to replies. The halves share no object; what one knows of the
other came through the channel. ``open`` is the one place
that sees both sides, before anything is trained: it checks that the clients suit the
method and gives everyone the start that the seed prescribes, which costs no byte.
"""

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ifl.checks import check_text
from ifl.client.client import Client
from ifl.client.settings import Training
from ifl.comm.message import Message
from ifl.comm.schema import Form
from ifl.errors import ConfigError
from ifl.methods.parts.passing import alike, of_clients
from ifl.runs.checkpoint import State
from ifl.runs.method import Sends

Reply = Message | None  # what the server says to one client, if anything
Conversation = Generator[Message, Reply, Tensor | None]
Blocks = Mapping[str, nn.Module]  # owner ("0", "1", ... or "server") -> block


class Server(Protocol):
    """The server half of a method during one run."""

    def expects(self, client: int) -> Sequence[Form]:
        """Return the forms of a client's uploads in this round, in their order.

        What does not fit is refused before it gets here; nothing is expected if not declared.
        """

    def welcome(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return what those who take part in the round that begins have missed, if anything."""

    def reply(
        self, uploads: Mapping[int, Message], draws: torch.Generator
    ) -> Mapping[int, Message]:
        """Return the reply to each client that gets one, given one upload each of some.

        Args:
            draws: the stream of this turn, at its start; the server's modules draw from it too.
        """

    def delivered(self, replies: Mapping[int, Message]) -> None:
        """Learn what its replies are at their receivers, decoded; it may decode them itself."""

    def optimizers(self) -> Iterable[Optimizer]:
        """Return those that it steps itself."""

    def end_round(self) -> Tensor | None:
        """Do what the server does between rounds; return its training losses, if it has any."""

    def state(self) -> State:
        """Return what it keeps from one round to the next."""

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Go on from such a state; like ``Method.open``, this sees the clients."""


class Method(Protocol):
    """A method, as the engine, the evaluation, the command line and figures see it.

    Attributes:
        sends: in which rounds its clients upload: "each round", "once" or "never".
        hides: whether it sends no label and no z but by ``client.privatise.release``.
        kinds: what its messages hold, both ways: {kind, as in traffic.csv: words for it}.

    One that trains on pools may have ``smallest_pool(training, present)`` besides: the rows of
    its smallest step where so many clients take part. The engine then refuses blocks that cannot
    learn from a single one. And it may have ``hears(me, agreed)``: the forms of what the server may
    say to a client, welcome and replies, one of which every message down has to fit; agreed has
    the sizes that all parties know (``comm.channel``): B, d, classes, N clients, batches, the sum
    of their B.
    """

    sends: ClassVar[Sends]
    hides: ClassVar[bool]
    kinds: ClassVar[Mapping[str, str]]

    @property
    def title(self) -> str:
        """Its name in figures and tables; a yaml of conf/method may give it another one."""

    def open(self, clients: Sequence[Client], training: Training) -> Server:
        """Check and align the clients, and return a fresh server half.

        Args:
            training: what all parties agreed on, for what the server trains itself.

        Raises:
            ConfigError: these clients cannot be trained by this method.
        """

    def client_round(self, me: Client, round_number: int, missed: Reply = None) -> Conversation:
        """Run one client's share of a round; return its training losses (steps,), if any.

        Args:
            missed: the server's welcome, if it had one for this client.
        """

    def blocks(self, clients: Sequence[Client], server: Server) -> tuple[Blocks, Blocks]:
        """Return the base blocks and the modular blocks that exist, by owner.

        One that is like no client's may have a property ``made_of``, what a yaml would say to make
        it, ``_target_`` and all, so that ``ifl.load`` can; one around another block takes that as
        ``inner``.
        """


def described(method: Method, choice: str) -> dict[str, Any]:
    """Return the entry "method" of run.json, from which figures and tables take their words.

    Args:
        method: one that says nothing of itself is named after its choice and sends each round.
        choice: the option of conf/method.

    Raises:
        ConfigError: its title is not text.
    """
    title = getattr(method, "title", choice)
    check_text("method.title", title)
    return {
        "title": title,
        "sends": getattr(method, "sends", "each round"),
        "kinds": dict(getattr(method, "kinds", {})),
    }


class StatelessServer:
    """A server that keeps nothing from one round to the next, expects and sends nothing."""

    def expects(self, client: int) -> Sequence[Form]:
        """Expect nothing."""
        return ()

    def welcome(self, clients: Collection[int]) -> Mapping[int, Message]:
        """Return nothing."""
        return {}

    def reply(
        self, uploads: Mapping[int, Message], draws: torch.Generator
    ) -> Mapping[int, Message]:
        """Answer nobody."""
        return {}

    def delivered(self, replies: Mapping[int, Message]) -> None:
        """Do nothing."""

    def optimizers(self) -> Iterable[Optimizer]:
        """Return none."""
        return ()

    def end_round(self) -> Tensor | None:
        """Do nothing."""
        return None

    def state(self) -> State:
        """Return nothing."""
        return {}

    def load_state(self, state: State, clients: Sequence[Client]) -> None:
        """Do nothing."""


def own_blocks(clients: Sequence[Client]) -> tuple[Blocks, Blocks]:
    """Return every client's own base block and own modular block."""
    return (
        of_clients(clients, lambda client: client.model.base),
        of_clients(clients, lambda client: client.model.modular),
    )


def check_architecture(number: int, clients: Sequence[Client]) -> None:
    """Raise ConfigError unless ``method.architecture`` is the number of a client."""
    if number >= len(clients):
        raise ConfigError(
            f"method.architecture must name a client from 0 to {len(clients) - 1}, got {number}"
        )


def same_start(
    method: str, clients: Sequence[Client], part: str = "whole", otherwise: str = ""
) -> None:
    """Give all clients client 0's initial parameters and buffers.

    Args:
        method: how the message calls who asks.
        part: "whole", of whole networks; "base" or "modular", of these blocks alone.
        otherwise: a setting by which the method does without, if there is one.

    Raises:
        ConfigError: they do not all have the same names and shapes.
    """
    layouts = {
        c.name: (repr(b), [(n, tuple(t.shape)) for n, t in b.state_dict().items()])
        for c in alike(clients)
        for b in [_part(c, part)]
    }
    others = [name for name, its in layouts.items() if its != layouts[clients[0].name]]
    if others:
        needs, fitting = "averages parameters and needs one architecture", ""
        if part == "modular":
            needs = "shares the modular block and needs one architecture of it"
            fitting = "clients=paper_one_head, "
        differ = "differs" if len(others) == 1 else "differ"
        raise ConfigError(
            f"{method} {needs}, but {', '.join(others)} {differ} from {clients[0].name}; use "
            f"{fitting}clients=cnn_homogeneous or clients=mlp_homogeneous"
            f"{otherwise and f', or {otherwise}'}"
        )
    start = {name: t.clone() for name, t in _part(clients[0], part).state_dict().items()}

    def take(client: Client) -> None:
        _part(client, part).load_state_dict(start)

    for client in clients[1:]:
        client.at_start(take)


def _part(client: Client, part: str) -> nn.Module:
    block: nn.Module = client.model if part == "whole" else getattr(client.model, part)
    return block
