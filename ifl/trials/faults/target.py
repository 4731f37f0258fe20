"""Checks what the decoder makes of any bytes: one error type, little time and memory."""

import time
import tracemalloc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from ifl.comm.codecs import Codec
    from ifl.comm.message import Message
    from ifl.comm.schema import Form

AGREED = {"B": 3, "d": 2, "classes": 10}
SLOW_SECONDS = 1.0  # of the processor, for one message: a hang
SPARE, TIMES = 100_000, 8  # bytes that decoding may always take, and times those received


class DefectError(AssertionError):
    """The decoder did what it must never do."""


class Allocations(TorchDispatchMode):
    """Counts the bytes of tensors that torch makes: tracemalloc knows those of Python alone."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # the name is torch's
        """Do what torch would, and count what is new."""
        result = func(*args, **(kwargs or {}))
        old = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs or {}))}
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in old:
                self.bytes += storage.nbytes()
        return result


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, list | tuple) else []


class Target:
    """Decodes every message; its first byte chooses the codec and the form.

    Args:
        codecs: by name.
    """

    def __init__(self, codecs: Mapping[str, "Codec"]) -> None:
        # Imported where coverage is taken; see ``_fuzz``.
        from ifl.comm.message import decode, sizes
        from ifl.comm.schema import FUSION_BATCH, Expected, floats, labels
        from ifl.comm.wire import parse
        from ifl.errors import MessageError

        self.parse, self.decode, self.sizes, self.error = parse, decode, sizes, MessageError
        self.codecs = dict(codecs)
        forms: list[Form | None] = [
            FUSION_BATCH,
            {"samples": Expected((), torch.int64, 1, 99), "params.0": floats(4, "d")},
            {"x": Expected(("B", 1, 4, 4), torch.uint8), "y": labels("B")},
            None,
        ]
        self.ways = [(name, form) for name in self.codecs for form in forms]
        self.seen = self.fitted = 0
        self.slowest, self.largest = 0.0, 0.0

    def __call__(self, data: bytes) -> None:
        """Read one message.

        Raises:
            DefectError: it took too long or too much memory, or what was let through does
                not fit its form. Any other exception is a defect too.
        """
        name, form = self.ways[(data[0] if data else 0) % len(self.ways)]
        payload, codec = bytes(data[1:]), self.codecs[name]
        limit = TIMES * len(payload) + SPARE
        arrived, spent, taken = self._measured(payload, codec, form)
        if taken > limit:  # the first of its kind may load modules
            arrived, spent, taken = self._measured(payload, codec, form)
        self.seen += 1
        self.fitted += arrived is not None
        self.slowest = max(self.slowest, spent)
        self.largest = max(self.largest, taken)
        if spent > SLOW_SECONDS:
            raise DefectError(f"{name}: {len(payload)} bytes took {spent:.1f} s")
        if taken > limit:
            raise DefectError(f"{name}: {len(payload)} bytes took {taken} bytes of memory")
        if arrived is not None and form is not None:
            self._fits(arrived, form)

    def _measured(
        self, payload: bytes, codec: "Codec", form: "Form | None"
    ) -> "tuple[Message | None, float, int]":
        """Return what is read, the seconds that it took, and the bytes of memory."""
        tracemalloc.reset_peak()
        before, start = tracemalloc.get_traced_memory()[0], time.thread_time()
        with Allocations() as allocations:
            arrived = self._read(payload, codec, form)
        spent = time.thread_time() - start
        return arrived, spent, allocations.bytes + tracemalloc.get_traced_memory()[1] - before

    def _read(self, payload: bytes, codec: "Codec", form: "Form | None") -> "Message | None":
        try:
            parsed = self.parse(payload)
            counted = sum(self.sizes(parsed).values())
            if counted != len(payload):
                raise DefectError(f"{len(payload)} bytes are counted as {counted}")
            return self.decode(parsed, codec, form, AGREED)
        except self.error:
            return None

    def _fits(self, message: "Message", form: "Form") -> None:
        """Check independently of ``ifl.comm.schema`` what it let through."""
        if message.tensors.keys() != form.keys():
            raise DefectError(f"let through {list(message.tensors)}")
        for name, expected in form.items():
            tensor = message.tensors[name]
            shape = [AGREED[n] if isinstance(n, str) else n for n in expected.shape]
            fits = list(tensor.shape) == shape
            fits &= tensor.dtype == (expected.dtype or torch.float32)
            fits &= bool(torch.isfinite(tensor).all())
            if name == "y":
                fits &= all(0 <= label < AGREED["classes"] for label in tensor.tolist())
            if name == "samples":
                fits &= 1 <= int(tensor) < 99
            if not fits:
                raise DefectError(f"let through {name}: {tensor}")

    def honest(self) -> list[bytes]:
        """Return a message that fits for every way, to start from."""
        from ifl.comm.message import Message, encode

        generator = torch.Generator().manual_seed(0)
        found = []
        for way, (name, form) in enumerate(self.ways):
            z, y = torch.randn(3, 2, generator=generator), torch.tensor([9, 0, 4])
            sent = {"z": z, "y": y}
            if form and "params.0" in form:
                sent = {"samples": torch.tensor(7), "params.0": torch.randn(4, 2)}
            elif form and "x" in form:
                sent = {"x": torch.zeros(3, 1, 4, 4, dtype=torch.uint8), "y": y}
            found.append(bytes([way]) + encode(Message(**sent), self.codecs[name], 10))
        return found
