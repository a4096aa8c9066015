#!/usr/bin/env python3
"""Proves that the simulator finds bugs: plants each of bugs/*.bug into a copy of its file, builds pleg-sim with it, and expects
the run to fail within a bounded number of histories.

    plant.py --source ROOT --build FOLDER [--histories N] [--jobs N] [--match TEXT] -- CC [FLAGS...]

A .bug file is one line that says why it is wrong, "file: PATH", perhaps "by: scenario" (no history of chance shows it, so none
is tried), and one or more changes:

    <<<<
    the exact old text, which must be there exactly once
    ====
    the new text
    >>>>          (after the last one; the next change begins with <<<<)

When the old text is no longer there exactly once, the bug fails, so the list stays alive. Exit 0: all were found."""
import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys

ROOMS = ["src/base", "src/model", "src/pleg", "src/ledger", "src/sync", "src/node", "tests/sim"]
UNUSED = {"clock.c", "fd.c", "log.c", "yaml.c"} # the simulator links none of these: impure, or with a library of others
FLAGS = ["-std=gnu17", "-O2", "-g0", "-w", "-D_GNU_SOURCE", "-Ulinux", "-fno-strict-aliasing"]
RUN_SECONDS = 300


class Bug:
    def __init__(self, path):
        self.name = path.stem
        lines = path.read_text().split("\n")
        self.why = lines[0]
        if not lines[1].startswith("file: "):
            raise ValueError(f"{path}: the second line is not 'file: PATH'")
        self.file = lines[1][len("file: "):].strip()
        self.by_scenario = lines[2] == "by: scenario"
        self.changes = []
        old, new, into = [], [], None
        for line in lines[2:]:
            if line in ("<<<<", ">>>>"):
                if into is new:
                    self.changes.append(("\n".join(old), "\n".join(new)))
                old, new = [], []
                into = old if line == "<<<<" else None
            elif line == "====":
                into = new
            elif into is not None:
                into.append(line)
        if not self.changes:
            raise ValueError(f"{path}: no change")

    def plant(self, text):
        for old, new in self.changes:
            if text.count(old) != 1:
                raise ValueError(f"the old text is in {self.file} {text.count(old)} times, not once: {old.strip()[:70]!r}")
            text = text.replace(old, new)
        return text


class Planter:
    def __init__(self, arguments):
        self.root = pathlib.Path(arguments.source)
        self.build = pathlib.Path(arguments.build)
        self.compiler = arguments.compiler
        self.histories = arguments.histories
        self.sources = [p for room in ROOMS for p in sorted((self.root / room).glob("*.c")) if p.name not in UNUSED]

    def compile(self, source, target, folder):
        command = [*self.compiler, *FLAGS, "-I", str(self.root / "src"), "-I", str(folder), "-c", str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(f"does not compile:\n{done.stderr[:2000]}")

    def object(self, source):
        return self.build / (str(source.relative_to(self.root)).replace("/", "-") + ".o")

    def compile_all(self, pool):
        self.build.mkdir(parents=True, exist_ok=True)
        list(pool.map(lambda s: self.compile(s, self.object(s), s.parent), self.sources))

    def link(self, objects, target):
        subprocess.run([*self.compiler, "-O2", *map(str, objects), "-o", str(target)], check=True)

    def run(self, program, *more):
        return subprocess.run([str(program), "--seed", "7", "--shrink=no", *more], capture_output=True, text=True,
                              timeout=RUN_SECONDS, errors="replace")

    def sound(self):
        """Without a bug the same run passes, or finding one would mean nothing."""
        self.link([self.object(s) for s in self.sources], self.build / "sound")
        done = self.run(self.build / "sound", "--histories", "500", "--no-coverage")
        if done.returncode != 0:
            raise SystemExit("Without any bug the run fails:\n" + done.stdout[-3000:])

    def find(self, bug):
        """Returns (found, text)."""
        try:
            source = self.root / bug.file
            mutated = self.build / f"{bug.name}.c"
            mutated.write_text(bug.plant(source.read_text()))
            self.compile(mutated, self.build / f"{bug.name}.o", source.parent)
            program = self.build / bug.name
            self.link([self.build / f"{bug.name}.o", *(self.object(s) for s in self.sources if s != source)], program)
            if bug.by_scenario:
                done = self.run(program, "--histories", "1", "--no-coverage", "--scenarios")
            else:
                done = self.run(program, "--histories", str(self.histories), "--no-coverage", "--no-scenarios")
        except ValueError as error:
            return False, str(error)
        except subprocess.TimeoutExpired:
            return False, f"no end within {RUN_SECONDS} s"
        program.unlink()
        if done.returncode == 0:
            return False, f"NOT found in {'the scenarios' if bug.by_scenario else f'{self.histories} histories'}: {bug.why}"
        told = re.findall(r"^FAILED: (\S+), found after (\d+) histories", done.stdout, re.M)
        if not told:
            return True, f"crash ({done.returncode})"
        rule, count = told[-1]
        return True, f"after {count:>5} histories: {rule}" if int(count) else f"by a scenario:         {rule}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--histories", type=int, default=20000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--match", default="")
    parser.add_argument("compiler", nargs="+")
    arguments = parser.parse_args()
    bugs = [Bug(p) for p in sorted((pathlib.Path(arguments.source) / "tests/sim/bugs").glob("*.bug")) if arguments.match in p.stem]
    planter = Planter(arguments)
    missed = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        planter.compile_all(pool)
        planter.sound()
        for bug, (found, text) in zip(bugs, pool.map(planter.find, bugs)):
            missed += not found
            print(f"{'found ' if found else 'MISSED'}  {bug.name:28}  {text}", flush=True)
    print(f"{len(bugs) - missed} of {len(bugs)} planted bugs found")
    return 1 if missed or not bugs else 0


sys.exit(main())
