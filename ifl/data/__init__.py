"""Samples and labels: sources, splits, partitions and augmentation.

Names are loaded when they are first used: to recognise files takes no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ifl.data.dataset import Dataset as Dataset
    from ifl.data.dataset import Shard as Shard
    from ifl.data.readers.arrays import from_arrays as from_arrays
    from ifl.data.readers.embedded import breast_cancer as breast_cancer
    from ifl.data.readers.embedded import digits as digits
    from ifl.data.readers.embedded import kmnist10k as kmnist10k
    from ifl.data.readers.folder import from_folder as from_folder
    from ifl.data.readers.vision import from_torchvision as from_torchvision

_WHERE = {
    "Dataset": "dataset",
    "Shard": "dataset",
    "breast_cancer": "readers.embedded",
    "digits": "readers.embedded",
    "from_arrays": "readers.arrays",
    "from_folder": "readers.folder",
    "from_torchvision": "readers.vision",
    "kmnist10k": "readers.embedded",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'ifl.data' has no attribute {name!r}")
    return getattr(import_module(f"ifl.data.{_WHERE[name]}"), name)
