"""In real time, for ./test full: the API server is away for ten minutes and back; containerd is stopped and continued ten times in ten
minutes; two pleg have one node's name for longer than a heartbeat. Against the stand-in API server (tests/kube) and a real containerd
of each test's own, with the release build, since its memory is looked at.
"""

import json
import os
import pathlib
import re
import signal
import statistics
import time

import pytest

import conftest
from conftest import BUILD, continued_after, wait_for
from test_api_trouble import deaths, finding, init_of, stuck_shim, up
from test_conditions import api, conditions, events, seconds, start, status  # noqa: F401
from test_groups_and_shims import parent_of
AWAY = 600
WRITES = 6  # a minute


@pytest.fixture(autouse=True)
def release(monkeypatch):
    folder = pathlib.Path(os.environ.get("PLEG_RELEASE", BUILD))
    monkeypatch.setattr(conftest, "PLEG", folder / "src/cli/pleg")


def writes(api):  # noqa: F811
    return [at for method in ("PATCH", "POST") for at, _ in api.arrivals(method, "fieldManager=pleg")]


def most_in_a_minute(times):
    times = sorted(times)
    return max((sum(1 for t in times if at <= t < at + 60) for at in times), default=0)


def memory(agent):
    """KiB resident of the agent and of its api role."""
    def resident(pid):
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")))
    role = next(r["pid"] for r in agent.status()["agent"]["roles"] if r["role"] == "api")
    return resident(agent.process.pid), resident(role)


def stop_for(pid, seconds, until):  # noqa: F811
    """SIGSTOP until `until` holds and for so long at least, then SIGCONT, which is armed first."""
    with continued_after(pid, 60):
        os.kill(pid, signal.SIGSTOP)
        begin = time.monotonic()
        wait_for(until, "what a stopped process does is found", 40)
        time.sleep(max(0.0, begin + seconds - time.monotonic()))


def listed(agent):
    return [json.loads(line) for line in agent.run("incidents", "-o", "json").stdout.splitlines()]


def is_open(agent, cause):
    return next((f for f in agent.status()["findings"] if f["cause"] == cause and f["confidence"] == "proven"), None)


def sleep_until(begin, offset):
    time.sleep(max(0.0, begin + offset - time.monotonic()))


def told(api, reason, word, kind="Node"):  # noqa: F811
    """The Event of this incident by its reason and a word of its message: what else happens on the machine is told as well, and conditions
    with the same reason."""
    return next((e for e in events(api) if e["reason"] == reason and e["involvedObject"]["kind"] == kind and word in e["message"]
                 and not e["message"].startswith("Node condition")), None)


def held(api, condition):  # noqa: F811
    """The number of changes, if it is held."""
    found = re.match(r"Held True: (\d+) changes", conditions(api)[f"pleg.dev/{condition}"]["message"])
    return int(found[1]) if found else 0


def history(api, condition):  # noqa: F811
    """The statuses of one condition that anybody could see, without repetitions, with their transition times."""
    seen = []
    for _, _, name, node, _ in api.store.log:
        for c in node["status"]["conditions"] if name == "nodes" else ():
            row = (c["status"], c.get("lastTransitionTime"))
            if c["type"] == f"pleg.dev/{condition}" and (not seen or seen[-1] != row):
                seen.append(row)
    return seen


