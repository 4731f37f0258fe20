"""Feeds the decoder of messages bytes that no client of ours would send, led by coverage.

Source of the fuzzer: libFuzzer by way of Atheris (pip install -e ".[test]"). It starts from
honest messages of every codec in conf/codec and changes bytes; half of the time the header
and its declared length are kept in step, since nothing else gets past the first check. Read as
every kind of upload that a method declares, such bytes have to fit, or to raise MessageError,
in little time and memory. What begins with a byte from 128 on is a frame of packets, to a party or
to the server (``packets``).
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ifl.errors import ConfigError
from ifl.trials.faults.target import Target

LONGEST = 4096  # bytes of a message
FRAMES = b"\x80"  # the first bytes of those that are frames, from this one on
WORDS = (
    *("F64", "F32", "F16", "BF16", "I64", "I8", "U32", "U16", "U8", "F7", "dtype", "shape"),
    *("data_offsets", "__metadata__", "z", "y", "samples", "params.0", ":", ":scale", "[0]"),
    *("op", "begin", "reply", "turn", "round", "place", "bases", "busy", "packets", "bodies"),
    *("[3,2]", "99999999", "18446744073709551615", "-1", "0", "{", "}", "[", "]", ",", '\\"'),
)  # of a header


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
    say(
        f"{said['frames']} frames to a party and to the server: {said['answered']} were answered "
        f"or taken in, all others raised an error of the project; the slowest took "
        f"{1e3 * said['slowest_frame']:.1f} ms, the largest {said['largest_frame'] / 1e3:.0f} kB"
    )
    return bool(said["seen"] >= messages)


def _fuzz(messages: int, seed: int, folder: Path) -> None:
    """Fuzz in this process; libFuzzer ends it, with another exit code than 0 at a defect."""
    import atheris
    import torch._dynamo  # noqa: F401 (else in the middle of the first message)

    with atheris.instrument_imports(include=["ifl"]):
        import ifl.comm.channel  # noqa: F401 (and all that it takes to decode)
        from ifl.trials.faults.codecs import codecs
        from ifl.trials.faults.packets import Packets
    packets = Packets()
    target, corpus = Target(codecs()), folder / "corpus"
    corpus.mkdir()
    for number, message in enumerate([*target.honest(), *packets.honest()]):
        (corpus / str(number)).write_bytes(message)
    words = folder / "words"
    words.write_text("".join(f'"{word}"\n' for word in WORDS), encoding="utf-8")
    tracemalloc.start()
    for message in target.honest():
        target(message)
    for message in packets.honest():
        packets(message)

    def one(data: bytes) -> None:
        (packets if data[:1] >= FRAMES else target)(data)
        if target.seen >= messages:
            kept = ("seen", "fitted", "slowest", "largest")
            said = {name: getattr(target, name) for name in kept}
            said |= {"frames": packets.seen, "answered": packets.fitted}
            said |= {"slowest_frame": packets.slowest, "largest_frame": packets.largest}
            said |= {"codecs": list(target.codecs), "corpus": len(list(corpus.iterdir()))}
            (folder / "figures.json").write_text(json.dumps(said), encoding="utf-8")
            os._exit(0)

    def change(data: bytes, longest: int, number: int) -> bytes:
        which = random.Random(number)
        if which.random() < 0.5 or len(data) < 10:
            return bytes(atheris.Mutate(data, longest))
        if data[:1] >= FRAMES:  # a head is as long as the bytes before it say, in four of them
            return bytes(atheris.Mutate(data, longest))
        changed = in_step(data, lambda part: atheris.Mutate(part, max(len(part), 64)), which)
        return changed[:longest]

    options = [f"-seed={seed}", f"-max_len={LONGEST}", "-timeout=20", f"-dict={words}"]
    # The peak that libFuzzer reads is inherited from the process that started this one, so that it
    # says nothing; single allocations are limited, and the target measures those of a message.
    options += ["-rss_limit_mb=0", "-malloc_limit_mb=2048"]
    options += [f"-artifact_prefix={folder}/", "-verbosity=0", str(corpus)]
    atheris.Setup([sys.argv[0], *options], one, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    _fuzz(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
