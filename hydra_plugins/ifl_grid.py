"""Shows Hydra the sweeper of this project: it takes only classes that a module here defines."""

from ifl.cli import sweep


class GridSweeper(sweep.GridSweeper):
    """The sweeper of ``conf/hydra/sweeper/grid.yaml``."""
