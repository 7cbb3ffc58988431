"""What the scripts have in common: reading the digits, and a logistic regression."""

import gzip
import os
import struct

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression


def load(path):
    """Return what is in a gzipped idx file: a row for each image, or the labels."""
    with gzip.open(path) as file:
        dimensions = struct.unpack(">HBB", file.read(4))[2]
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        content = np.frombuffer(file.read(), dtype=np.uint8)
    return content if dimensions == 1 else content.reshape(shape[0], -1) / 255.0


def fit(folder, regularization):
    """Return a model of the digits in a folder, and how many of the test set it gets right."""
    images, labels, test_images, test_labels = (
        load(os.path.join(folder, f"{name}.gz"))
        for name in ("train-images", "train-labels", "test-images", "test-labels")
    )
    print("Train a logistic regression model with regularization rate of", regularization)
    model = LogisticRegression(C=1.0 / regularization, tol=5e-4, max_iter=1000, random_state=42)
    model.fit(images, labels)
    print("Predict the test set")
    accuracy = float((model.predict(test_images) == test_labels).mean())
    print("Accuracy is", accuracy)
    return model, accuracy


def save(model, name):
    """Leave the model among the outputs."""
    os.makedirs("outputs", exist_ok=True)
    joblib.dump(model, os.path.join("outputs", name))
