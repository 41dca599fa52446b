"""What longer sequences cost: time and memory of a training step for contexts of 128 to 8192 tokens.

    make bench-context      or        python3 Benchmarks/context.py --program .build/release/lorajobs

One sequence a step, so that all that changes is its length. Time should follow the operations of a step's products, which
are linear in tokens but for attention's, and memory should be linear; with layers computed again, on a smaller slope.
Each line is a process of its own. Writes Benchmarks/<date>-context.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess

from compare_torch import processor, revision

HERE = pathlib.Path(__file__).resolve().parent
LENGTHS = [128, 256, 512, 1024, 2048, 4096, 8192]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=HERE.parent / ".build/release/lorajobs", help="the built lorajobs")
    parser.add_argument("--config", default="smollm-135m")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a run, after two that warm up")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="the folder for the report")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    program = str(pathlib.Path(options.program).resolve())

    def measure(length, *flags):
        result = subprocess.run(
            [program, "bench", "train", "--config", options.config, "--batch", "1", "--length", str(length),
             "--precision", "auto", "--steps", str(options.steps), "--json", *flags],
            capture_output=True, text=True, check=True)
        return json.loads(result.stdout.strip().splitlines()[-1])

    rows, first = [], {}
    for length in LENGTHS:
        cells = [str(length)]
        for name, flags in (("kept", ()), ("recomputed", ("--gradient-checkpointing",))):
            figures = measure(length, *flags)
            seconds = statistics.median(figures["step_seconds"])
            # What a step's products take, at the speed of the large ones.
            operations = figures["product_ceiling_fraction"] * seconds * figures["gemm_gflops"]
            megabytes = figures["peak_rss_bytes"] / 1e6
            start = first.setdefault(name, (length, megabytes))
            slope = (megabytes - start[1]) / (length - start[0]) * 1000 if length > start[0] else None
            if name == "kept":
                cells += [f"{operations:.0f}"]
            cells += [f"{seconds:.3f}", f"{seconds / operations * 1000:.2f}", f"{megabytes:.0f}",
                      "" if slope is None else f"{slope:.0f}"]
            precision, engine = figures["precision"], figures["engine"]
        rows.append("| " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)

    date = datetime.date.today().isoformat()
    lines = [
        f"# Longer sequences, {date}", "",
        f"{options.config}, LoRA of rank 8 on every linear map, {precision}, two threads, random weights, one sequence a "
        f"step; medians of {options.steps} steps.",
        "Operations are those of a step's products, forwards and backwards, counted once. Slopes are megabytes for "
        "1000 tokens more, from the first line to this one.", "",
        "| tokens | operations, G | step, s | ms for G operations | MB | slope | recomputed: step, s | ms for G | MB | slope |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |", *rows, "",
        f"- Processor: {processor()}, {os.cpu_count()} seen by the system; load {load:.2f} before the first run",
        f"- lorajobs: revision {revision()}, {engine}",
    ]
    file = options.out / f"{date}-context.md"
    file.write_text("\n".join(lines) + "\n")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
