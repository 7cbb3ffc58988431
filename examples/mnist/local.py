"""Look at the digits and train a baseline on this machine, before any cluster is involved."""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from utils import load_data

plt.switch_backend("Agg")  # draws into files, so no display is needed


def draw_digits(images, labels, path, count=30):
    """Save a picture of `count` random digits, each under its label."""
    chosen = np.random.default_rng().permutation(len(images))[:count]
    figure, axes = plt.subplots(1, count, figsize=(count / 2, 1))
    for axis, index in zip(axes, chosen, strict=True):
        axis.imshow(images[index].reshape(28, 28), cmap="Greys")
        axis.set_title(int(labels[index]))
        axis.axis("off")
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", type=Path, default=Path(__file__).parent / "data")
    parser.add_argument("--picture", type=Path, default=Path("outputs/digits.png"))
    args = parser.parse_args()

    X_train = load_data(args.data_folder / "train-images.gz", is_label=False) / 255.0
    X_test = load_data(args.data_folder / "test-images.gz", is_label=False) / 255.0
    y_train = load_data(args.data_folder / "train-labels.gz", is_label=True)
    y_test = load_data(args.data_folder / "test-labels.gz", is_label=True)

    args.picture.parent.mkdir(parents=True, exist_ok=True)
    draw_digits(X_train, y_train, args.picture)
    print("30 random digits are in", args.picture)

    model = LogisticRegression(tol=5e-4, max_iter=1000, random_state=42)
    model.fit(X_train, y_train)
    print("Accuracy of the local baseline:", model.score(X_test, y_test))


if __name__ == "__main__":
    main()
