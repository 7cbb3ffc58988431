"""How soon a page shows what a run does: ``python -m tests.perf.browser NAMESPACE`` against the cluster of KUBECONFIG.

The namespace is there already. A run prints and logs the time, JupyterLab in a headless Chromium shows it, and the page
notes when each of them could be read. Prints JSON, in seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.support.jupyter import Jupyter, Screen, chromium

SECONDS: Final = 40
POINTS: Final = 100_000
# Few enough digits for a tile to show hundredths.
WRAP: Final = 10_000
SCRIPT: Final = f"""
import time
from trainyard import Run
run = Run.get_context()
for number in range({SECONDS} * 2):
    print(f"STAMP {{time.time() % {WRAP}:.3f}}", flush=True)
    run.log("stamp", time.time() % {WRAP})
    time.sleep(0.5)
run.log_list("many", [number % 997 for number in range({POINTS})])
"""
BEGIN: Final = """
from trainyard import Estimator, Experiment, Workspace
from trainyard.widgets import RunDetails
run = Experiment(Workspace.get("{namespace}"), "measured").submit(Estimator("code", entry_script="train.py"))
"""
SHOW: Final = """
import time
print("SHOWN", time.time())
RunDetails(run).show()
"""
# Notes the age of each line and of each value of the metric at the moment when it can be read.
WATCH: Final = f"""
() => {{
  window.ages = {{ line: [], metric: [], longest: [] }};
  let seen = 0, last = "";
  const age = (stamp) => ((Date.now() / 1000) % {WRAP}) - stamp;
  const look = () => {{
    const lines = [...document.querySelectorAll(".ty-log div")].map((line) => line.textContent);
    for (; seen < lines.length; seen += 1) {{
      if (lines[seen].startsWith("STAMP")) window.ages.line.push(age(Number(lines[seen].slice(6))));
    }}
    const tile = [...document.querySelectorAll(".ty-tiles div")].find((one) => one.title === "stamp");
    if (tile && tile.lastChild.textContent !== last) {{
      // What was logged right after the value that was shown before has waited longest.
      if (last) window.ages.longest.push(age(Number(last)));
      last = tile.lastChild.textContent;
      window.ages.metric.push(age(Number(last)));
    }}
    requestAnimationFrame(look);
  }};
  look();
}}
"""


async def measure(namespace: str) -> dict[str, Any]:
    """Return the seconds from print, log and cell to the page."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "notebooks" / "code").mkdir(parents=True)
        (home / "notebooks" / "code" / "train.py").write_text(SCRIPT)
        environment = {"KUBECONFIG": os.environ["KUBECONFIG"]}
        with Jupyter(folder=home / "notebooks", home=home, environment=environment) as jupyter:
            jupyter.write("run.ipynb", [BEGIN.format(namespace=namespace), SHOW])
            async with chromium(jupyter) as browser:
                return await look(await browser())


async def look(screen: Screen) -> dict[str, Any]:
    """Run the notebook, and take notes until the run has ended."""
    await screen.open("run.ipynb")
    await screen.run_all()
    await screen.page.locator(".trainyard-run").wait_for()
    await screen.page.get_by_role("tab", name="Log").click()
    await screen.page.evaluate(WATCH)
    await screen.until("document.querySelector('.ty-pill').innerText.includes('Completed')", seconds=300)
    ages = await screen.page.evaluate("window.ages")
    await screen.page.get_by_role("tab", name="Metrics").click()
    drawn = f"performance.getEntriesByName('trainyard:draw').filter((one) => one.detail.points === {POINTS})"
    await screen.until(f"{drawn}.length > 0")
    said = await screen.page.locator(".jp-OutputArea-output pre", has_text="SHOWN").inner_text()
    painted = "performance.getEntriesByName('trainyard:painted')[0].startTime"
    at = await screen.page.evaluate(f"(performance.timeOrigin + {painted}) / 1000")
    draws = await screen.page.evaluate(f"{drawn}.map((one) => one.duration / 1000)")
    return {
        "firstPaint": round(at - float(said.split()[1]), 3),
        "line": summary(ages["line"]),
        "metric": summary(ages["metric"]),
        "metricAtMost": summary(ages["longest"]),
        "draw100000": summary(draws),
    }


def summary(values: list[float]) -> dict[str, Any]:
    """Return the middle and the ends."""
    found = {"median": statistics.median(values), "most": max(values), "least": min(values)}
    return {"count": len(values), **{name: round(value, 3) for name, value in found.items()}}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1])), indent=1))
