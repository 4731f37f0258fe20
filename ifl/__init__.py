"""IFL: communication-efficient, interoperable distributed learning, measured in bytes.

Krouka & Bennis 2025, "Communication-Efficient and Interoperable Distributed Learning",
arXiv 2509.22823. ``__all__`` lists what a program or a notebook may call. Each name is loaded
when it is first used, so that reading results takes no torch::

    import ifl
    from functools import partial
    from pathlib import Path
    from torch.optim import SGD

    shape, d = (1, 8, 8), 16
    wide = ifl.Member(
        "wide",
        base=lambda: ifl.mlp_base(shape, widths=[64], fusion_dim=d),
        modular=lambda: ifl.mlp_modular(d, widths=[], classes=10),
    )
    convolutional = ifl.Member(
        "convolutional",
        base=lambda: ifl.conv_base(shape, channels=[8], fusion_dim=d),
        modular=lambda: ifl.mlp_modular(d, widths=[32], classes=10),
    )
    sgd = partial(SGD, lr=0.05, momentum=0.9)
    federation = ifl.build(
        data=ifl.digits(shape),
        partition=ifl.Dirichlet(alpha=0.5),
        members=[wide, convolutional],
        count=2,
        method=ifl.IFL(tau=5),
        training=ifl.Training(ifl.Optimizers(base=sgd, modular=sgd), batch_size=16, seed=0),
        codec=ifl.Float32(),
        fusion_dim=d,
    )
    with ifl.RunFolder(Path("my-run")) as folder:
        about = ifl.run(federation, folder, {"seed": 0}, ifl.Schedule(rounds=4, eval_every=2))
    print(about["result"]["accuracy_mean"], about["totals"]["uplink_bytes"])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ifl.analysis.collect import Group as Group
    from ifl.analysis.collect import Run as Run
    from ifl.analysis.collect import group_runs as group_runs
    from ifl.analysis.collect import load_runs as load_runs
    from ifl.blocks.export import export_block as export_block
    from ifl.blocks.files import read_block as read_block
    from ifl.blocks.program import Block as Block
    from ifl.client.client import Client as Client
    from ifl.client.privacy import Privacy as Privacy
    from ifl.client.settings import Optimizers as Optimizers
    from ifl.client.settings import Training as Training
    from ifl.comm.codecs import Float32 as Float32
    from ifl.comm.message import Message as Message
    from ifl.data.augment import Distortion as Distortion
    from ifl.data.dataset import Dataset as Dataset
    from ifl.data.dataset import Shard as Shard
    from ifl.data.owners import By as By
    from ifl.data.partition import Classes as Classes
    from ifl.data.partition import Dirichlet as Dirichlet
    from ifl.data.partition import Iid as Iid
    from ifl.data.partition import Quantity as Quantity
    from ifl.data.readers.arrays import from_arrays as from_arrays
    from ifl.data.readers.embedded import digits as digits
    from ifl.data.readers.folder import from_folder as from_folder
    from ifl.data.readers.vision import from_torchvision as from_torchvision
    from ifl.errors import IFLError as IFLError
    from ifl.federation.build import Federation as Federation
    from ifl.federation.build import build as build
    from ifl.federation.evaluation import Evaluation as Evaluation
    from ifl.federation.member import Member as Member
    from ifl.federation.participation import Participation as Participation
    from ifl.federation.runner import run as run
    from ifl.federation.schedule import Schedule as Schedule
    from ifl.federation.trained import Trained as Trained
    from ifl.federation.trained import load as load
    from ifl.loggers.base import Logger as Logger
    from ifl.methods.ifl import IFL as IFL
    from ifl.models import SplitModel as SplitModel
    from ifl.models import conv_base as conv_base
    from ifl.models import mlp_base as mlp_base
    from ifl.models import mlp_modular as mlp_modular
    from ifl.runs.folder import RunFolder as RunFolder
    from ifl.runs.folder import read_about as read_about

__version__ = "0.2.0"

_WHERE = {
    "ifl.federation.build": ["build", "Federation"],
    "ifl.federation.member": ["Member"],
    "ifl.federation.evaluation": ["Evaluation"],
    "ifl.federation.participation": ["Participation"],
    "ifl.federation.runner": ["run"],
    "ifl.federation.schedule": ["Schedule"],
    "ifl.federation.trained": ["Trained", "load"],
    "ifl.client.client": ["Client"],
    "ifl.client.privacy": ["Privacy"],
    "ifl.client.settings": ["Optimizers", "Training"],
    "ifl.comm.codecs": ["Float32"],
    "ifl.comm.message": ["Message"],
    "ifl.loggers.base": ["Logger"],
    "ifl.methods.ifl": ["IFL"],
    "ifl.models": ["SplitModel", "conv_base", "mlp_base", "mlp_modular"],
    "ifl.data.augment": ["Distortion"],
    "ifl.data.dataset": ["Dataset", "Shard"],
    "ifl.data.partition": ["Classes", "Dirichlet", "Iid", "Quantity"],
    "ifl.data.owners": ["By"],
    "ifl.data.readers.embedded": ["digits"],
    "ifl.data.readers.arrays": ["from_arrays"],
    "ifl.data.readers.folder": ["from_folder"],
    "ifl.data.readers.vision": ["from_torchvision"],
    "ifl.runs.folder": ["RunFolder", "read_about"],
    "ifl.analysis.collect": ["Group", "Run", "group_runs", "load_runs"],
    "ifl.blocks.export": ["export_block"],
    "ifl.blocks.files": ["read_block"],
    "ifl.blocks.program": ["Block"],
    "ifl.errors": ["IFLError"],
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ifl' has no attribute {name!r}; dir(ifl) lists what it has")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
