"""The tutorial in the words of December 2018: AmlCompute, found among the compute targets or made."""

import os

import azureml.core
from azureml.core import Experiment, Run, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.core.model import Model
from azureml.train.estimator import Estimator
from azureml.widgets import RunDetails

print("SDK version:", azureml.core.VERSION)

ws = Workspace.from_config()
exp = Experiment(workspace=ws, name="sklearn-mnist")

cluster_name = os.environ.get("AML_COMPUTE_CLUSTER_NAME", "cpucluster")
if cluster_name in ws.compute_targets:
    compute_target = ws.compute_targets[cluster_name]
    if compute_target and type(compute_target) is AmlCompute:
        print("there is the compute target", cluster_name)
else:
    print("a new compute target is made:", cluster_name)
    configuration = AmlCompute.provisioning_configuration(
        vm_size=os.environ.get("AML_COMPUTE_CLUSTER_SKU", "STANDARD_D2_V2"),
        min_nodes=os.environ.get("AML_COMPUTE_CLUSTER_MIN_NODES", 0),
        max_nodes=os.environ.get("AML_COMPUTE_CLUSTER_MAX_NODES", 4),
    )
    compute_target = ComputeTarget.create(ws, cluster_name, configuration)
    compute_target.wait_for_completion(show_output=True, min_node_count=None, timeout_in_minutes=20)
    print(compute_target.status.serialize())

ds = ws.get_default_datastore()
ds.upload(src_dir="./data", target_path="mnist", overwrite=True, show_progress=True)

est = Estimator(
    source_directory="./scripts",
    script_params={"--data-folder": ds.path("mnist").as_mount(), "--regularization": 0.8},
    compute_target=compute_target,
    entry_script="train.py",
)
run = exp.submit(config=est, tags={"year": "2018"})
RunDetails(run).show()
run.tag("seen", None)
run.wait_for_completion(show_output=True)
print(run.get_metrics())

model = run.register_model(model_name="sklearn_mnist", model_path="outputs/sklearn_mnist_model.pkl")
print(model.name, model.id, model.version, sep="\t")

# In another notebook: the run by its id, its files, and the model by its name.
again = Run(exp, run.id)
again.download_file("outputs/sklearn_mnist_model.pkl", output_file_path="from_run.pkl")
latest = Model(ws, "sklearn_mnist")
print(latest.download(target_dir="model", exist_ok=True))
print([found.id for found in exp.get_runs(tags={"year": "2018"})])

compute_target.delete()
