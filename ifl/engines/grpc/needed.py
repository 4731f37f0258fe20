"""Says in a sentence which packages are to be installed, where they are not."""

from ifl.errors import ConfigError

INSTALL = 'pip install "ifl[grpc]"'


def check_installed(what: str) -> None:
    """Raise ConfigError unless gRPC and what makes certificates are there.

    Args:
        what: needs them, as a user types it.
    """
    try:
        import cryptography.x509  # noqa: F401
        import grpc  # noqa: F401
    except ImportError as error:
        name = "grpcio" if "grpc" in str(error) else "cryptography"
        raise ConfigError(f"{what} needs the package {name}: {INSTALL}") from error
