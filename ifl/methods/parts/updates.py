"""Sends updates of parameters to be averaged, in place of the parameters; feeds errors back.

Sources: Reisizadeh et al. 2020, "FedPAQ: A Communication-Efficient Federated Learning Method with
Periodic Averaging and Quantization", arXiv 1909.13014, algorithm 1; Karimireddy et al. 2019, "Error
Feedback Fixes SignSGD and other Gradient Compression Schemes", arXiv 1901.09847, algorithm 2
(EF-SGD); Tang et al. 2019, "DoubleSqueeze", arXiv 1905.05957 (feedback at the server, too).
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ifl.checks import check_flag, check_one_of
from ifl.client.client import Client
from ifl.client.memory import Kept
from ifl.comm.message import Message
from ifl.errors import ConfigError
from ifl.methods.parts.averaging import (
    Averaging,
    average,
    averaged,
    numbered,
    parameters_of,
    state,
    unpack,
)
from ifl.runs.checkpoint import State


@dataclass
class Lost(Kept):
    """Tensors of what the codec lost of a client's updates, in the order of ``state``."""

    lost: list[Tensor] | None = None


@dataclass(frozen=True)
class Sending:
    """The form in which parameters go up to be averaged; what comes down are always weights.

    Args:
        send: "weights"; "updates", their differences to the average that the client started
            from. What a codec loses is then a part of the update, not of the weights.
        error_feedback: the client adds what the codec lost of its update to its next one, and
            the server what it lost of the average to the next average. FedPAQ has no codec down.

    Raises:
        ConfigError: a value is out of range, or feedback goes with weights.
    """

    send: str = "weights"
    error_feedback: bool = False

    def __post_init__(self) -> None:
        check_one_of("method.send", self.send, "weights", "updates")
        check_flag("method.error_feedback", self.error_feedback)
        if self.error_feedback and self.send == "weights":
            raise ConfigError(
                "method.error_feedback=true adds what a codec lost of an update to the next one, "
                "got method.send=weights; use method.send=updates"
            )

    def average(self, module: nn.Module, samples: Mapping[int, int]) -> Averaging:
        """Return the server's part, for clients of so many samples."""
        if self.send == "weights":
            return Averaging(module, samples)
        return UpdateAveraging(module, samples, self.error_feedback)


class Part:
    """A client's part in an average of a module, in one round; made before its first step.

    Of updates, u = w - w_start + e goes up and D(u) arrives. With error feedback e <- u - D(u),
    from 0 at the start of the run; without, e stays 0. An upload that is refused changes no e.

    Args:
        module: of the client, as the last average that it got left it.
        missed: the newest average, if it lacks that.
    """

    def __init__(
        self, me: Client, module: nn.Module, sending: Sending, missed: Message | None
    ) -> None:
        if missed:
            unpack(module, missed)
        self.me, self.module, self.sending = me, module, sending
        self.start = [t.clone() for t in state(module)] if sending.send == "updates" else []

    def averaged(self) -> Generator[Message, Message | None, None]:
        """Send weights or the update, take over the reply."""
        samples = len(self.me.shard)
        if self.sending.send == "weights":
            yield from averaged(self.module, samples)
            return
        update = [now - then for now, then in zip(state(self.module), self.start, strict=True)]
        memory = self.me.memory.of(Lost) if self.sending.error_feedback else Lost()
        if memory.lost is not None:
            update = [u + e.to(u) for u, e in zip(update, memory.lost, strict=True)]
        said = Message(samples=torch.tensor(samples), **numbered(update))
        reply = yield said
        assert reply is not None
        if self.sending.error_feedback:
            assert said.arrived is not None
            came = parameters_of(said.arrived)
            memory.lost = [u - there.to(u) for u, there in zip(update, came, strict=True)]
        unpack(self.module, reply)


class UpdateAveraging(Averaging):
    """The server's part where updates are averaged: w <- w_start + sum n_k u_k / sum n_k.

    Every client starts from w_start, the newest average as all decode it. With error feedback the
    sum goes on from the average as it was before the codec.

    Args:
        module, samples: as of ``Averaging``.
        error_feedback: keep the average as it was before the codec.
    """

    def __init__(self, module: nn.Module, samples: Mapping[int, int], error_feedback: bool) -> None:
        super().__init__(module, samples)
        self.exact = [t.clone() for t in state(module)] if error_feedback else None

    def reply(self, uploads: Mapping[int, Message]) -> Mapping[int, Message]:
        """Add the average update and return the sum to the senders, who alone hold it now."""
        self.holders = set(uploads)
        start = state(self.module) if self.exact is None else self.exact
        moves = parameters_of(average(uploads))
        sums = [w + move.to(w) for w, move in zip(start, moves, strict=True)]
        if self.exact is not None:
            self.exact = sums
        return dict.fromkeys(uploads, Message(**numbered(sums)))

    def state(self) -> State:
        """Return the average, who holds it, and what it was before the codec."""
        return {**super().state(), "exact": self.exact}

    def load_state(self, state: State) -> None:
        """Go on from such a state."""
        super().load_state(state)
        if self.exact is not None:
            pairs = zip(self.exact, state["exact"], strict=True)
            self.exact = [kept.to(mine) for mine, kept in pairs]
