"""RunDetails in JupyterLab and Notebook 7 in a real browser, over runs of a real API server, operator and store."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.support.jupyter import Jupyter, chromium
from tests.support.played_pod import PlayedKubelet, PlayedPod
from trainyard.contract import ENV_CA
from trainyard_operator.api.names import TRAINING_JOB

EVIL = "<img src=x onerror=window.pwned=1>"
POINTS = 100_000
PROVIDER = {"type": "Existing", "existing": {"nodeSelector": {"pool": "digits"}}}
SHOW = """
import time
from trainyard import Experiment, Workspace
from trainyard.remote.submitted import SubmittedRun
from trainyard.widgets import RunDetails
run = SubmittedRun(Experiment(Workspace.get("{namespace}"), "digits"), "{name}")
print("SHOWN", time.time())
RunDetails(run).show()
"""
HISTORY = "".join(
    json.dumps({"metric": name, "value": 1 / (step + 1), "step": step}) + "\n"
    for step in range(30)
    for name in ("loss", EVIL)
)
LONG = "".join(json.dumps({"metric": "loss", "value": step % 997}) + "\n" for step in range(POINTS))


@pytest.fixture
def jupyter(tmp_path, control_plane):
    (tmp_path / "notebooks").mkdir()
    environment = {"KUBECONFIG": str(control_plane.kubeconfig)}
    with Jupyter(folder=tmp_path / "notebooks", home=tmp_path, environment=environment) as running:
        yield running


@pytest.fixture
def kubelet(tmp_path):
    running = PlayedKubelet(tmp_path)
    yield running
    running.close()


async def shot(screen, name):
    """Keep a picture for people, where the environment says where."""
    folder = os.environ.get("TRAINYARD_SCREENSHOTS")
    if folder:
        await asyncio.sleep(0.5)
        await screen.page.screenshot(path=str(Path(folder) / f"{name}.png"))


def submit(control_plane, namespace, name, **spec):
    whole = {"source": {"inline": {"train.py": "pass"}}, "experiment": "digits", **spec}
    document = {
        "apiVersion": TRAINING_JOB.api_version,
        "kind": TRAINING_JOB.kind,
        "metadata": {"name": name},
        "spec": whole,
    }
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", text=json.dumps(document))


def compute(control_plane, namespace):
    spec = {"scale": {"maxNodes": 1}, "provider": PROVIDER}
    document = {
        "apiVersion": TRAINING_JOB.api_version,
        "kind": "ComputeCluster",
        "metadata": {"name": "pool"},
        "spec": spec,
    }
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", text=json.dumps(document))
    return {"computeClusterRef": {"name": "pool"}}


def says(text, selector=".trainyard-run"):
    return (
        f"(document.querySelector({json.dumps(selector)}) || {{innerText: ''}}).innerText.includes({json.dumps(text)})"
    )


async def appears(screen, text, selector=".trainyard-run"):
    """Wait until people read `text`."""
    await screen.until(says(text, selector))


async def painted_after(screen):
    """Return how long after the cell's own output the widget was there."""
    marks = "performance.getEntriesByName('trainyard:painted')"
    at = await screen.page.evaluate(f"(performance.timeOrigin + {marks}[0].startTime) / 1000")
    said = await screen.page.locator(".jp-OutputArea-output pre", has_text="SHOWN").first.inner_text()
    return at - float(said.split()[1])


async def no_kernel(screen, name):
    """Open a notebook in JupyterLab, and choose none of the kernels that there are."""
    await screen.open(name)
    await screen.page.locator(".jp-Dialog .jp-mod-reject", has_text="No Kernel").click()


async def test_a_run_is_followed_from_the_queue_to_its_end_and_read_again_without_a_kernel(
    served, control_plane, lab, jupyter, kubelet
):
    target = await asyncio.to_thread(compute, control_plane, lab.namespace)
    await asyncio.to_thread(submit, control_plane, lab.namespace, "digits-1", **target)
    await lab.until(TRAINING_JOB, "digits-1", lambda run: "jobName" in run["status"])
    await asyncio.to_thread(submit, control_plane, lab.namespace, "digits-2", **target)
    await lab.until(TRAINING_JOB, "digits-2", lambda run: run["status"]["phase"] == "Queued")
    jupyter.write(
        "run.ipynb", [SHOW.format(namespace=lab.namespace, name="digits-2"), "print('the kernel', 'is free')"]
    )
    async with chromium(jupyter) as browser:
        screen = await browser()
        await screen.open("run.ipynb")
        await screen.run_all()
        await appears(screen, "in the queue")
        # What is measured is 0.3 s; the run itself goes on only after this.
        assert await painted_after(screen) < 60
        await screen.until("document.querySelector('.jp-Notebook').innerText.includes('the kernel is free')")
        assert await screen.text(".ty-pill") == "○ Queued"
        await shot(screen, "queued")
        await goes_on(screen, served, control_plane, lab, kubelet)
        await ends(screen, lab, kubelet)
        await is_used_with_keys(screen)
        assert await screen.page.evaluate("window.pwned === undefined && !document.querySelector('.trainyard-run img')")
        await shot(screen, "completed")
        await screen.save()
        saved = jupyter.folder / "run.ipynb"
        await until_file(saved, "widget-state+json")
        await screen.page.close()
        await is_read_again(browser, jupyter)
        assert screen.errors == []


