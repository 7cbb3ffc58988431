"""Train a logistic regression on the MNIST digits."""

import argparse
from pathlib import Path

import joblib
import skops.io
from sklearn.linear_model import LogisticRegression
from utils import load_data

from trainyard import Run

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data-folder", type=Path, required=True, help="folder with the four MNIST files")
parser.add_argument("--regularization", type=float, default=0.01, help="regularization rate")
args = parser.parse_args()

print("Data folder:", args.data_folder)

# Scaled to 0..1, so that the solver converges in fewer steps.
X_train = load_data(args.data_folder / "train-images.gz", is_label=False) / 255.0
X_test = load_data(args.data_folder / "test-images.gz", is_label=False) / 255.0
y_train = load_data(args.data_folder / "train-labels.gz", is_label=True)
y_test = load_data(args.data_folder / "test-labels.gz", is_label=True)
print(X_train.shape, y_train.shape, X_test.shape, y_test.shape, sep="\n")

run = Run.get_context()

print("Train a logistic regression model with regularization rate of", args.regularization)
# The default tolerance takes six times as long and gains less than a tenth of a percent.
model = LogisticRegression(C=1.0 / args.regularization, solver="lbfgs", tol=5e-4, max_iter=1000, random_state=42)
model.fit(X_train, y_train)

print("Predict the test set")
accuracy = float((model.predict(X_test) == y_test).mean())
print("Accuracy is", accuracy)

run.log("regularization rate", args.regularization)
run.log("accuracy", accuracy)

# What is in outputs/ when the script ends is kept with the run.
Path("outputs").mkdir(exist_ok=True)
joblib.dump(model, "outputs/sklearn_mnist_model.pkl")
# The same model as data: unlike a pickle, it runs no code when it is loaded.
skops.io.dump(model, "outputs/sklearn_mnist_model.skops")