@pytest.mark.full
def test_ten_minutes_without_the_api_server(own_containerd, start_agent, api):  # noqa: F811
    cri = own_containerd.cri
    agent = start(start_agent, own_containerd, api)
    agent.wait_ready()
    follower = agent.follow("--tail", "0")
    sandbox = cri.sandbox("work")
    made = [cri.container(sandbox, f"c{i}") for i in range(22)]
    stuck = cri.container(cri.sandbox("stuck"), "main")
    shim = parent_of(init_of(agent, stuck))
    up(agent, api)
    calm = deaths(agent, follower, made[:8])

    api.deaf.set()
    api.freeze_connections()
    api.drop_all_watches()
    begin, began = time.monotonic(), time.time()
    before = set(api.names("events"))
    wait_for(lambda: is_open(agent, "ApiUnreachable"), "it is said to be away", 60)
    sleep_until(begin, 60)
    rss = [memory(agent)]
    away = deaths(agent, follower, made[8:11])
    stop_for(shim, 20, lambda: is_open(agent, "ShimStopped"))
    for offset, first in ((240, 11), (360, 14)):
        sleep_until(begin, offset)
        away += deaths(agent, follower, made[first:first + 3])
        stop_for(own_containerd.pid, 20, lambda: is_open(agent, "CriDaemonStopped"))
    sleep_until(begin, 480)
    away += deaths(agent, follower, made[17:20])
    sleep_until(begin, AWAY - 10)
    rss.append(memory(agent))
    now = agent.status()
    assert now["node"]["ready"] and now["runtime"]["responsive"] and now["apiServer"]["awaySeconds"] > AWAY - 60
    assert not [at for at in writes(api) if at > began], "it was away"
    sleep_until(begin, AWAY)
    api.deaf.clear()
    back = time.time()
    wait_for(lambda: agent.status()["apiServer"]["ok"], "it is back", 120)
    wait_for(lambda: agent.status()["apiPods"]["state"] == "current", "and watched", 120)

    # Nothing is lost here: every death, every incident.
    past = [json.loads(line) for line in agent.run("events", "--since", "1h", "-o", "json").stdout.splitlines()]
    dead = {e["containerID"] for e in past if e["type"] == "ContainerDied" and e["confirmed"]}
    assert set(made[:20]) <= dead
    wait_for(lambda: all(i["closedAt"] for i in listed(agent) if i["cause"] == "ApiUnreachable"), "it is over", 60)
    incidents = listed(agent)
    mine = {"CriDaemonStopped": own_containerd.endpoint, "ShimStopped": "test/stuck", "ApiUnreachable": api.url}
    of = {cause: [i for i in incidents if i["cause"] == cause and subject in i["subject"]] for cause, subject in mine.items()}
    assert (len(of["CriDaemonStopped"]), len(of["ShimStopped"]), len(of["ApiUnreachable"])) == (2, 1, 1), incidents

    # Three changes of one condition are told as they were; the fourth is held.
    wait_for(lambda: held(api, "RuntimeUnhealthy") >= 4, "held, with its count", 120)
    runtime, containers = conditions(api)["pleg.dev/RuntimeUnhealthy"], conditions(api)["pleg.dev/ContainersStuck"]
    print(f"incidents {[(i['cause'], i['openedAt'], i['closedAt']) for i in incidents]}\nconditions {runtime}, {containers}")
    opened, closed = of["CriDaemonStopped"][1]["openedAt"], of["ShimStopped"][0]["closedAt"]
    assert abs(seconds(runtime["lastTransitionTime"]) - seconds(opened[:19] + "+00:00")) <= 10  # proven some seconds after it began
    assert containers["status"] == "False" and abs(seconds(containers["lastTransitionTime"]) - seconds(closed[:19] + "+00:00")) <= 2
    assert began < seconds(containers["lastTransitionTime"]) < back

    # And nothing there: each with its true time, the same as one Event with its count.
    words = {**mine, "CriDaemonStopped": f"(pid {own_containerd.pid}) is stopped"}
    for cause, count in (("CriDaemonStopped", 2), ("ShimStopped", 1), ("ApiUnreachable", 1)):
        for reason, key in ((cause, "openedAt"), (f"{cause}Resolved", "closedAt")):
            def whole(reason=reason, count=count, word=words[cause]):
                return (e := told(api, reason, word)) and e["count"] == count and e
            event = wait_for(whole, f"{reason} {count} times", 600)
            times = [seconds(i[key][:19] + "+00:00") for i in of[cause]]
            assert abs(seconds(event["firstTimestamp"]) - times[0]) <= 1, (event, times)
            assert abs(seconds(event["lastTimestamp"]) - times[-1]) <= 1, (event, times)
            assert event["metadata"]["name"] not in before
    for reason in ("ShimStopped", "ShimStoppedResolved"):
        wait_for(lambda reason=reason: told(api, reason, "test/stuck", "Pod"), f"{reason}, of the pod", 300)
    time.sleep(60)  # the whole first minute and more of what waited
    times = writes(api)
    rss.append(memory(agent))
    print(f"\naway {AWAY} s: {len([t for t in times if t > began])} writes on return, the most in a minute {most_in_a_minute(times)}; first after "
          f"{min(t for t in times if t > began) - back:.1f} s; resident KiB (agent, api role) after 1 min, 10 min, return: {rss}; "
          f"event latency before {statistics.median(calm):.2f} ms, meanwhile {statistics.median(away):.2f} ms (worst {max(away):.2f})")
    assert most_in_a_minute(times) <= WRITES
    assert statistics.median(away) < 5 * statistics.median(calm) + 100 and max(away) < 2000
    assert all(late - early < 1024 for early, late in zip(rss[0], rss[1])), rss


