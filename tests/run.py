"""The runner behind ./test: builds, runs every suite, counts, and says what it left out.

Each suite is a row of SUITES: name, the sizes it belongs to, and a function that returns (passed, failed, skipped). A failure
prints its output at once; a skip prints its reason. Nothing here decides about results by itself: meson and pytest do.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time
import typing
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILDS = {
    # name: (compiler, meson options)
    "asan": ("gcc", ["-Db_sanitize=address,undefined", "-Dbuildtype=debugoptimized"]),
    "release": ("gcc", ["-Dbuildtype=release", "-Db_ndebug=false"]),
    "clang": ("clang", ["-Dbuildtype=debugoptimized"]),
    "fuzz": ("clang", ["-Dbuildtype=debugoptimized", "-Dfuzz=true", "-Db_lundef=false", "-Db_sanitize=address,undefined"]),
}
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}
ORDER = ["quick", "normal", "full", "soak"]
FAILED, SECOND_TRY = [], []  # names, said once more at the end


def build_folder(name):
    return ROOT / f"build-{name}"


def say(text):
    print(f"==== {text}", flush=True)


def call(command, timeout, env=None, **more):
    return subprocess.run(command, cwd=ROOT, timeout=timeout, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, **more)


def build(name):
    compiler, options = BUILDS[name]
    folder = build_folder(name)
    if not (folder / "build.ninja").exists():
        done = call(["meson", "setup", str(folder), *options], 300, {"CC": compiler}, capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stdout, done.stderr)
            return 0, 1, 0
    done = call(["ninja", "-C", str(folder)], 1200, capture_output=True, text=True)
    warnings = done.stdout.count(" warning: ")
    if done.returncode != 0 or warnings:
        print(done.stdout[-8000:])
        print(f"{name}: the build failed" if done.returncode else f"{name}: {warnings} warnings")
        return 0, 1, 0
    return 1, 0, 0


def meson_tests(name, suites, timeout):
    """Runs meson's suites in one build and counts its tests."""
    folder = build_folder(name)
    command = ["meson", "test", "-C", str(folder), "--no-rebuild", "--print-errorlogs", "--num-processes", "3",
               *[a for s in suites for a in ("--suite", s)]]
    done = call(command, timeout, ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    counts = {"OK": 0, "FAIL": 0, "SKIP": 0}
    failed = []
    for line in (folder / "meson-logs" / "testlog.json").read_text().splitlines():
        row = json.loads(line)
        counts[row["result"] if row["result"] in ("OK", "SKIP") else "FAIL"] += 1
        if row["result"] == "SKIP":
            say(f"SKIPPED {row['name']}: {(row.get('stdout') or '').strip()[-300:] or 'it gave no reason'}")
        elif row["result"] != "OK":
            failed.append(row["name"].split(" / ")[-1])
    if failed:
        print(done.stdout[-20000:])
        # Once more and alone: on a starved machine a deadline of a test may pass. Said loudly, since it may as well be a race.
        again = call(["meson", "test", "-C", str(folder), "--no-rebuild", "--num-processes", "1", *failed], timeout, ENVIRONMENT,
                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if again.returncode == 0:
            say("PASSED ONLY AT THE SECOND TRY: " + ", ".join(failed))
            SECOND_TRY.extend(f"{t} ({name})" for t in failed)
            return counts["OK"] + len(failed), 0, counts["SKIP"]
    if counts["FAIL"] or done.returncode != 0:
        print(done.stdout[-20000:])
        FAILED.extend(f"{t} ({name})" for t in failed or ["meson test"])
        counts["FAIL"] = max(counts["FAIL"], 1)
    return counts["OK"], counts["FAIL"], counts["SKIP"]


# Processes and a loopback of their own: what others do to their containers meanwhile is not this node's trouble there, and who plays a
# kubelet on its port is not this node's.
APART = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "sh", "-c", 'ip link set lo up; "$@"; exit $?', "sh"]  # sh: somebody reaps orphans


class Lane(typing.NamedTuple):
    """Some tests that run one after another, beside those of other lanes."""
    paths: list  # files, or one folder
    marked: str = "not full"
    within: list = []  # what pytest is run by: nothing, or APART

    @property
    def name(self):
        path = pathlib.Path(self.paths[0].partition("::")[0])
        return "-".join([path.parent.name, path.stem, *(["apart"] if self.within else [])])


def pytest_lane(lane, build_name, timeout):
    """((passed, failed, skipped), the names of what failed, what it said)"""
    report = build_folder(build_name) / f"pytest-{lane.name}.xml"
    report.unlink(missing_ok=True)
    command = [*lane.within, "/usr/bin/python3", "-m", "pytest", "-q", "-x" if os.environ.get("PLEG_TEST_STOP") else "-q", "-p", "no:cacheprovider",
               f"--junitxml={report}", "-rs", "-m", lane.marked, *lane.paths]
    done = call(command, timeout, {**ENVIRONMENT, "PLEG_BUILD": str(build_folder(build_name)),
                                   "PLEG_RELEASE": str(build_folder("release"))}, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True)
    suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite")
    total, failed, skipped = (int(suite.get(k)) for k in ("tests", "failures", "skipped"))
    failed += int(suite.get("errors"))
    bad = []
    for case in suite.iter("testcase"):
        for skip in case.iter("skipped"):
            say(f"SKIPPED {case.get('name')}: {skip.get('message')}")
        if case.find("failure") is not None or case.find("error") is not None:
            bad.append(f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}" if case.get("classname") else lane.paths[0])
    if done.returncode not in (0, 5):  # 5: the lane has no such test
        failed = max(failed, 1)
    return (total - failed - skipped, failed, skipped), bad, done.stdout[-30000:]


def pytest_lanes(lanes, build_name, timeout, at_once=1):
    """So many lanes side by side; then, alone, what failed once more. Returns the sum of what they count."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        results = list(pool.map(lambda lane: pytest_lane(lane, build_name, timeout), lanes))
    for i, (counts, bad, said) in enumerate(results):
        if not counts[1]:
            continue
        print(said)
        if bad:
            again, _, said = pytest_lane(lanes[i]._replace(paths=bad), build_name, timeout)
            if again[1] == 0 and again[0] == len(bad):
                say("PASSED ONLY AT THE SECOND TRY: " + ", ".join(bad))
                SECOND_TRY.extend(bad)
                results[i] = ((counts[0] + counts[1], 0, counts[2]), [], said)
                continue
            print(said)
        FAILED.extend(bad or [lanes[i].name])
    return tuple(map(sum, zip(*(counts for counts, _, _ in results))))


def pytests(folder, build_name, timeout, marked="not full"):
    return pytest_lanes([Lane([folder], marked)], build_name, timeout)


def lanes_of(folder, marked):
    """A lane for each file, the largest first, which may well be the longest; and one more where some of its tests, marked so, must
    be in the node's own namespaces."""
    lanes = []
    for path in sorted((ROOT / folder).glob("test_*.py"), key=lambda path: -path.stat().st_size):
        files = [str(path.relative_to(ROOT))]
        lanes.append(Lane(files, f"not node and ({marked})", APART))
        if "mark.node" in path.read_text():
            lanes.append(Lane(files, f"node and ({marked})"))
    return lanes


def system_tests(folder, timeout):
    """Most wait for daemons most of the time, so five files run at once; then those that must have the machine for themselves."""
    beside = pytest_lanes(lanes_of(folder, "not full and not alone"), "asan", timeout, at_once=5)
    alone = pytest_lanes([Lane([folder], "alone and not full")], "asan", timeout)
    return tuple(map(sum, zip(beside, alone)))


def lab_tests(folder, timeout):
    """An incident is mostly waiting for a verdict, so two files run at once."""
    return pytest_lanes(lanes_of(folder, "not full"), "asan", timeout, at_once=2)


def one(command, timeout, env=None):
    """A command that is one test: exit 0 passes, 77 skips."""
    done = call(command, timeout, env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 77:
        say(f"SKIPPED {' '.join(command[:2])}: {done.stdout.strip()[-300:]}")
        return 0, 0, 1
    print(done.stdout[-6000:])
    return (1, 0, 0) if done.returncode == 0 else (0, 1, 0)


def simulator(histories, steps=200):
    return one([str(build_folder("release") / "tests/sim/pleg-sim"), "--histories", str(histories), "--steps", str(steps), "--jobs", "2"], 3000)


def fuzzing(seconds):
    return one([str(ROOT / "tests/fuzz/run-fuzz"), str(build_folder("fuzz")), str(seconds)], seconds * 20 + 600, ENVIRONMENT)


SUITES = [
    # name, smallest size it runs in, function
    ("build with sanitizers", "quick", lambda: build("asan")),
    ("build optimised", "quick", lambda: build("release")),
    ("build with clang", "normal", lambda: build("clang")),
    ("unit, fuzz corpus, fault matrix, small simulator, with sanitizers", "quick", lambda: meson_tests("asan", ["unit", "fuzz", "fault", "sim"], 900)),
    ("checks of the source and of the pure libraries", "quick", lambda: meson_tests("release", ["check"], 600)),
    ("unit tests, clang", "normal", lambda: meson_tests("clang", ["unit"], 600)),
    ("simulator with kernel and event stream, 30,000 histories, optimised", "normal", lambda: simulator(30000)),
    ("simulator, planted bugs", "normal", lambda: meson_tests("release", ["planted"], 900)),
    ("system tests on a private containerd", "normal", lambda: system_tests("tests/system", 1500)),
    ("the stand-in API server's own promises", "normal", lambda: pytests("tests/kube", "asan", 300)),
    ("the lab: incidents and look-alikes", "normal", lambda: lab_tests("tests/lab", 900)),
    ("benches", "normal", lambda: pytests("tests/bench", "release", 900)),
    ("system tests that take long", "full", lambda: pytest_lanes(lanes_of("tests/system", "full"), "asan", 7200)),
    ("the lab, ten times each", "full", lambda: pytests("tests/lab", "asan", 3600, marked="full")),
    ("benches that take long", "full", lambda: pytests("tests/bench", "release", 3600, marked="full")),
    ("simulator, one agent for 72 hours and 1,000,000 events", "full",
     lambda: one([str(build_folder("release") / "tests/sim/pleg-sim"), "--hours", "72"], 3000)),
    ("simulator, 1,000,000 histories", "full", lambda: simulator(1000000)),
    ("the stand-in API server beside a real one, if PLEG_KUBECONFIG names one", "full",
     lambda: one(["/usr/bin/python3", str(ROOT / "tests/kube/compare.py")], 600)),
    ("build of the fuzz targets, with sanitizers", "full", lambda: build("fuzz")),
    ("fuzzing, 60 s a target", "full", lambda: fuzzing(60)),
    ("fuzzing, 30 min a target", "soak", lambda: fuzzing(1800)),
    ("simulator, 20,000,000 histories", "soak", lambda: simulator(20000000)),
]


def main(size):
    total = [0, 0, 0]
    left_out = []
    started = time.monotonic()
    for name, smallest, function in SUITES:
        if ORDER.index(smallest) > ORDER.index(size):
            left_out.append(f"{name} (./test {smallest})")
            continue
        say(name)
        begun, known = time.monotonic(), len(FAILED)
        try:
            counts = function()
        except (subprocess.TimeoutExpired, OSError, xml.etree.ElementTree.ParseError) as error:
            print(error)
            counts = (0, 1, 0)
        if counts[1] and len(FAILED) == known:
            FAILED.append(name)
        total = [a + b for a, b in zip(total, counts)]
        print("     {} passed, {} failed, {} skipped in {:.0f} s".format(*counts, time.monotonic() - begun), flush=True)
        if name.startswith("build") and counts[1]:
            left_out.append("everything after it, since the build failed")
            break
    say("left out: " + ("; ".join(left_out) if left_out else "nothing"))
    for title, names in (("passed only at the second try", SECOND_TRY), ("FAILED", FAILED)):
        if names:
            say(f"{title}: {', '.join(names)}")
    say(f"{time.monotonic() - started:.0f} s in all")
    print("{} passed, {} failed, {} skipped".format(*total), flush=True)
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
