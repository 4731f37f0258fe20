"""Studies of the paper's claims and open questions: figures, tables and claims of each."""

from ifl.analysis.studies import accuracy_vs_uplink, communication, composition
from ifl.analysis.studies.base import Claim, Study
from ifl.analysis.studies.beyond import ablation, choices, codecs, frontier, pareto, transfer
from ifl.analysis.studies.general import draw, summarise, tabulate
from ifl.analysis.studies.open import (
    alpha,
    byzantine,
    clients,
    family_rates,
    fusion_dim,
    late_vendor,
    optimizer,
    privacy,
    shard_size,
    skew,
    statistics,
    tau,
    upload_rows,
)
from ifl.analysis.tables import Table

MODULES = [accuracy_vs_uplink, composition, communication, clients, fusion_dim, alpha, tau]
MODULES += [optimizer, shard_size, upload_rows, late_vendor, privacy, statistics, byzantine]
MODULES += [skew, family_rates, pareto, choices, frontier, ablation, codecs, transfer]
_KNOWN = {study.name: study for module in MODULES for study in module.STUDIES}
_ORDER = ["paper/accuracy_vs_uplink", "paper/composition", "paper/homogeneous"]
_ORDER += ["paper/communication", "open/clients", "open/fusion_dim", "open/tau", "open/alpha"]
_ORDER += ["open/family_rates", "open/diversity", "open/depth", "open/optimizer"]
_ORDER += ["open/shard_size"]
_ORDER += ["open/upload_rows", "open/statistics", "open/privacy"]
_ORDER += ["open/late_vendor", "open/byzantine"]
_ORDER += ["open/skew", "open/skew_choices", "open/anchors"]
_ORDER += ["beyond/pareto", "beyond/choices", "beyond/frontier"]
_ORDER += ["beyond/ablation", "beyond/codecs", "beyond/transfer"]
STUDIES = {name: _KNOWN[name] for name in _ORDER}


__all__ = ["STUDIES", "Claim", "Study", "Table", "draw", "summarise", "tabulate"]
