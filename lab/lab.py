#!/usr/bin/python3
"""sudo ./run lab: incidents started for real, what pleg says of them, and what the kubelet's rules would have said.

    lab.py                               what there is, one line each
    lab.py NAME [--seconds N] [--keep]   one of them; ends by Ctrl-C or when its way out has run
    lab.py table [--runs N] [NAME...]    each of them N times; prints cause, runs, right, wrong, seconds

PLEG_BUILD is the build whose programs are used.
"""

import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import founding
import kit
import verdict
from privatecontainerd import PrivateContainerd
from privatedocker import PrivateDocker


class Runtimes:
    """The private daemons that the incidents of one run need, each started when it is asked for first."""

    def __init__(self):
        self.shared = {}
        self.agents = {}  # by endpoint

    def agent(self, endpoint, listed=True):
        """The agent beside that endpoint; started and settled if there is none yet."""
        agent = self.agents.get(endpoint)
        if agent and agent.is_alive():
            return agent
        self.agents[endpoint] = agent = verdict.Agent(endpoint)
        return agent.start(listed)

    def end_agent(self, endpoint):
        agent = self.agents.pop(endpoint, None)
        if agent:
            agent.stop()

    def get(self, needs):
        """(daemon, its endpoint); one of its own for what does something to the daemon."""
        kind = "docker" if "docker" in needs else "containerd"
        if needs.startswith("own") or kind not in self.shared:
            folder = tempfile.mkdtemp(prefix="pleg-lab-", dir="/tmp")
            daemon = PrivateDocker(folder) if kind == "docker" else PrivateContainerd(folder)
            key = folder if needs.startswith("own") else kind
            self.shared[key] = daemon  # known before it is started, so that stop() ends one that is half started, too
            daemon.start()
            return daemon
        return self.shared[kind]

    def release(self, daemon):
        """Ends one that nobody else uses."""
        for key, value in list(self.shared.items()):
            if value is daemon and key not in ("docker", "containerd"):
                del self.shared[key]
                self.end_agent(daemon.endpoint)
                daemon.stop()

    def stop(self):
        for endpoint in list(self.agents):
            self.end_agent(endpoint)
        for daemon in self.shared.values():
            daemon.stop()
        self.shared = {}


class Incident:
    """One started incident; stop() whatever became of it, which returns what was left behind."""

    def __init__(self, folder, expect, runtimes, seconds=None):
        self.folder, self.expect, self.runtimes = folder, expect, runtimes
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"plab-{expect['name'][:20]}-", dir="/tmp"))
        self.daemon = None if expect["needs"] == "stand-in" else runtimes.get(expect["needs"])
        more = ["--seconds", str(seconds)] if seconds else []
        if self.daemon:
            more += ["--runtime", str(self.daemon.dir)]
        self.command = [str(folder / "start"), str(self.dir), *more]
        self.moment = None

    def start(self):
        """0, or the exit code of `start`, its words in self.error."""
        # Not a pipe: what stays behind may hold it open.
        log = self.dir.with_suffix(".log")
        with log.open("w+") as errors:
            done = subprocess.run(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=100)
            self.error = log.read_text().strip()
        log.unlink()
        if done.returncode == 0:
            self.moment = json.loads(done.stdout.splitlines()[-1])
        return done.returncode

    def watch_with_agent(self):
        """To be called before start(): the agent is there before the incident is. A stand-in has no daemon yet; its agent comes after."""
        return self.runtimes.agent(self.daemon.endpoint) if self.daemon else None

    @property
    def agent(self):
        """The one beside its runtime, if there is one."""
        return self.runtimes.agents.get(self.endpoint)

    def wait_right_with_agent(self):
        """As verdict.wait_right(), by the agent, from the printed moment on; what /metrics counts must be the same."""
        since = None
        if self.daemon:
            agent = self.runtimes.agent(self.daemon.endpoint)
        else:
            since, agent = time.monotonic(), self.runtimes.agent(self.endpoint, listed=False)
        seconds, text = verdict.wait_right(agent, self.moment, self.expect, since)
        if seconds is not None and not agent.counted(self.expect["cause"], self.expect["confidence"]):
            return None, f"right after {seconds:.1f} s, but /metrics does not count it"
        return seconds, text

    @property
    def endpoint(self):
        if self.moment and self.moment["subject"].get("endpoint"):
            return self.moment["subject"]["endpoint"]
        return self.daemon.endpoint if self.daemon else None

    def end(self):
        """Lets go and cleans up, again if need be; the daemon is there, also where the incident ended it, and so is the agent."""
        subprocess.run([str(self.folder / "stop"), str(self.dir)], stdin=subprocess.DEVNULL, timeout=120, check=True)
        if self.moment and self.daemon and not self.daemon.pid:
            self.daemon.spawn()

    def wait_closed_with_agent(self):
        """As verdict.wait_closed(), after end(). Where a stand-in was, nothing answers any more, which is said rightly."""
        return verdict.wait_closed(self.agent, self.moment, self.expect["cause"], every=bool(self.daemon))

    def stop(self):
        self.end()
        if self.daemon:
            self.runtimes.release(self.daemon)
        elif self.endpoint:
            self.runtimes.end_agent(self.endpoint)
        return kit.left_behind(self.dir, self.moment)


