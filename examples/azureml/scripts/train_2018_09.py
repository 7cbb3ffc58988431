"""The script of September 2018: it gets the whole datastore, and finds its own folder there."""

import argparse
import os

from azureml.core import Run
from fitting import fit, save

parser = argparse.ArgumentParser()
parser.add_argument("--data-folder", type=str, dest="data_folder")
parser.add_argument("--regularization", type=float, dest="reg", default=0.01)
args = parser.parse_args()

run = Run.get_submitted_run()
model, accuracy = fit(os.path.join(args.data_folder, "mnist"), args.reg)
run.log("regularization rate", float(args.reg))
run.log("accuracy", float(accuracy))
save(model, "sklearn_mnist_model.pkl")
