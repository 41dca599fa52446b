"""The built `lorajobs` program in a workspace of its own, used as people use it."""

import json
import os
import pathlib
import signal
import subprocess
import time


class ProgramFailed(Exception):
    """The program ended otherwise than asked, or said something that cannot be read."""


class Program:
    """Runs verbs of the program at `executable` in the workspace `root`."""

    def __init__(self, executable, root):
        self.executable = str(pathlib.Path(executable).resolve())
        self.root = pathlib.Path(root).resolve()
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("LORAJOBS_")}

    def run(self, *arguments, text=None):
        """Standard output of a verb that must succeed."""
        command = [self.executable, *map(str, arguments)]
        result = subprocess.run(
            command, input=text, text=True, capture_output=True, cwd=self.root, env=self.environment)
        if result.returncode != 0:
            raise ProgramFailed(f"exit {result.returncode}: lorajobs {' '.join(command[1:])}\n{result.stderr}")
        return result.stdout

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json"))

    def make_workspace(self, *allowed_roots):
        roots = [argument for root in allowed_roots for argument in ("--allow-root", root)]
        self.run("init", self.root, *roots)

    def drop(self, name, manifest):
        """Renames a manifest into the inbox. JSON is YAML, so the text needs no library."""
        scratch = self.root / f"{name}.yaml.tmp"
        scratch.write_text(json.dumps(manifest, indent=2) + "\n")
        scratch.rename(self.root / "Jobs" / "inbox" / f"{name}.yaml")

    def jobs(self):
        """The jobs of the queue by name."""
        return {job["name"]: job for job in self.json("status", "--all")["jobs"]}

    def wait_for(self, names, seconds):
        """Waits until every job has ended well; the first that ends otherwise ends the waiting."""
        deadline = time.monotonic() + seconds
        while True:
            jobs = self.jobs()
            for name in names:
                job = jobs.get(name)
                if job and job["state"] in ("failed", "cancelled", "skipped"):
                    logs = self.run("logs", job["id"])
                    raise ProgramFailed(f"job {name} is {job['state']}: {job['reason']}\n{logs}")
            if all(name in jobs and jobs[name]["state"] == "succeeded" for name in names):
                return jobs
            rejected = list((self.root / "Jobs" / "rejected").glob("*/*.error.txt"))
            if rejected:
                raise ProgramFailed(f"rejected: {rejected[0].read_text()}")
            if time.monotonic() > deadline:
                raise ProgramFailed(f"not done after {seconds} s:\n{self.run('status', '--all')}")
            time.sleep(0.2)

    def evaluate(self, base, data, adapter=None):
        chosen = ["--adapter", adapter] if adapter else []
        return self.json("eval", "--base", base, *chosen, "--data", data, "--threads", 1)

    def greedy(self, base, prompt, count, adapter=None):
        chosen = ["--adapter", adapter] if adapter else []
        return self.json(
            "generate", "--base", base, *chosen, "--prompt", prompt, "--max-tokens", count, "--greedy", "--threads", 1)

    def ids(self, tokenizer, texts):
        """Token ids with special tokens."""
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        output = self.run("tokenize", "--tokenizer", tokenizer, "--special", text=lines)
        return [json.loads(line)["ids"] for line in output.splitlines()]


class Daemon:
    """`lorajobs daemon`, as long as a `with` block lasts; it must end by itself when asked to."""

    def __init__(self, program):
        self.program = program
        self.log = program.root / "daemon.log"

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [self.program.executable, "daemon", "--root", str(self.program.root)], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env=self.program.environment)
        return self

    def __exit__(self, kind, error, trace):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if kind is None and status != 0:
            raise ProgramFailed(f"the daemon ended with {status}:\n{self.log.read_text()}")