def catalogue():
    return {**verdict.incidents(), **verdict.incidents("lookalikes")}


def show_list():
    for title, group in (("Incidents", "incidents"), ("Look-alikes, of which pleg must say nothing", "lookalikes")):
        print(f"{title}:")
        for name, (_, expect) in verdict.incidents(group).items():
            label = f" [{expect['label']}]" if expect["label"] else ""
            print(f"  {name:32} {expect['summary']}{label}")
    print("\nsudo ./run lab NAME [--seconds N] [--keep]   starts one and shows what pleg says\n"
          "sudo ./run lab table [--runs N]              starts each and counts what was right")


def show_finding(finding, indent="  "):
    print(f"{indent}{finding['cause']} ({finding['confidence']}, {finding['severity']})\n{indent}  {finding['summary']}")
    for one in finding["evidence"][:8]:
        print(f"{indent}    {one['what']}: {' '.join(str(one['value']).split())[:150]}")
    for one in finding["advice"]:
        print(f"{indent}  do: {one['action']}" + (f"\n{indent}      {one['command']}" if one["command"] else ""))
    for one in finding["symptoms"]:
        print(f"{indent}  explains: {one['cause']}: {one['summary']}")


def show(incident, seconds):
    """What pleg says, as it changes, until the way out has run."""
    moment, expect = incident.moment, incident.expect
    for what, result in moment["steps"]:
        print(f"  {what}: {result}")
    print(f"\n{moment['at']}  {moment['precondition']}")
    print(f"The kubelet's rules would have said: {expect['kubelet']}\n")
    until = moment["monotonicNanoseconds"] / 1e9 + seconds
    shown = None
    with verdict.Watch(incident.endpoint, 2000) as watch:
        for findings in watch.samples(until):
            mine = [f for f in findings if verdict.concerns(f, moment)]
            key = [(f["cause"], f["confidence"]) for f in mine]
            if key == shown:
                continue
            shown = key
            print(f"After {time.monotonic() - moment['monotonicNanoseconds'] / 1e9:.1f} s pleg says:" + ("" if mine else " nothing"))
            for finding in mine:
                show_finding(finding)
            if expect.get("thenFree") and verdict.judge(findings, moment, expect)[0]:
                free(incident, mine[0])
                return


def free(incident, finding):
    """What ended the founding incident: a reboot then, one command now."""
    command = founding.freeing_advice(finding)["command"]
    print(f"\nRunning what pleg says: {command}\n  exit code {founding.run_advice(command)}")
    for what, gone in founding.all_gone(incident):
        print(f"  {what}: {'gone' if gone else 'STILL THERE'}")


