"""The studies of the paper and of its open questions: how each is drawn and what it claims."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ifl.charts import draw_matrices
from ifl.gather import Group
from ifl.plots import ROUNDS, UPLINK, draw_curves, summarise, tabulate
from ifl.studies import (
    ablation,
    choices,
    clients,
    communication,
    compositions,
    optimizer,
    pareto,
    shard_size,
    sweeps,
    tau,
    uplink,
    upload_rows,
)
from ifl.studies.study import METHODS, Claim, Study
from ifl.tables import Table

MODULES = [uplink, compositions, communication, clients, sweeps, tau, optimizer, shard_size]
MODULES += [upload_rows, pareto, ablation, choices]
_KNOWN = {study.name: study for module in MODULES for study in module.STUDIES}
_ORDER = ["paper/accuracy_vs_uplink", "paper/composition", "paper/homogeneous"]
_ORDER += ["paper/communication", "open/clients", "open/fusion_dim", "open/tau", "open/alpha"]
_ORDER += ["open/diversity", "open/depth", "open/optimizer", "open/shard_size"]
_ORDER += ["open/upload_rows", "beyond/pareto", "beyond/ablation", "beyond/choices"]
STUDIES = {name: _KNOWN[name] for name in _ORDER}


def draw(groups: Sequence[Group]) -> dict[str, Figure]:
    """Draw any runs."""
    figures = {
        "accuracy-uplink": draw_curves(groups, UPLINK),
        "accuracy-rounds": draw_curves(groups, ROUNDS),
    }
    if matrices := draw_matrices(groups):
        figures["compositions"] = matrices
    return figures


__all__ = ["METHODS", "STUDIES", "Claim", "Study", "Table", "draw", "summarise", "tabulate"]
