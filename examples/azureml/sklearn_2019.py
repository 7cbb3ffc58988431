"""The tutorial in the words of 2019: a part of the datastore, and the estimator of scikit-learn."""

from azureml.core import Experiment, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.core.compute_target import ComputeTargetException
from azureml.core.model import Model
from azureml.train.sklearn import SKLearn
from azureml.widgets import RunDetails

ws = Workspace.from_config()
exp = Experiment(workspace=ws, name="sklearn-mnist")

try:
    compute_target = ComputeTarget(workspace=ws, name="cpu-cluster")
except ComputeTargetException as error:
    print("ComputeTargetNotFound" in error.message)
    configuration = AmlCompute.provisioning_configuration(
        vm_size="STANDARD_D2_V2", max_nodes=4, idle_seconds_before_scaledown=300
    )
    compute_target = ComputeTarget.create(ws, "cpu-cluster", configuration)
compute_target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
print(compute_target.get_status().serialize())

ds = ws.get_default_datastore()
files = [f"./data/{name}.gz" for name in ("train-images", "train-labels", "test-images", "test-labels")]
ds.upload_files(files, target_path="mnist", overwrite=False, show_progress=True)

est = SKLearn(
    source_directory="./scripts",
    entry_script="train.py",
    compute_target=compute_target,
    script_params={"--data-folder": ds.path("mnist").as_mount(), "--regularization": 0.5},
)
run = exp.submit(est)
RunDetails(run).show()
run.wait_for_completion(show_output=True)
print(run.get_metrics())

best = max(exp.get_runs(), key=lambda found: found.get_metrics().get("accuracy", 0))
model = best.register_model(
    model_name="sklearn_mnist",
    model_path="outputs/sklearn_mnist_model.pkl",
    tags={"area": "digits"},
    properties={"accuracy": best.get_metrics()["accuracy"]},
)
print(model.name, model.id, model.version, model.tags, model.properties["accuracy"], sep="\t")
print([found.id for found in Model.list(ws, tags=[["area", "digits"]])])

compute_target.delete()
