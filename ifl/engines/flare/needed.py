"""Says in a sentence which packages are to be installed, where they are not."""

from importlib.util import find_spec

from ifl.engines.grpc.needed import check_installed as check_grpc
from ifl.errors import ConfigError

INSTALL = 'pip install "ifl[flare]"'


def check_installed(what: str) -> None:
    """Raise ConfigError unless FLARE, and all that gRPC takes, are there.

    Args:
        what: needs them, as a user types it.
    """
    if find_spec("nvflare") is None:
        raise ConfigError(f"{what} needs the package nvflare: {INSTALL}")
    check_grpc(what)
