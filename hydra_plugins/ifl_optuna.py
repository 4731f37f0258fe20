"""Shows Hydra the searching sweeper of this project, see ``ifl_grid``."""

from ifl.cli import search


class OptunaSweeper(search.OptunaSweeper):
    """The sweeper of ``conf/hydra/sweeper/optuna.yaml``."""
