"""Passes over many clients, or their blocks, without having all their networks in memory at once.

Clients that have a home (``ifl.client.client``) get a network when they are asked for it. A method
that asks one client after the other for it in ``open`` or ``blocks`` works with them all the same,
but has them all in memory until it is done.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from torch import nn

from ifl.client.client import Client


def alike(clients: Sequence[Client]) -> Sequence[Client]:
    """Return clients enough to try every network: all that have no home, the first of the others.

    Clients with a home have the network of another one, if they are not the first with it.
    """
    return [client for client in clients if client.home is None or client.like is None]


def in_passing(clients: Sequence[Client]) -> Iterator[Client]:
    """Yield clients one by one, to look at; one with no network in memory has none after its turn.

    What is changed of it in its turn may be lost.
    """
    for client in clients:
        home = client.home
        if home is None:
            yield client
            continue
        here = client.resident
        with home.looking():
            yield client
            if not here:
                home.let_go(client)


class Lazy(Mapping[str, nn.Module]):
    """Blocks by owner that are looked up when they are asked for, each time anew.

    Args:
        owners: in their order.
        block: returns that of an owner.
    """

    def __init__(self, owners: Collection[str], block: Callable[[str], nn.Module]) -> None:
        self._owners = dict.fromkeys(owners)
        self._block = block

    def __getitem__(self, owner: str) -> nn.Module:
        if owner not in self._owners:
            raise KeyError(owner)
        return self._block(owner)

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, owner: object) -> bool:
        return owner in self._owners


def of_clients(clients: Sequence[Client], block: Callable[[Client], nn.Module]) -> Lazy:
    """Return a block of each client, by its number as text."""
    owners = {str(client.number): client for client in clients}
    return Lazy(owners, lambda owner: block(owners[owner]))
