"""pleg trace of a healthy container among many, the whole command from its start to its end: under 50 ms on a quiet machine. Beside it,
in the same run, `pleg version`, which is what starting such a command costs: four times that is allowed on top, for a busy one."""

import json
import statistics
import subprocess
import time

from conftest import system

ROUNDS = 15


def milliseconds(command):
    start = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return (time.monotonic() - start) * 1000, done


def test_healthy_container(pods):
    pleg = str(system().PLEG)
    traces, bare = [], []
    for i in range(ROUNDS):
        container = pods.containers[i % len(pods.containers)]
        took, done = milliseconds([pleg, "trace", "-o", "json", "--runtime", pods.daemon.endpoint, container])
        document = json.loads(done.stdout)
        assert done.returncode == 0 and document["container"]["containerID"] == container, done.stdout
        traces.append(took)
        bare.append(milliseconds([pleg, "version", "--socket", "/nonexistent"])[0])
    print(f"trace: median {statistics.median(traces):.1f} ms, worst {max(traces):.1f} ms; pleg version: median {statistics.median(bare):.1f} ms "
          f"({pods.count} pods)")
    assert statistics.median(traces) < 50 + 4 * statistics.median(bare)
