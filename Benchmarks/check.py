"""Whether the engine has become slower than it was, whatever machine this is.

    make bench-check      or        python3 Benchmarks/check.py --program .build/release/lorajobs

What is compared is no time but a share of what the machine does at that moment: a training step against its large products
alone, generation against reading memory, both measured in the same process. The best of some runs counts, since whatever
else the machine does can only lower it. It fails when a share is more than a tenth below its floor in `floors.json`;
`--record` writes the floors anew. Rows in bf16 are left out where the processor does not multiply it.
"""

import argparse
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROWS = [
    ("train", "gpt2", "fp32"), ("train", "gpt2", "bf16"), ("train", "smollm-135m", "fp32"),
    ("train", "smollm-135m", "bf16"), ("generate", "gpt2", "fp32"), ("generate", "gpt2", "bf16"),
]
TOLERANCE = 0.1


def share(program, kind, config, precision):
    """The share of the ceiling in one run; None where the precision is another than was asked for."""
    command = [program, "bench", kind, "--config", config, "--precision", precision, "--json"]
    if kind == "train":
        command += ["--batch", "4", "--length", "256", "--steps", "3"]
    figures = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    return figures["product_ceiling_fraction" if kind == "train" else "read_ceiling_fraction"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=HERE.parent / ".build/release/lorajobs", help="the built lorajobs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write the floors instead of comparing with them")
    options = parser.parse_args()
    program = str(pathlib.Path(options.program).resolve())
    probe = subprocess.run(
        [program, "bench", "train", "--config", "gpt2", "--batch", "1", "--length", "8", "--steps", "1", "--precision",
         "auto", "--json"], capture_output=True, text=True, check=True)
    multiplies = json.loads(probe.stdout.splitlines()[-1])["precision"] == "bf16"
    file = HERE / "floors.json"
    floors = json.loads(file.read_text()) if file.exists() else {}
    slower = []
    for kind, config, precision in ROWS:
        title = f"{kind} {config} {precision}"
        if precision == "bf16" and not multiplies:
            print(f"{title}: not measured, this processor does not multiply bf16")
            continue
        best = max(share(program, kind, config, precision) for _ in range(options.rounds))
        floor = floors.get(title)
        print(f"{title}: {best:.1%} of the ceiling" + (f", floor {floor:.1%}" if floor else ""), flush=True)
        if options.record:
            floors[title] = round(best, 3)
        elif floor and best < floor * (1 - TOLERANCE):
            slower.append(title)
    if options.record:
        file.write_text(json.dumps(floors, indent=2) + "\n")
    if slower:
        sys.exit("slower than it was: " + ", ".join(slower))


if __name__ == "__main__":
    main()
