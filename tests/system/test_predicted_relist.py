"""A relist that would take too long if every pod changed, told before health is lost: by status, metrics, the doctor's finding.

The runtime is the stand-in, whose inspections take as long as they are told to; the threshold is a small one, so that this takes seconds
instead of minutes."""

import urllib.request

import pytest
from conftest import wait_for
from standin import StandIn

THRESHOLD = 6  # seconds
CONFIG = f"relistPeriod: 500ms\nrelistThreshold: {THRESHOLD}s\n"
PODS = 40  # each with a container: 80 inspections, five times 16 side by side
ALL = 2 * PODS


@pytest.fixture
def standin(folder):
    with StandIn(folder, pods=PODS) as runtime:
        yield runtime


def slow(standin, seconds):
    """From now on each inspection takes so long, and everything is inspected once so that it is known."""
    standin.do("clear")
    for method in ("ContainerStatus", "PodSandboxStatus"):
        standin.do("fault", kind="slow", method=method, seconds=seconds)


def finding(agent):
    return next((f for f in agent.status()["findings"] if f["cause"] == "TooManyContainers"), None)


def metric(agent, name):
    text = urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics_port}/metrics", timeout=10).read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def predicted(agent):
    return agent.status()["pleg"]["prediction"]


@pytest.mark.parametrize("seconds, severity, confidence", [(0.6, "info", "suspected"), (1.2, "warning", "proven")])
def test_told_before_health_is_lost(standin, start_agent, seconds, severity, confidence):
    slow(standin, seconds)
    agent = start_agent(standin.endpoint, config=CONFIG)
    agent.wait_ready()
    found = wait_for(lambda: finding(agent), f"the finding; there is {agent.status()}", 60)
    wait_for(lambda: (f := finding(agent)) and f["severity"] == severity and f["confidence"] == confidence, f"as {severity}: {finding(agent)}")
    status = agent.status()
    assert status["node"]["ready"] and status["pleg"]["healthy"], "nothing is wrong yet"
    p = status["pleg"]["prediction"]
    assert p["inspections"] == ALL and p["inspectSeconds"] >= seconds
    assert THRESHOLD / 4 < p["relistSeconds"] < p["serialSeconds"]
    assert p["relistSeconds"] == pytest.approx(p["listSeconds"] + 5 * p["inspectSeconds"], abs=0.01)
    assert p["serialSeconds"] == pytest.approx(p["listSeconds"] + ALL * p["inspectSeconds"], abs=0.01)
    assert found["advice"] and any(str(ALL) in e["value"] for e in found["evidence"]), found
    assert "if every pod changed at once" in found["summary"].lower()
    assert metric(agent, "pleg_predicted_relist_seconds") > THRESHOLD / 4
    assert metric(agent, "pleg_predicted_relist_serial_seconds") > THRESHOLD
    assert f"would take {p['relistSeconds']:.0f}"[:13] in " ".join(agent.run("status").stdout.split())


def test_not_told_where_it_is_quick(standin, start_agent):
    """And it goes when the runtime is quick again: the last inspections count."""
    slow(standin, 0.6)
    agent = start_agent(standin.endpoint, config=CONFIG)
    agent.wait_ready()
    wait_for(lambda: finding(agent), "the finding", 60)
    standin.do("clear")
    for i in range(70):
        pod = standin.do("add-pod", name=f"new{i}", namespace="demo", uid=f"new{i}")["id"]
        standin.do("add-container", sandbox=pod, name="app")
    wait_for(lambda: predicted(agent)["relistSeconds"] < THRESHOLD / 4, f"a short one is predicted: {predicted(agent)}")
    wait_for(lambda: finding(agent) is None, "nothing is told any more", 60)
    assert predicted(agent)["inspections"] == ALL + 140
    assert "Prediction" not in agent.run("status").stdout
