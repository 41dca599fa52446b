"""Training speed and memory beside torch and PEFT: both programs in turn on the same machine, in one sitting.

    make bench        or        python Benchmarks/compare_torch.py --program .build/release/lorajobs --rounds 5

A round runs each program once; the order alternates (A B, B A, ...), so that a drift of the machine meets both. Figures
are medians over rounds; a ratio is formed within a round, and its range over rounds says how quiet the machine was.
Writes Benchmarks/<date>-train.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=HERE.parent / ".build/release/lorajobs", help="the built lorajobs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--config", default="gpt2")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of a run, after two that warm up")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="the folder for the report")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be positive")
    return options


def commands(options):
    shape = []
    for name in ("config", "batch", "length", "rank", "threads", "steps"):
        shape += [f"--{name}", str(getattr(options, name))]
    ours = [str(pathlib.Path(options.program).resolve()), "bench", "train", "--precision", "fp32", "--json", *shape]
    return {"lorajobs": ours, "torch": [sys.executable, str(HERE / "torch_steps.py"), *shape]}


def measure(name, command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{name} ended with {result.returncode}:\n{result.stderr}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def run(options):
    programs = commands(options)
    rounds = []
    for number in range(options.rounds):
        order = ["lorajobs", "torch"] if number % 2 == 0 else ["torch", "lorajobs"]
        rounds.append({name: measure(name, programs[name]) for name in order})
        ours, theirs = (rounds[-1][name]["tokens_per_second"] for name in ("lorajobs", "torch"))
        print(
            f"round {number + 1}: lorajobs {ours:.1f}  torch {theirs:.1f} tokens/s, ratio {ours / theirs:.3f}",
            flush=True)
    return rounds


def check_same_work(rounds):
    """Both must train equally many parameters of equally large models, from a loss of random weights that agrees."""
    for name in ("parameters", "trained_parameters"):
        ours, theirs = (rounds[0][program][name] for program in ("lorajobs", "torch"))
        if ours != theirs:
            sys.exit(f"{name}: lorajobs has {ours}, torch {theirs}; the figures would not compare")
    ours, theirs = (rounds[0][program]["losses"][0] for program in ("lorajobs", "torch"))
    if not abs(ours / theirs - 1) < 0.05:
        sys.exit(f"the first loss is {ours} in lorajobs and {theirs} in torch; the figures would not compare")


def spread(rounds, figure):
    """Median, smallest and largest of `figure` over the rounds."""
    values = [figure(one) for one in rounds]
    return statistics.median(values), min(values), max(values)


def processor():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def revision():
    result = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True)
    return result.stdout.strip() or "unknown"


def report(options, rounds, load, date):
    def row(title, key, scale, digits):
        cells = [title]
        for program in ("lorajobs", "torch"):
            middle, low, high = spread(rounds, lambda one: one[program][key] * scale)
            cells.append(f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})")
        middle, low, high = spread(rounds, lambda one: one["lorajobs"][key] / one["torch"][key])
        cells.append(f"{middle:.3f} ({low:.3f}–{high:.3f})")
        return cells

    table = [["", "lorajobs", "torch + PEFT", "ratio"], ["---"] * 4,
             row("tokens/s", "tokens_per_second", 1, 1),
             row("peak memory, MB", "peak_rss_bytes", 1e-6, 0),
             row("CPU / wall", "cpu_over_wall", 1, 2),
             row("first step, s", "first_step_seconds", 1, 2)]
    share, low, high = spread(rounds, lambda one: one["lorajobs"]["gemm_ceiling_fraction"])
    first = rounds[0]
    losses = ", ".join(f"{name} {first[name]['losses'][0]:.4f}" for name in ("lorajobs", "torch"))
    lines = [
        f"# Training, {date}",
        "",
        f"{options.config}, {options.batch} sequences of {options.length} tokens a step, LoRA rank {options.rank}, "
        f"AdamW, fp32, {options.threads} threads. Base weights are random on either side, without dropout.",
        f"Each run is a process of its own: two steps to warm up, then {options.steps} timed; tokens/s are of the "
        "run's median step.",
        f"{len(rounds)} rounds, the order alternating. Medians over rounds, with the smallest and the largest; ratios "
        "are lorajobs over torch within a round.",
        "",
        *("| " + " | ".join(cells) + " |" for cells in table),
        "",
        f"Share of the speed of lorajobs' own large products alone: {share:.2f} ({low:.2f}–{high:.2f}).",
        f"First loss: {losses}; both train {first['torch']['trained_parameters']} weights on "
        f"{first['torch']['parameters']}.",
        "",
        f"- Processor: {processor()}, {os.cpu_count()} seen by the system; load {load:.2f} before the first run",
        f"- lorajobs: revision {revision()}, {first['lorajobs']['engine']}",
        f"- torch: {first['torch']['engine']}, Python {platform.python_version()}",
        "",
        "| round | order | lorajobs, tokens/s | torch, tokens/s | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, one in enumerate(rounds, 1):
        ours, theirs = (one[name]["tokens_per_second"] for name in ("lorajobs", "torch"))
        lines.append(f"| {number} | {', '.join(one)} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.3f} |")
    return "\n".join(lines) + "\n"


def main():
    options = arguments()
    load = os.getloadavg()[0]
    rounds = run(options)
    check_same_work(rounds)
    date = datetime.date.today().isoformat()
    text = report(options, rounds, load, date)
    file = options.out / f"{date}-train.md"
    file.write_text(text)
    print(f"\n{text}\nwrote {file}")
    _, low, high = spread(rounds, lambda one: one["lorajobs"]["tokens_per_second"] / one["torch"]["tokens_per_second"])
    if high > 1.1 * low:
        print("The ratio's range is wider than a tenth: the machine was not quiet.", file=sys.stderr)


if __name__ == "__main__":
    main()
