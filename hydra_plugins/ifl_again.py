"""Lets Hydra look first at what is made of a run's own configuration, see ``ifl.cli.again``."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from ifl.cli.again import STORED


class RunSearchPath(SearchPathPlugin):
    """Puts the store of configurations before the files where a run is repeated."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add it, if there is anything in it."""
        if STORED:
            search_path.prepend("schema", "structured://")  # Hydra knows the store by this name
