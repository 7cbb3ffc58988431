"""Read the idx files in which the MNIST digits are distributed."""

import gzip
import struct

import numpy as np

LABELS_MAGIC = 2049
IMAGES_MAGIC = 2051


def load_data(path, is_label):
    """Return the labels of a gzipped idx file as a vector, or its images as a matrix with one row an image."""
    with gzip.open(path) as file:
        magic, count = struct.unpack(">II", file.read(8))
        expected = LABELS_MAGIC if is_label else IMAGES_MAGIC
        if magic != expected:
            raise ValueError(f"{path} begins with {magic} instead of {expected}: is it the right idx file?")
        if is_label:
            shape = (count,)
        else:
            rows, columns = struct.unpack(">II", file.read(8))
            shape = (count, rows * columns)
        return np.frombuffer(file.read(), dtype=np.uint8).reshape(shape)