def run_one(name, seconds, keep):
    folder, expect = catalogue()[name]
    seconds = min(seconds or expect["armed"], expect["armedMax"])
    runtimes = Runtimes()
    incident = None
    print(f"{name}: {expect['summary']}" + (f" [{expect['label']}]" if expect["label"] else ""))
    try:
        incident = Incident(folder, expect, runtimes, seconds)
        code = incident.start()
        if code != 0:
            print(incident.error, file=sys.stderr)
            return code
        with contextlib.suppress(KeyboardInterrupt):
            show(incident, seconds)
        if keep:
            print(f"\nKept. To end it:\n  {folder}/stop {incident.dir}")
            for daemon in runtimes.shared.values():
                print(f"  {pathlib.Path(__file__).parent}/{'privatedocker' if isinstance(daemon, PrivateDocker) else 'privatecontainerd'}.py "
                      f"stop {daemon.dir}")
        return 0
    finally:
        if not keep:
            left = incident.stop() if incident else []
            runtimes.stop()
            print("\nEnded, " + ("everything is gone." if not left else "BUT LEFT BEHIND: " + ", ".join(left)))


def count_one(incident, row):
    """One run of it into the row; False if there is no use in another."""
    try:
        incident.watch_with_agent()
        code = incident.start()
        if code == kit.UNSUPPORTED:
            row["wrong"].append(f"cannot be had here: {incident.error}")
            return False
        row["runs"] += 1
        if code != 0:
            row["wrong"].append(f"did not start: {incident.error}")
            return True
        seconds, text = incident.wait_right_with_agent()
        incident.end()
        # Also after a wrong one: the next must not be taken for its continuation.
        wrong = incident.wait_closed_with_agent()
        wrong = text if seconds is None else wrong
        if wrong:
            row["wrong"].append(wrong)
        else:
            row["right"] += 1
            row["seconds"].append(seconds)
            row["starved"] += text.startswith(verdict.STARVED)
        return True
    finally:
        row["wrong"] += [f"left behind: {what}" for what in incident.stop()]


def count(names, runs, say=print):
    """Rows of (name, cause, label, runs, right, [seconds], [what was wrong]), by an agent that runs beside the runtime all the time."""
    rows = []
    runtimes = Runtimes()
    try:
        for name in names:
            folder, expect = verdict.incidents()[name]
            row = {"name": name, "cause": expect["cause"], "label": expect["label"], "runs": 0, "right": 0, "seconds": [],
                   "most": verdict.limit(expect), "starved": 0, "wrong": []}
            rows.append(row)
            for _ in range(runs):
                if not count_one(Incident(folder, expect, runtimes), row):
                    break
            say(table_line(row))
    finally:
        runtimes.stop()
    return rows


def table_line(row):
    """The seconds stand beside those that the rule promises."""
    cause = row["cause"] + (f" ({row['label']})" if row["label"] else "")
    seconds = f"{min(row['seconds']):.1f} to {max(row['seconds']):.1f}" if row["seconds"] else "-"
    most = f"{row['most']:g}"
    most += f" ({row['starved']} on a starved node, which may take longer)" if row["starved"] else ""
    wrong = "; ".join(sorted(set(row["wrong"])))
    return f"| {cause} | {row['runs']} | {row['right']} | {row['runs'] - row['right']} | {seconds} | {most} | {wrong} |"


def table(names, runs):
    print("| cause | runs | right | wrong | seconds from the moment | the rule's | what was wrong |\n|---|---|---|---|---|---|---|")
    rows = count(names or list(verdict.incidents()), runs, lambda line: print(line, flush=True))
    return 0 if all(row["right"] == row["runs"] and row["runs"] for row in rows) else 1


def main():
    parser = argparse.ArgumentParser(prog="run lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*")
    parser.add_argument("--seconds", type=int, help="when it ends by itself")
    parser.add_argument("--keep", action="store_true", help="leave it and its runtime there, and say how to end them")
    parser.add_argument("--runs", type=int, default=1, help="of the table")
    arguments = parser.parse_intermixed_args()
    if not arguments.name:
        show_list()
        return 0
    if arguments.name[0] == "table":
        return table(arguments.name[1:], arguments.runs)
    causes = {expect["cause"]: name for name, (_, expect) in verdict.incidents().items()}
    name = causes.get(arguments.name[0], arguments.name[0])
    if name not in catalogue():
        print(f"run lab: no incident '{name}'; sudo ./run lab lists them", file=sys.stderr)
        return 2
    return run_one(name, arguments.seconds, arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
