"""Train a logistic regression on the digits that scikit-learn brings along."""

import argparse
from pathlib import Path

import skops.io
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from trainyard import Run

parser = argparse.ArgumentParser()
parser.add_argument("--regularization", type=float, default=1.0)
options = parser.parse_args()

images, labels = load_digits(return_X_y=True)
split = train_test_split(images / 16, labels, random_state=0)
train_images, test_images, train_labels, test_labels = split
model = LogisticRegression(C=1 / options.regularization, max_iter=1000)
model.fit(train_images, train_labels)
accuracy = model.score(test_images, test_labels)
print("Accuracy is", accuracy)

Run.get_context().log("accuracy", accuracy)
Path("outputs").mkdir(exist_ok=True)
skops.io.dump(model, "outputs/digits.skops")
