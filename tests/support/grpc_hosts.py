"""One process for the parties of all tests of a module that pass gRPC."""

from ifl.engines.grpc.engine import Grpc

HOST = Grpc(hosts=1)


def host() -> Grpc:
    """A ``_target_``: this process, whatever federation it had before."""
    return HOST
