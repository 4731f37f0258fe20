"""Readers of data sets: embedded ones, arrays, folders of pictures, torchvision."""
