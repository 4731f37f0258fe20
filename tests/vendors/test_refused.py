"""Who is not of a federation is refused, in one sentence on both sides."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from federated import NAMES, data_of, listening, terms, vendor_of

import ifl.engines.grpc.caller as caller
from ifl.engines.grpc.caller import METHOD
from ifl.engines.grpc.certificates import CA, Authority, read_certificates
from ifl.engines.grpc.envelopes import Envelope, packed, packets_of, unpacked
from ifl.engines.grpc.line import check_size
from ifl.engines.grpc.listener import Listener
from ifl.errors import ConfigError, LostError, MessageError, RefusedError
from ifl.vendors.vendor import VendorRun

Knocks = Callable[..., tuple[str, str]]


def heard(said: list[str]) -> str:
    """Return the one sentence that the server says."""
    until = time.monotonic() + 20
    while not said and time.monotonic() < until:
        time.sleep(0.01)
    (sentence,) = said
    return sentence


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("refused")
    (found / "ann").mkdir()
    return found


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def listener(place: Path, said: list[str]) -> Iterator[Listener]:
    with listening(place, said) as found:
        found.begin(NAMES, lambda name, told: terms().refuses(told))
        yield found


@pytest.fixture
def knocks(place: Path, listener: Listener, said: list[str]) -> Knocks:
    """Return what a vendor and the server say when it calls."""

    def do(name: str, common: Any = terms(), **changes: Any) -> tuple[str, str]:  # noqa: B008
        settings = {"folder": f"run-{time.monotonic_ns()}", **changes}
        vendor = vendor_of("ann", place, listener.address, name=name, **settings)
        run = VendorRun(vendor, common, data_of("ann"))
        with pytest.raises((RefusedError, LostError)) as told:
            run.run()
        return str(told.value), heard(said)

    return do


def test_a_name_that_is_not_expected(place: Path, knocks: Knocks) -> None:
    Authority(place / "certificates").issue(["dora"])
    common = terms(parties=["dora", *NAMES])
    both = knocks("dora", common, certificates="../certificates/dora")
    assert both == (
        "the server refuses dora: 'dora' is no party of this federation: ann, ben, cleo",
        "dora is refused: 'dora' is no party of this federation: ann, ben, cleo",
    )


def test_a_certificate_of_somebody_else(place: Path, listener: Listener) -> None:
    vendor = vendor_of("ann", place, listener.address, certificates="../certificates/ben")
    with pytest.raises(ConfigError, match="own.crt is for 'ben', and this is 'ann'; name the fold"):
        VendorRun(vendor, terms(), data_of("ann"))


def test_a_name_that_is_not_that_of_the_certificate(
    knocks: Knocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ifl.vendors.vendor.read_certificates",
        lambda folder, name: read_certificates(folder, "ben"),
    )
    theirs, ours = knocks("ann", certificates="../certificates/ben")
    reason = "its certificate is for 'ben', and it calls itself 'ann'"
    assert (theirs, ours) == (f"the server refuses ann: {reason}", f"ann is refused: {reason}")


def test_other_terms(knocks: Knocks) -> None:
    theirs, ours = knocks("ann", terms(rounds=7))
    reason = "its agreed.yaml is not the server's: rounds is 7 there and 6 here; take the same file"
    assert (theirs, ours) == (f"the server refuses ann: {reason}", f"ann is refused: {reason}")


def test_another_version(knocks: Knocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "__version__", "0.0.9")
    theirs, ours = knocks("ann")
    assert theirs.startswith("the server refuses ann: it has version 0.0.9 of ifl, and the server ")
    assert ours.startswith("ann is refused: it has version 0.0.9 of ifl, and the server ")


def test_an_authority_that_the_server_does_not_know(place: Path, knocks: Knocks) -> None:
    Authority(place / "foreign").issue(["ann"])
    foreign = place / "foreign" / "ann"
    theirs, ours = knocks("ann", certificates=str(foreign))
    assert "is refused: its certificate is not one of 'server' by the authority in " in theirs
    assert ours.startswith("Somebody at 127.0.0.1 is refused: it showed no certificate, one of an")
    # one who believes the server, and is not believed
    (foreign / CA).write_bytes((place / "certificates" / "ann" / CA).read_bytes())
    theirs, _ = knocks("ann", certificates=str(foreign))
    assert f"refuses the certificate in {foreign}; ask for one of its authority" in theirs


def test_a_server_that_is_none_of_the_federation(place: Path, knocks: Knocks) -> None:
    with listening(place / "another", []) as impostor:
        theirs, _ = knocks_at(place, impostor.address)
    assert "is refused: its certificate is not one of 'server' by the authority in " in theirs


def knocks_at(place: Path, address: str) -> tuple[str, None]:
    vendor = vendor_of("ann", place, address, folder="elsewhere")
    with pytest.raises(RefusedError) as told:
        VendorRun(vendor, terms(), data_of("ann")).run()
    return str(told.value), None


def raw(channel: Any) -> str:
    """Call without anything of ours; return how it ends."""
    import grpc

    with channel:
        call = channel.stream_stream(METHOD)(iter([b"x"]))
        with pytest.raises(grpc.RpcError):
            next(call)
        return str(call.code().name)


def test_no_certificate(place: Path, listener: Listener, said: list[str]) -> None:
    import grpc

    trusted = grpc.ssl_channel_credentials((place / "certificates" / "ann" / CA).read_bytes())
    options = [("grpc.ssl_target_name_override", "server")]
    assert raw(grpc.secure_channel(listener.address, trusted, options)) == "UNAVAILABLE"
    assert heard(said).startswith("Somebody at 127.0.0.1 is refused: it showed no certificate, ")


def test_plain_text(listener: Listener, said: list[str]) -> None:
    import grpc

    assert raw(grpc.insecure_channel(listener.address)) == "UNAVAILABLE"
    assert heard(said) == (
        "Somebody at 127.0.0.1 is refused: it spoke plain text, and here is TLS with certificates "
        "of both sides alone"
    )


def test_nobody_there_is_told_after_some_patience(place: Path) -> None:
    vendor = vendor_of("ann", place, "127.0.0.1:9", folder="nobody", patience=0.1)
    with pytest.raises(LostError, match=r"there was no server at 127.0.0.1:9 for 0.1 s; the same"):
        VendorRun(vendor, terms(), data_of("ann")).run()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff\xff\xff",
        b"\x02\x00\x00\x00{}",
        packed(Envelope("ask", {"number": 1}))[:-1],
        packed(Envelope("ask", {"number": "1"})),
        packed(Envelope("shout")),
        packed(Envelope("ask", {"number": 1}, [b"xy"])) + b"z",
    ],
)
def test_bytes_that_are_no_envelope_are_an_error_of_ours(payload: bytes) -> None:
    with pytest.raises(MessageError):
        unpacked(payload)


@pytest.mark.parametrize(
    "head",
    [
        b"[]",
        b'{"bodies": 0, "busy": 0, "packets": {"1": []}}',
        b'{"bodies": 0, "busy": "x", "packets": {"0": []}}',
        b'{"bodies": 0, "busy": 0, "packets": {"0": [[{"op": "end"}, 5]]}}',
        b'{"bodies": 0, "busy": 0, "packets": {"0": [[{"op": 3}, 0]]}}',
        b'{"bodies": 0, "busy": 0, "packets": {"0": [{"kind": "KeyError"}]}}',
    ],
)
def test_a_frame_that_is_none_is_an_error_of_ours(head: bytes) -> None:
    with pytest.raises(MessageError):
        packets_of([head], 0)


def test_a_message_that_is_too_large_names_the_setting() -> None:
    with pytest.raises(ConfigError, match="a message of 3 MiB is to be sent, and 2 are the most; "):
        check_size(bytes(3 * 2**20), 2 * 2**20)
