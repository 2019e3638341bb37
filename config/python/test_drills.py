"""Each scenario as a test of pytest: copy this file, and set DRILLS to the directory of your scenarios.

The contract is `drill list --json`, `drill run --json` and the exit statuses: docs/drills.md.
"""

import json
import os
import subprocess

import pytest

PROGRAM = os.environ.get("SUPERVISORD_RS", "supervisord-rs")
DRILLS = os.environ.get("DRILLS", "drills")


def drill(*arguments):
    return subprocess.run([PROGRAM, "drill", *arguments], capture_output=True, text=True)


def scenarios():
    listed = drill("list", DRILLS, "--json")
    if listed.returncode != 0:
        raise RuntimeError(listed.stderr)
    return [one["scenario"] for one in json.loads(listed.stdout)["scenarios"]]


@pytest.mark.parametrize("scenario", scenarios())
def test_scenario(scenario, tmp_path):
    results = tmp_path / "results.json"
    done = drill("run", DRILLS, "--only", scenario, "--json", str(results))
    # 1: an expectation was not met; 78: something was broken before the first fault.
    assert done.returncode in (0, 1, 78), done.stderr
    for run in json.loads(results.read_text())["runs"]:
        unmet = run.get("failure", {}).get("unmet", [])
        told = [f"expected {one['expected']}; seen: {one['seen']}" for one in unmet]
        assert run["verdict"] == "held", "\n".join([*told, *run["incidents"]])
    assert done.returncode == 0, done.stdout
