"""Lists every codec that has a yaml, by name."""

from hydra import compose, initialize_config_dir

from ifl.cli.build import make
from ifl.cli.config import CONF
from ifl.comm.codecs import Codec


def codecs() -> dict[str, Codec]:
    """Return the codecs as their yaml files make them."""
    names = sorted(path.stem for path in (CONF / "codec").glob("*.yaml"))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return {name: make(compose("config", [f"codec={name}"]).codec) for name in names}
