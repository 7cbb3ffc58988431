"""The script from December 2018 on: it gets the folder of the digits."""

import argparse

from azureml.core import Run
from fitting import fit, save

parser = argparse.ArgumentParser()
parser.add_argument("--data-folder", type=str, dest="data_folder", help="folder with the digits")
parser.add_argument("--regularization", type=float, dest="reg", default=0.01, help="regularization rate")
args = parser.parse_args()

run = Run.get_context()
model, accuracy = fit(args.data_folder, args.reg)
run.log("regularization rate", args.reg)
run.log("accuracy", accuracy)
save(model, "sklearn_mnist_model.pkl")