async def goes_on(screen, served, control_plane, lab, kubelet):
    """Let the run that waits begin, and speak."""
    await lab._client.patch(TRAINING_JOB, "digits-1", {"spec": {"cancel": True}}, namespace=lab.namespace)
    run = await lab.until(TRAINING_JOB, "digits-2", lambda run: "jobName" in run["status"])
    pod = PlayedPod(control_plane, lab.namespace, kubelet)
    await asyncio.to_thread(pod.begin, run["status"]["jobName"])
    await appears(screen, "Running", ".ty-pill")
    kubelet.say("Train a logistic regression model", f"a line with {EVIL}")
    await screen.page.get_by_role("tab", name="Log").click()
    await appears(screen, f"a line with {EVIL}", ".ty-log")
    data = json.loads(control_plane.kubectl("-n", "trainyard-system", "get", "cm", "trainyard-gateway", "-o", "json"))[
        "data"
    ]
    gateway = f"https://localhost:{served.gateway_port}"
    for percent, loss in ((20, 0.5), (40, 0.25)):
        progress = {"percent": percent, "message": f"epoch {percent // 10} of 10 {EVIL}"}
        metrics = {"loss": loss, "accuracy": 1 - loss, EVIL: 1.0}
        await asyncio.to_thread(pod.report, gateway, data[ENV_CA], metrics=metrics, progress=progress)
        await appears(screen, str(loss), ".ty-tiles")
    await appears(screen, "40 % · epoch 4 of 10 <img", ".ty-message")
    await screen.page.get_by_role("tab", name="Metrics").click()
    await screen.until("document.querySelectorAll('.ty-chart path.ty-line').length >= 2")
    await shot(screen, "running")


async def ends(screen, lab, kubelet):
    """Let the run end well."""
    kubelet.end()
    wish = [{"name": "sklearn_mnist", "path": "outputs/m.pkl"}]
    await lab.change("digits-2", wish)
    files = {"metrics.jsonl": HISTORY.encode(), "logs/train.log": b"one\n"}
    await lab.play("digits-2", metrics={"loss": 0.25, EVIL: 1.0}, files=files)
    await appears(screen, "✓ Completed", ".ty-pill")
    await appears(screen, "sklearn_mnist:1", ".ty-tiles")
    await screen.until("[...document.querySelectorAll('.ty-label')].some((label) => label.textContent === 'step')")


async def is_used_with_keys(screen):
    """Go through the tabs, and read a chart, without a mouse."""
    page = screen.page
    await page.get_by_role("tab", name="Metrics").focus()
    await page.keyboard.press("ArrowRight")
    assert await page.locator(".trainyard-run [role=tab]:focus").inner_text() == "Log"
    assert await page.locator(".trainyard-run [role=tab][aria-selected=true]").inner_text() == "Log"
    assert f"a line with {EVIL}" in await screen.text(".trainyard-run [role=log]")
    follow = page.get_by_role("button", name="Following")
    await follow.focus()
    await page.keyboard.press("Enter")
    assert await page.locator(".ty-tools button[aria-pressed=false]", has_text="Follow").is_visible()
    await page.get_by_role("tab", name="Log").focus()
    await page.keyboard.press("ArrowRight")
    files = await screen.text(".trainyard-run [role=tabpanel]:not([hidden])")
    assert "outputs/m.pkl\t7 B" in files
    await page.keyboard.press("Home")
    chart = page.locator(".ty-chart").first
    await chart.focus()
    await page.keyboard.press("Home")
    assert await screen.text(".ty-read") == "step 0: 1"
    assert "30 values from" in await chart.get_attribute("aria-label")
    await page.get_by_role("button", name="Table").click()
    assert "loss\t30\t1\t" in await screen.text(".trainyard-run [role=tabpanel]:not([hidden]) table")
    await page.get_by_role("button", name="Table").click()
    assert await screen.page.locator(".trainyard-run [role=status]").first.text_content() == await page.evaluate(
        "`Run digits-2 is Completed. ${document.querySelector('.ty-reason').textContent}`"
    )


