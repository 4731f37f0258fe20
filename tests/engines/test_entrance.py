"""A party calls its server at a Unix socket that nobody else can call, as it would at a port."""

import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Build, composed
from federated import Party, joined, listening, terms, vendor_of
from hosts import tables, written
from test_grpc import FOUR, NETWORKS
from tunnels import TUNNELLED, entrance, short_folder, tunnelled

from ifl.cli.build import assemble
from ifl.engines.flare.entrance import Entrance
from ifl.engines.grpc.caller import refusal
from ifl.engines.grpc.certificates import Authority, read_certificates
from ifl.engines.grpc.places import called_place
from ifl.errors import ConfigError
from ifl.methods.ifl import IFL
from ifl.vendors.server import VendorServer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no Unix sockets")


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    """End the process that all tests share: its server's threads would keep this one alive."""
    yield
    TUNNELLED.close()


@pytest.fixture
def place() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.mark.parametrize("typed", ["method=ifl codec=int4", "method=fsl"])
def test_through_a_tunnel_the_tables_are_those_of_one_process(typed: str, tmp_path: Path) -> None:
    found: list[dict[str, str]] = []
    for engine in ((), ("engine._target_=tunnels.tunnelled",)):
        federation = assemble(composed(*NETWORKS, "local.tau=2", *typed.split(), *engine))
        found.append(tables(federation, tmp_path / str(len(found)), FOUR))
    assert found[0] == found[1]
    assert TUNNELLED.exchanges > 4


def test_a_run_after_another_takes_the_same_way(tiny: Build) -> None:
    federation = tiny(IFL(tau=1), count=2, transport=tunnelled())
    federation.engine.round(1)
    assert TUNNELLED.exchanges >= 1


def test_vendors_reach_their_server_through_it(tmp_path: Path) -> None:
    common, said = terms(), list[str]()
    with listening(tmp_path, said) as listener, entrance(listener.address) as address:
        assert address.startswith("unix:/")
        parties = [Party(run.run) for run in joined(tmp_path, address, common).values()]
        about = VendorServer(common, tmp_path / "run", listener, 20, say=said.append).run()
        listener.part()
        for party in parties:
            party.join(20)
    assert [party.error for party in parties] == ["", "", ""]
    assert {*about["traffic"].values()} == {"equal"}
    assert len(written(tmp_path / "run")["rounds"].splitlines()) == 7


def test_why_a_server_refuses_is_learnt_there_too(tmp_path: Path) -> None:
    Authority(tmp_path / "foreign").issue(["ann"])
    strange = read_certificates(tmp_path / "foreign" / "ann", "ann")
    with listening(tmp_path, []) as listener, entrance(listener.address) as address:
        why = refusal(called_place(address), strange)
    assert str(why).startswith(f"the server at {address} is refused: its certificate is not one of")
    assert refusal(called_place(address), strange) is None  # nobody is there


def test_its_socket_and_folder_are_its_owners_alone(place: Path) -> None:
    path = place / "own" / "ifl"
    door = Entrance(path, socket.socket.close)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with pytest.raises(ConfigError, match=r"^socket /.*ifl is taken; end who listens there"):
        Entrance(path, socket.socket.close)
    door.close()
    assert not path.exists()


def test_one_that_was_left_behind_is_replaced(place: Path) -> None:
    path = place / "own" / "ifl"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    Entrance(path, socket.socket.close).close()


def test_a_folder_that_others_can_enter_is_refused(place: Path) -> None:
    (place / "open").mkdir()
    (place / "open").chmod(0o755)
    with pytest.raises(ConfigError, match=r"must be a folder that its owner alone can enter"):
        Entrance(place / "open" / "ifl", socket.socket.close)


def test_its_path_goes_from_the_folder_of_the_vendors_file(tmp_path: Path) -> None:
    vendor = vendor_of("ann", tmp_path, "unix:socket/ifl")
    assert vendor.address == f"unix:{tmp_path / 'ann' / 'socket' / 'ifl'}"
    assert vendor_of("ann", tmp_path, "host:7440").address == "host:7440"


@pytest.mark.parametrize("address", ["unix:", "unix:relative", f"unix:/{'x' * 100}", "unix:/a\0b"])
def test_what_is_no_path_of_a_socket_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^the path of a socket must start with / and have at"):
        called_place(address)
