"""Samples and labels: sources, splits, partitions and augmentation."""

from ifl.data.dataset import Dataset, Shard
from ifl.data.sources import breast_cancer, digits, from_torchvision, kmnist10k

__all__ = ["Dataset", "Shard", "breast_cancer", "digits", "from_torchvision", "kmnist10k"]
