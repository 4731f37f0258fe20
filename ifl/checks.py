"""Rules that settings keep, each a sentence when broken."""

from collections.abc import Sequence

from ifl.client import Client
from ifl.errors import ConfigError


def at_least(field: str, value: float, low: float) -> None:
    """Raise ConfigError unless value >= low."""
    if not value >= low:
        raise ConfigError(f"{field} must be >= {low}, got {value}")


def one_of(field: str, value: str, *allowed: str) -> None:
    """Raise ConfigError unless the value is one of those allowed."""
    if value not in allowed:
        raise ConfigError(f"{field} must be one of {', '.join(allowed)}, got {value}")


def same_architecture(method: str, clients: Sequence[Client], whole: bool) -> None:
    """Raise ConfigError unless all clients' parameters have the same names and shapes.

    Args:
        whole: compare whole networks; else base blocks alone.
    """

    def layout(client: Client) -> tuple[str, list[tuple[str, tuple[int, ...]]]]:
        block = client.model if whole else client.model.base
        return repr(block), [(n, tuple(t.shape)) for n, t in block.state_dict().items()]

    first = layout(clients[0])
    others = [c.name for c in clients if layout(c) != first]
    if others:
        raise ConfigError(
            f"{method} averages parameters and needs one architecture, but {', '.join(others)} "
            f"differ{'s' * (len(others) == 1)} from {clients[0].name}; use clients=cnn_homogeneous "
            "or clients=mlp_homogeneous"
        )
