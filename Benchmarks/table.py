"""The table of speeds beside torch: training steps, instructions, generation and starting, in one sitting.

    make bench-table      or        python Benchmarks/table.py --program .build/release/lorajobs --rounds 3

A round runs both programs once on a row, each as a process of its own, the order alternating. Figures are medians over
rounds; a ratio is formed within a round. Rows in bf16 are left out, and said to be, where the processor does not multiply
it. Weights are random on either side; lorajobs keeps matrices as bf16 where the published files of the shape do, torch has
them as floats where it computes in fp32. Writes Benchmarks/<date>-table.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from compare_torch import processor, revision

HERE = pathlib.Path(__file__).resolve().parent
# What glibc needs to keep memory instead of returning it: the fair setting for the peer.
TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(64 << 30), "MALLOC_TOP_PAD_": str(1 << 30)}
TRAINING = [("gpt2", 4, 256), ("gpt2", 1, 1024), ("smollm-135m", 4, 256), ("tinyllama-1.1b", 1, 512)]


def run(command, environment=None):
    started = time.time()
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr}")
    figures = json.loads(result.stdout.strip().splitlines()[-1])
    if "first_step_ended" in figures:
        figures["start_seconds"] = figures["first_step_ended"] - started
    return figures


class Bench:
    def __init__(self, options):
        self.options = options
        self.program = [str(pathlib.Path(options.program).resolve()), "bench"]
        self.rows = []

    def peer(self, script, *arguments):
        return [sys.executable, str(HERE / script), *arguments]

    def measure(self, title, ours, theirs, key, environment=None):
        rounds = []
        for number in range(self.options.rounds):
            pair = {}
            order = ["ours", "theirs"] if number % 2 == 0 else ["theirs", "ours"]
            for who in order:
                pair[who] = run(ours) if who == "ours" else run(theirs, environment)
            rounds.append(pair)
        self.rows.append((title, key, rounds))
        print(self.line(self.rows[-1]), flush=True)

    @staticmethod
    def line(row):
        title, key, rounds = row
        ratios = [one["ours"][key] / one["theirs"][key] for one in rounds]
        memory = [one["ours"]["peak_rss_bytes"] / one["theirs"]["peak_rss_bytes"] for one in rounds]
        middle = {who: statistics.median(one[who][key] for one in rounds) for who in ("ours", "theirs")}
        shares = [
            one["ours"].get("product_ceiling_fraction", one["ours"].get("read_ceiling_fraction")) for one in rounds]
        share = "" if shares[0] is None else f"{statistics.median(shares):.0%}"
        cells = [
            title, f"{middle['ours']:.2f}", f"{middle['theirs']:.2f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
            f"{statistics.median(one['ours']['peak_rss_bytes'] for one in rounds) / 1e6:.0f}",
            f"{statistics.median(one['theirs']['peak_rss_bytes'] for one in rounds) / 1e6:.0f}",
            f"{statistics.median(memory):.2f}", share]
        return "| " + " | ".join(cells) + " |"


def checkpoint(folder):
    """A GPT-2 of random weights as files, to start from."""
    code = (
        "import sys, transformers, torch; torch.manual_seed(0);"
        "transformers.GPT2LMHeadModel(transformers.GPT2Config()).save_pretrained(sys.argv[1])")
    subprocess.run([sys.executable, "-c", code, folder], check=True, capture_output=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=HERE.parent / ".build/release/lorajobs", help="the built lorajobs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a run, after two that warm up")
    parser.add_argument("--only", default="", help="rows whose title contains this")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="the folder for the report")
    options = parser.parse_args()
    bench = Bench(options)
    load = os.getloadavg()[0]
    probe = run([*bench.program, "train", "--config", "gpt2", "--batch", "1", "--length", "8", "--steps", "1", "--json",
                 "--precision", "auto"])
    precisions = ["fp32"] + (["bf16"] if probe["precision"] == "bf16" else [])

    def wanted(title):
        return options.only in title

    def train(title, arguments, key="tokens_per_second", ours=(), theirs=(), environment=None):
        if wanted(title):
            bench.measure(
                title, [*bench.program, "train", "--json", *arguments, *ours],
                bench.peer("torch_steps.py", *arguments, *theirs), key, environment)

    for config, batch, length in TRAINING:
        for precision in precisions:
            arguments = ["--config", config, "--batch", str(batch), "--length", str(length), "--precision", precision,
                         "--steps", str(options.steps)]
            title = f"{config} {batch}x{length} {precision}, tokens/s"
            train(title, arguments)
            if (config, batch, precision) == ("gpt2", 4, "bf16"):
                train(f"{title}, torch with tuned malloc", arguments, environment=TUNED)
                train(f"{title}, torch.compile", arguments, theirs=["--compile"])
    for precision in precisions:
        train(f"gpt2 instructions {precision}, examples/s",
              ["--config", "gpt2", "--batch", "16", "--instructions", "--precision", precision, "--steps",
               str(options.steps)], "examples_per_second")
    for config in ("gpt2", "smollm-135m"):
        for precision in precisions:
            title = f"{config} generation {precision}, tokens/s"
            arguments = ["--config", config, "--precision", precision]
            if wanted(title):
                bench.measure(title, [*bench.program, "generate", "--json", *arguments],
                              bench.peer("torch_generate.py", *arguments), "tokens_per_second")
    title = "gpt2 start to the end of the first step, 1x16 tokens, s"
    if wanted(title):
        with tempfile.TemporaryDirectory() as folder:
            checkpoint(folder)
            train(title, ["--config", "gpt2", "--batch", "1", "--length", "16", "--steps", "1", "--base", folder],
                  "start_seconds")

    date = datetime.date.today().isoformat()
    lines = [
        f"# Beside torch, {date}", "",
        f"LoRA of rank 8 (gpt2: c_attn; smollm-135m: every linear map; tinyllama-1.1b: q and v), AdamW, no dropout, two "
        f"threads, random weights, which lorajobs keeps as bf16 where the published files do (not gpt2). {options.rounds} rounds, the order alternating; medians, and of ratios the smallest "
        "and the largest.",
        "The last column is lorajobs against the machine: of training, the operations of all products in the time of a "
        "step against the speed of its large products alone in the same process; of generation, the bytes of weights "
        "read against the speed of reading memory.", "",
        "| | lorajobs | torch | ratio | lorajobs, MB | torch, MB | ratio | of the ceiling |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |", *(Bench.line(row) for row in bench.rows),
        *([] if "bf16" in precisions else ["| bf16 | not measured: this processor does not multiply it | | | | | | |"]),
        "", f"- Processor: {processor()}, {os.cpu_count()} seen by the system; load {load:.2f} before the first run",
        f"- lorajobs: revision {revision()}, {probe['engine']}",
    ]
    engines = {one["theirs"]["engine"] for _, _, rounds in bench.rows for one in rounds if "engine" in one["theirs"]}
    lines += [f"- torch: {engine}" for engine in sorted(engines)]
    file = options.out / f"{date}-table.md"
    file.write_text("\n".join(lines) + "\n")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