@pytest.mark.full
def test_containerd_stopped_ten_times(own_containerd, start_agent, api):  # noqa: F811
    agent = start(start_agent, own_containerd, api)
    agent.wait_ready()
    up(agent, api)
    begin = time.monotonic()
    for n in range(10):
        sleep_until(begin, 60 * n)
        stop_for(own_containerd.pid, 15, lambda: is_open(agent, "CriDaemonStopped"))
        wait_for(lambda: not is_open(agent, "CriDaemonStopped"), "and it goes on", 45)
    sleep_until(begin, 600)
    wait_for(lambda: held(api, "RuntimeUnhealthy") >= 20, "all are counted", 90)
    rows, times = history(api, "RuntimeUnhealthy"), writes(api)
    flips = sum(1 for a, b in zip(rows, rows[1:]) if a[0] != b[0])
    reasons = {e["reason"]: e["count"] for e in events(api) if e["involvedObject"]["kind"] == "Node"}
    print(f"\nten stops: {flips} changes at the API {rows}, {conditions(api)['pleg.dev/RuntimeUnhealthy']['message']!r}; "
          f"{len(times)} writes, the most in a minute {most_in_a_minute(times)}; Events {reasons}")
    assert [r[0] for r in rows] == ["False", "True", "False", "True"], "held from the fourth change on"
    assert most_in_a_minute(times) <= WRITES
    assert finding(agent, "CriDaemonStopped") is None and agent.status()["runtime"]["responsive"]


@pytest.mark.full
def test_two_pleg_on_one_node_name(own_containerd, start_agent, api):  # noqa: F811
    """The one whose words were overwritten finds it out at its next heartbeat and says so; neither writes more for that."""
    agents = [start(start_agent, own_containerd, api) for _ in range(2)]
    for agent in agents:
        agent.wait_ready()
    up(agents[0], api)
    with stuck_shim(own_containerd, agents[0], "stuck"):
        wait_for(lambda: status(api, "ContainersStuck") == "True", "both have something to say", 50)
    text = "Somebody else writes this node's conditions"
    wait_for(lambda: any(text in a.log.read_text() for a in agents), "one of them has seen the other", 400)
    warnings = [w for a in agents for w in a.status()["agent"]["warnings"]]
    assert any(text in w for w in warnings), warnings
    assert most_in_a_minute(writes(api)) <= 2 * WRITES
    changes = [r[0] for r in history(api, "ContainersStuck")]
    print(f"\ntwo: {len(writes(api))} writes, ContainersStuck was {changes}")
    assert len(changes) <= 3, "no war"
