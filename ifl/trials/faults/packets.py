"""Checks what a party, and the server, make of any bytes in place of a frame.

A frame is what crosses an engine: heads, and bodies with messages, test sets, z, counts and states.
Whatever it holds, each packet in it is answered, or taken in, or raises an error of the project, in
little time and memory.
"""

import time
import tracemalloc
from collections.abc import Sequence
from functools import partial

import torch
from safetensors.torch import save

from ifl.client.client import Client
from ifl.client.settings import Optimizers, Training
from ifl.comm.channel import Channel
from ifl.comm.codecs import Float32
from ifl.data.dataset import Shard
from ifl.engines.admission import Reception
from ifl.engines.base import Answer, Packet, packet_of
from ifl.engines.frames import Frame, framed, unframed
from ifl.engines.party import Party
from ifl.engines.strict import ANSWERS, counts, fitting, floats, load_client, losses_of, tensors
from ifl.errors import IFLError
from ifl.methods.ifl import IFL
from ifl.models import SplitModel, mlp_base, mlp_modular
from ifl.runs.checkpoint import to_bytes
from ifl.trials.faults.target import SLOW_SECONDS, Allocations, DefectError

SHAPE, B, DIM, CLASSES, ROWS = (1, 2, 2), 3, 2, 10, 4  # ROWS are of the test set
SPARE, TIMES = 1_000_000, 40  # bytes that a frame may always take, and times those received
NUMBER = 0  # of the client
PREFIX = 4  # bytes of the length before each part of a frame


def joined(frame: Frame) -> bytes:
    """Return a frame as one run of bytes, each part after its length."""
    return b"".join(len(part).to_bytes(PREFIX, "little") + part for part in frame)


def parted(data: bytes) -> Frame:
    """Return the frame in a run of bytes; a part that is cut ends where they do."""
    frame: Frame = []
    at = 0
    while at < len(data) or not frame:
        end = at + PREFIX + int.from_bytes(data[at : at + PREFIX], "little")
        frame.append(data[at + PREFIX : end])
        at = end
    return frame


def party() -> Party:
    """Return a small client of IFL behind packets."""
    draws = torch.Generator().manual_seed(0)
    shard = Shard(
        torch.randint(0, 256, (8, *SHAPE), generator=draws, dtype=torch.uint8), torch.arange(8)
    )
    plain = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    training = Training(Optimizers(plain, plain), B)
    model = SplitModel(mlp_base(SHAPE, [], DIM), mlp_modular(DIM, [], CLASSES))
    client = Client("client 0 (small)", NUMBER, model, shard, training)
    agreed = {"B": B, "d": DIM, "N": 2, "batches": 2 * B}
    return Party(client, IFL(tau=1), Channel(Float32(), CLASSES, agreed=agreed), True)


class Packets:
    """Hands frames to a party, and to the server as a party's answers.

    The last bit of the first byte says to whom, as libFuzzer's other messages have codec and form.
    """

    def __init__(self) -> None:
        self.party = party()
        self.state = to_bytes(self.party.client.state())
        self.server = self.party.method.open([self.party.client], self.party.client.training)
        self.seen = self.fitted = 0
        self.slowest, self.largest = 0.0, 0.0

    def honest(self) -> list[bytes]:
        """Return frames that a server and a party of ours send."""
        self._restore()
        x = torch.zeros(ROWS, *SHAPE)
        shown = Packet({"op": "show"}, save({"x": x, "y": torch.arange(ROWS)}))
        z = save({"0": torch.ones(ROWS, DIM), "1": torch.zeros(ROWS, DIM)})
        judged = [Packet({"op": op, "bases": ["0", "1"]}, z) for op in ("score", "guess")]
        begin = Packet({"op": "begin", "round": 1})
        upload = self.party.answer(begin)
        replies = self.server.reply({NUMBER: upload.message}, torch.Generator())  # type: ignore[dict-item]
        self.party.channel.begin_round(1)
        pool = self.party.channel.down(replies)[NUMBER]
        asked: list[list[Packet]] = [
            [Packet({"op": "hello"}), shown, Packet({"op": "z"}), *judged],
            [begin, packet_of(pool, op="reply", turn=1), Packet({"op": "keep", "round": 1})],
            [begin, Packet({"op": "leave"})],
            [Packet({"op": "load"}, self.state)],
        ]
        found = []
        for packets in asked:
            self._restore()
            answers = [self.party.answer(packet) for packet in packets]
            found.append(b"\x80" + joined(framed({NUMBER: packets})))
            found.append(b"\x81" + joined(framed({NUMBER: answers}, 0.5)))
        return found

    def __call__(self, data: bytes) -> None:
        """Hand on one frame.

        Raises:
            DefectError: it took too long or too much memory. Any exception that is not of the
                project is a defect too.
        """
        way, limit = (data[0] if data else 0) & 1, TIMES * len(data) + SPARE
        for _ in range(2):  # the first of its kind may load modules
            self._restore()
            tracemalloc.reset_peak()
            before, start = tracemalloc.get_traced_memory()[0], time.thread_time()
            with Allocations() as allocations:
                fits = (self._answered if way else self._asked)(data[1:])
            spent = time.thread_time() - start
            taken = allocations.bytes + tracemalloc.get_traced_memory()[1] - before
            if taken <= limit:
                break
        self.seen += 1
        self.fitted += fits
        self.slowest, self.largest = max(self.slowest, spent), max(self.largest, taken)
        if spent > SLOW_SECONDS:
            raise DefectError(f"a frame of {len(data)} bytes took {spent:.1f} s")
        if taken > limit:
            raise DefectError(f"a frame of {len(data)} bytes took {taken} bytes of memory")

    def _restore(self) -> None:
        load_client(self.party.client, self.state)
        self.party.forget()

    def _asked(self, data: bytes) -> bool:
        """Let the party answer a frame; return whether it did all that it was asked.

        It answers up to a state, which it believes: a state is for parties of one owner.
        """
        try:
            for packet in self._packets(data):
                if isinstance(packet, Exception):
                    return False
                self.party.answer(packet)
                if packet.op == "load":
                    break
        except IFLError:
            return False
        return True

    def _answered(self, data: bytes) -> bool:
        """Let the server take in a frame as answers; return whether it took all."""
        try:
            for answer in self._packets(data):
                self._taken(answer)
        except IFLError:
            return False
        return True

    def _packets(self, data: bytes) -> Sequence[Answer]:
        return [packet for its in unframed(parted(data)).values() for packet in its]

    def _taken(self, answer: Answer) -> None:
        """Take in an answer as the server does, whatever it was asked for that is answered so."""
        if isinstance(answer, Exception):
            raise answer
        client = self.party.client
        asked = next((op for op, known in ANSWERS.items() if answer.op in known), "hello")
        (fits,) = fitting([Packet({"op": asked})], [answer], client.name)
        if isinstance(fits, Exception):
            raise fits
        body = fits.body
        if fits.op == "upload":
            channel = Channel(Float32(), CLASSES, agreed=self.party.channel.agreed)
            Reception(self.server, channel, [client]).receive({NUMBER: fits}, 0)
        elif fits.op == "end":
            losses_of(fits, "cpu")
        elif fits.op == "state":
            load_client(client, body)
        elif fits.op == "z":
            floats(tensors(body, {"z"}, (ROWS, DIM)))
        elif fits.op == "score":
            counts(tensors(body, {"0", "1"}, (3, CLASSES)), ROWS)
        elif fits.op == "guess":
            counts(tensors(body, {"0", "1"}, (ROWS,)), CLASSES - 1)
