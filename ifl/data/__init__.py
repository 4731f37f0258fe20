"""Images and labels: sources, splits, partitions and augmentation."""

from ifl.data.dataset import Dataset, Shard
from ifl.data.sources import digits, from_torchvision, kmnist10k

__all__ = ["Dataset", "Shard", "digits", "from_torchvision", "kmnist10k"]
