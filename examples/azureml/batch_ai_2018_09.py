"""The tutorial in the words of September 2018: BatchAiCompute, the whole datastore, and compute targets by a call."""

import os

import azureml.core
from azureml.core import Experiment, Workspace
from azureml.core.compute import BatchAiCompute, ComputeTarget
from azureml.core.compute_target import ComputeTargetException
from azureml.train.estimator import Estimator
from azureml.train.widgets import RunDetails

print("SDK version:", azureml.core.VERSION)

ws = Workspace.from_config()
print(ws.name, ws.location, ws.resource_group, sep="\t")
exp = Experiment(workspace=ws, name="sklearn-mnist")

# Numbers of nodes from the environment are texts where they are set.
cluster_name = os.environ.get("BATCHAI_CLUSTER_NAME", "traincluster")
min_nodes = os.environ.get("BATCHAI_CLUSTER_MIN_NODES", 0)
max_nodes = os.environ.get("BATCHAI_CLUSTER_MAX_NODES", 4)
vm_size = os.environ.get("BATCHAI_CLUSTER_SKU", "STANDARD_D2_V2")

try:
    compute_target = ComputeTarget(workspace=ws, name=cluster_name)
    # A target is no class, so this is never so; the code of the time asked all the same.
    if compute_target is BatchAiCompute:
        print("there is the Batch AI cluster", cluster_name)
    else:
        print(cluster_name, "is there and is no Batch AI cluster")
except ComputeTargetException:
    print("a new cluster is made:", cluster_name)
    configuration = BatchAiCompute.provisioning_configuration(
        vm_size=vm_size,
        autoscale_enabled=True,
        cluster_min_nodes=min_nodes,
        cluster_max_nodes=max_nodes,
    )
    compute_target = ComputeTarget.create(ws, cluster_name, configuration)
    compute_target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
    print(compute_target.status.serialize())

for name, found in ws.compute_targets().items():
    print(name, found.type, found.provisioning_state)

ds = ws.get_default_datastore()
print(ds.datastore_type, ds.account_name, ds.container_name)
ds.upload(src_dir="./data", target_path="mnist", overwrite=True, show_progress=True)

est = Estimator(
    source_directory="./scripts",
    script_params={"--data-folder": ds.as_mount(), "--regularization": 0.8},
    compute_target=compute_target,
    entry_script="train_2018_09.py",
    conda_packages=["scikit-learn"],
)
run = exp.submit(config=est)
print(run)
RunDetails(run).show()
run.wait_for_completion(show_output=True)

details = run.get_details()
print(details["runId"], details["status"], details.status)
print(run.get_metrics())
print(run.get_file_names())

model = run.register_model(model_name="sklearn_mnist", model_path="outputs/sklearn_mnist_model.pkl")
print(model.name, model.id, model.version, sep="\t")

compute_target.delete()
