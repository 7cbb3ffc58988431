"""The tutorial in the words of 2020: an environment that is registered, and a run configuration."""

from azureml.core import Environment, Experiment, ScriptRunConfig, Workspace
from azureml.core.compute import AmlCompute, ComputeTarget
from azureml.core.conda_dependencies import CondaDependencies
from azureml.core.model import Model
from azureml.exceptions import ComputeTargetException
from azureml.widgets import RunDetails

ws = Workspace.from_config()
exp = Experiment(workspace=ws, name="tutorial-sklearn")

env = Environment("tutorial-env")
env.python.conda_dependencies = CondaDependencies.create(
    pip_packages=["azureml-defaults", "skops"], conda_packages=["scikit-learn==1.9.1"]
)
env.register(workspace=ws)
env = Environment.get(workspace=ws, name="tutorial-env")

try:
    compute_target = ComputeTarget(workspace=ws, name="cpu-cluster")
except ComputeTargetException:
    compute_target = ComputeTarget.create(
        ws, "cpu-cluster", AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=4)
    )
    compute_target.wait_for_completion(show_output=True)

ds = ws.get_default_datastore()
data = ds.upload(src_dir="./data", target_path="mnist", show_progress=False).as_mount()

src = ScriptRunConfig(
    source_directory="./scripts",
    script="train.py",
    arguments=["--data-folder", str(data), "--regularization", 0.5],
    compute_target=compute_target,
    environment=env,
)
src.run_config.data_references = {data.data_reference_name: data.to_config()}
run = exp.submit(config=src)
RunDetails(run).show()
details = run.wait_for_completion(show_output=True)
print(details["status"], details["runDefinition"]["arguments"])
print(run.get_metrics())

model = run.register_model("sklearn_mnist", "outputs/sklearn_mnist_model.pkl")
print(Model.get_model_path("sklearn_mnist", _workspace=ws))

compute_target.delete()