async def until_file(path, text):
    async with asyncio.timeout(30):
        while text not in path.read_text():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.1)


async def is_read_again(browser, jupyter):
    """Open the saved notebook without its kernel: with none in JupyterLab, and with a new one in Notebook 7."""
    jupyter.end_kernels()
    document = json.loads((jupyter.folder / "run.ipynb").read_text())
    paper = next(
        "".join(o["data"]["text/html"]) for o in document["cells"][0]["outputs"] if "text/html" in o.get("data", {})
    )
    assert "Completed</span>" in paper
    assert "sklearn_mnist:1" in paper
    assert "<img" not in paper
    jupyter.without_kernel("run.ipynb", "again.ipynb")
    jupyter.theme("dark")
    screen = await browser(color_scheme="dark")
    await no_kernel(screen, "again.ipynb")
    await appears(screen, "sklearn_mnist:1", ".jp-RenderedHTML table ~ table")
    await shot(screen, "reopened-without-kernel")
    await screen.page.close()
    # With a kernel that knows nothing of the run, the view itself is there again.
    screen = await browser(color_scheme="dark")
    await screen.open("run.ipynb", notebook=True)
    await appears(screen, "✓ Completed", ".ty-pill")
    await screen.until("document.querySelectorAll('.ty-chart path.ty-line').length === 2")
    assert "sklearn_mnist:1" in await screen.text(".ty-tiles")
    assert not await screen.page.locator(".trainyard-paper").is_visible()
    await shot(screen, "reopened-notebook")
    assert screen.errors == []
    await screen.page.close()


async def test_a_run_that_failed_and_one_with_very_many_points_in_notebook_7(
    served, control_plane, lab, jupyter, kubelet
):
    await asyncio.to_thread(submit, control_plane, lab.namespace, "bad")
    run = await lab.until(TRAINING_JOB, "bad", lambda run: "jobName" in run["status"])
    pod = PlayedPod(control_plane, lab.namespace, kubelet)
    await asyncio.to_thread(pod.begin, run["status"]["jobName"])
    await lab.train("long", metrics={"loss": 3.0})
    await lab.objects.put(
        f"runs/{lab.namespace}/{(await lab.find(TRAINING_JOB, 'long'))['metadata']['uid']}/attempts/1/metrics.jsonl",
        LONG.encode(),
    )
    jupyter.write("two.ipynb", [SHOW.format(namespace=lab.namespace, name=name) for name in ("bad", "long")])
    jupyter.theme("dark")
    async with chromium(jupyter) as browser:
        screen = await browser(color_scheme="dark")
        await screen.open("two.ipynb", notebook=True)
        await screen.run_all()
        await appears(screen, "Running", ".ty-pill")
        kubelet.say("Traceback (most recent call last):", f"ValueError: {EVIL}")
        await appears(screen, f"ValueError: {EVIL}")
        kubelet.end()
        failure = {
            "version": 1, "container": "train", "reason": "ScriptFailed", "message": f"train.py ended with {EVIL}", "exitCode": 1,
            "signal": None, "metrics": {}, "outputs": {"files": 0, "bytes": 0}, "manifestSha256": None, "warnings": [],
            "logTail": f"ValueError: {EVIL}",
        }  # fmt: skip
        await asyncio.to_thread(pod.fail, run["status"]["jobName"], failure)
        await appears(screen, "✕ Failed", ".ty-pill")
        await appears(screen, f"train.py ended with {EVIL}", ".ty-failure")
        await shot(screen, "failed")
        drawn = f"performance.getEntriesByName('trainyard:draw').filter((one) => one.detail.points === {POINTS})"
        await screen.until(f"{drawn}.length > 0")
        # What is measured is 12 ms, and what is drawn first may meet a machine with much else to do.
        assert await screen.page.evaluate(f"Math.min(...{drawn}.map((one) => one.duration))") < 3000
        await screen.page.evaluate("document.querySelectorAll('.trainyard-run')[1].scrollIntoView()")
        await shot(screen, "points")
        assert await screen.page.evaluate("window.pwned === undefined && !document.querySelector('.trainyard-run img')")
        assert screen.errors == []
