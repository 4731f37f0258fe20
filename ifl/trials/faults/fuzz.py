"""Feeds the decoder of messages bytes that no client of ours would send, led by coverage.

Source of the fuzzer: libFuzzer by way of Atheris (pip install -e ".[test]"). It starts from
honest messages of every codec in conf/codec and changes bytes; half of the time the header
and its declared length are kept in step, since nothing else gets past the first check. Read as
every kind of upload that a method declares, such bytes have to fit, or to raise MessageError,
in little time and memory.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ifl.errors import ConfigError

if TYPE_CHECKING:
    from ifl.comm.codecs import Codec
    from ifl.comm.message import Message
    from ifl.comm.schema import Form

AGREED = {"B": 3, "d": 2, "classes": 10}
LONGEST = 2048  # bytes of a message
SLOW_SECONDS = 1.0  # of the processor, for one message: a hang
SPARE, TIMES = 100_000, 8  # bytes that decoding may always take, and times those received
WORDS = (
    *("F64", "F32", "F16", "BF16", "I64", "I8", "U32", "U16", "U8", "F7", "dtype", "shape"),
    *("data_offsets", "__metadata__", "z", "y", "samples", "params.0", ":", ":scale", "[0]"),
    *("[3,2]", "99999999", "18446744073709551615", "-1", "0", "{", "}", "[", "]", ",", '\\"'),
)  # of a header


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
    """What is done with every message; the first byte chooses the codec and the form.

    Args:
        codecs: by name.
    """

    def __init__(self, codecs: Mapping[str, "Codec"]) -> None:
        # Imported where coverage is taken; see ``_fuzz``.
        from ifl.comm.message import decode, sizes
        from ifl.comm.schema import FUSION_BATCH, Expected, floats, labels
        from ifl.errors import MessageError

        self.decode, self.sizes, self.error = decode, sizes, MessageError
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
        tracemalloc.reset_peak()
        before, start = tracemalloc.get_traced_memory()[0], time.thread_time()
        with Allocations() as allocations:
            arrived = self._read(payload, codec, form)
        spent = time.thread_time() - start
        taken = allocations.bytes + tracemalloc.get_traced_memory()[1] - before
        self.seen += 1
        self.fitted += arrived is not None
        self.slowest = max(self.slowest, spent)
        self.largest = max(self.largest, taken)
        if spent > SLOW_SECONDS:
            raise DefectError(f"{name}: {len(payload)} bytes took {spent:.1f} s")
        if taken > TIMES * len(payload) + SPARE:
            raise DefectError(f"{name}: {len(payload)} bytes took {taken} bytes of memory")
        if arrived is not None and form is not None:
            self._fits(arrived, form)

    def _read(self, payload: bytes, codec: "Codec", form: "Form | None") -> "Message | None":
        try:
            arrived = self.decode(payload, codec, form, AGREED)
        except self.error:
            arrived = None
        try:
            counted = sum(self.sizes(payload).values())
        except self.error:
            if arrived is not None:
                raise DefectError("bytes without a size were let through") from None
        else:
            if counted != len(payload):
                raise DefectError(f"{len(payload)} bytes are counted as {counted}")
        return arrived

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


def in_step(data: bytes, change: Callable[[bytes], bytes], which: random.Random) -> bytes:
    """Change the header or the tensors of a message and declare the header's new length."""
    way, length, rest = data[:1], int.from_bytes(data[1:9], "little"), data[9:]
    header, tensors = rest[:length], rest[length:]
    if which.random() < 0.5:
        header = change(header)
    else:
        tensors = change(tensors)
    return way + len(header).to_bytes(8, "little") + header + tensors


def fuzz(messages: int, seed: int, say: Callable[[str], None], patience: float = 7200) -> bool:
    """Try so many messages in a process of its own; say what came of it, return whether well.

    Raises:
        ConfigError: Atheris is not installed.
    """
    if find_spec("atheris") is None:
        raise ConfigError(
            'the fuzz needs Atheris, which is not installed: pip install -e ".[test]" (Linux '
            "on x86-64, Python from 3.11 on)"
        )
    with tempfile.TemporaryDirectory(prefix="ifl-fuzz-") as folder:
        command = [sys.executable, "-m", f"{__package__}.fuzz", str(messages), str(seed), folder]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=patience,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        figures = Path(folder) / "figures.json"
        if done.returncode or not figures.exists():
            culprit = next(Path(folder).glob("*-*"), None)  # crash-..., timeout-..., oom-...
            say(done.stdout.decode(errors="replace")[-3000:])
            say(f"the message, in hex: {culprit.read_bytes().hex() if culprit else 'unknown'}")
            return False
        said = json.loads(figures.read_text(encoding="utf-8"))
    say(
        f"{said['seen']} messages to {', '.join(said['codecs'])}: {said['fitted']} fitted, all "
        f"others raised MessageError; {said['corpus']} of them led to new code, the slowest took "
        f"{1e3 * said['slowest']:.1f} ms, the largest {said['largest'] / 1e3:.0f} kB"
    )
    return bool(said["seen"] >= messages)


def _fuzz(messages: int, seed: int, folder: Path) -> None:
    """Fuzz in this process; libFuzzer ends it, with another exit code than 0 at a defect."""
    import atheris
    import torch._dynamo  # noqa: F401 (else in the middle of the first message)

    with atheris.instrument_imports(include=["ifl"]):
        import ifl.comm.channel  # noqa: F401 (and all that it takes to decode)
        from ifl.trials.faults.codecs import codecs
    target, corpus = Target(codecs()), folder / "corpus"
    corpus.mkdir()
    for number, message in enumerate(target.honest()):
        (corpus / str(number)).write_bytes(message)
    words = folder / "words"
    words.write_text("".join(f'"{word}"\n' for word in WORDS), encoding="utf-8")
    tracemalloc.start()
    for message in target.honest():
        target(message)

    def one(data: bytes) -> None:
        target(data)
        if target.seen >= messages:
            kept = ("seen", "fitted", "slowest", "largest")
            said = {name: getattr(target, name) for name in kept}
            said |= {"codecs": list(target.codecs), "corpus": len(list(corpus.iterdir()))}
            (folder / "figures.json").write_text(json.dumps(said), encoding="utf-8")
            os._exit(0)

    def change(data: bytes, longest: int, number: int) -> bytes:
        which = random.Random(number)
        if which.random() < 0.5 or len(data) < 10:
            return bytes(atheris.Mutate(data, longest))
        changed = in_step(data, lambda part: atheris.Mutate(part, max(len(part), 64)), which)
        return changed[:longest]

    options = [f"-seed={seed}", f"-max_len={LONGEST}", "-timeout=20", f"-dict={words}"]
    options += [f"-artifact_prefix={folder}/", "-verbosity=0", str(corpus)]
    atheris.Setup([sys.argv[0], *options], one, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    _fuzz(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
