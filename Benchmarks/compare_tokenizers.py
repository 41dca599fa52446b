"""Encoding speed beside the `tokenizers` package: the same lines, one thread each, in turn in one sitting.

    make bench-tokenizers
    or    python Benchmarks/compare_tokenizers.py --program .build/release/lorajobs --text DATASETS FOLDER [FOLDER ...]

A FOLDER holds a tokenizer.json. The corpus is every .txt, .csv, .tsv, .json and .jsonl file below DATASETS, read as text,
again and again until it has --megabytes; from the second time on, one word in ten is changed, so that no program's memory
of words can live on repetition. A round runs both programs, each a process of its own, on the whole corpus, the order
alternating; neither warms up. The package encodes with encode_batch_fast, which makes no offsets, in
batches of a thousand lines; lorajobs makes none either. Both sides must find the same number of tokens.
Writes Benchmarks/<date>-tokenizers.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

from compare_torch import processor, revision, spread

HERE = pathlib.Path(__file__).resolve().parent
SUFFIXES = {".txt", ".csv", ".tsv", ".json", ".jsonl"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=pathlib.Path)
    parser.add_argument("--program", default=HERE.parent / ".build/release/lorajobs", help="the built lorajobs")
    parser.add_argument("--text", type=pathlib.Path, help="a folder of text files")
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="the folder for the report")
    parser.add_argument("--package", nargs=2, metavar=("TOKENIZER", "FILE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def words_of(text, rng):
    """The text with one word in ten changed: two letters swapped, or one doubled."""

    def change(match):
        word = match.group()
        if rng.random() > 0.1:
            return word
        place = rng.randrange(len(word) - 1)
        if rng.random() < 0.5:
            return word[:place] + word[place + 1] + word[place] + word[place + 2:]
        return word[:place] + word[place] + word[place:]

    return re.sub(r"[^\W\d_]{3,}", change, text)


def write_corpus(folder, file, size):
    """Writes the corpus and returns how many bytes of it are text as it was found."""
    sources = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    texts = [path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n") for path in sources]
    if not texts:
        sys.exit(f"{folder} holds no text files")
    rng = random.Random(1)
    written = original = 0
    with open(file, "wb") as output:
        number = 0
        while written < size:
            for text in texts:
                data = (words_of(text, rng) if number else text).encode()
                # Whole lines, and none beyond the size wanted.
                data = data[:size - written]
                data = data[:data.rfind(b"\n") + 1] if b"\n" in data else b""
                output.write(data)
                written += len(data)
                original += 0 if number else len(data)
                if size - written < 4096:
                    return written, original
            number += 1
    return written, original


def package(tokenizer, file):
    """The package's side: runs in a process of its own."""
    import resource

    import tokenizers
    start = time.perf_counter()
    model = tokenizers.Tokenizer.from_file(tokenizer)
    model.no_truncation()
    model.no_padding()
    loaded = time.perf_counter() - start
    # The same lines as lorajobs, ended by newlines only.
    lines = pathlib.Path(file).read_bytes().decode().split("\n")[:-1]
    batches = [lines[place:place + 1000] for place in range(0, len(lines), 1000)]
    tokens = 0
    seconds = 0.0
    for batch in batches:
        start = time.perf_counter()
        encodings = model.encode_batch_fast(batch)
        seconds += time.perf_counter() - start
        tokens += sum(len(encoding) for encoding in encodings)
    print(json.dumps({"tokens": tokens, "lines": len(lines), "seconds": seconds, "load_seconds": loaded,
                      "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                      "engine": "tokenizers " + tokenizers.__version__}))


def measure(command):
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr}")
    answer = json.loads(result.stdout.strip().splitlines()[-1])
    if isinstance(answer["seconds"], list):
        answer["seconds"] = answer["seconds"][-1]
    return answer


def main():
    options = arguments()
    if options.package:
        return package(*options.package)
    if not options.text or not options.folders or options.rounds < 1:
        sys.exit("--text, at least one folder and a positive number of rounds are needed")
    load = os.getloadavg()[0]
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        corpus = pathlib.Path(scratch) / "corpus.txt"
        size, original = write_corpus(options.text, corpus, options.megabytes * 1_000_000)
        for folder in options.folders:
            file = str(folder / "tokenizer.json")
            commands = {
                "lorajobs": [str(pathlib.Path(options.program).resolve()), "bench", "tokenize", "--tokenizer", file,
                             "--input", str(corpus), "--passes", "1", "--json"],
                "package": [sys.executable, __file__, "--package", file, str(corpus)],
            }
            rounds = []
            for number in range(options.rounds):
                order = ["lorajobs", "package"] if number % 2 == 0 else ["package", "lorajobs"]
                rounds.append({name: measure(commands[name]) for name in order})
                ours, theirs = rounds[-1]["lorajobs"], rounds[-1]["package"]
                if ours["tokens"] != theirs["tokens"] or ours["lines"] != theirs["lines"]:
                    sys.exit(f"{folder}: lorajobs found {ours['tokens']} tokens in {ours['lines']} lines, the package "
                             f"{theirs['tokens']} in {theirs['lines']}")
                print(f"{folder.name} round {number + 1}: lorajobs {size / ours['seconds'] / 1e6:.1f}  package "
                      f"{size / theirs['seconds'] / 1e6:.1f} MB/s, ratio {theirs['seconds'] / ours['seconds']:.2f}", flush=True)
            results[folder.name] = rounds
    date = datetime.date.today().isoformat()
    lines = [
        f"# Tokenizers, {date}", "",
        f"{size / 1e6:.1f} MB in lines, {original / 1e6:.1f} MB of it as found and the rest with one word in ten changed. One thread "
        "each, ids with special tokens, no offsets on either side.",
        f"{options.rounds} rounds, the order alternating. Medians, with the smallest and the largest; ratios are within a round.", "",
        "| tokenizer | lorajobs, MB/s | package, MB/s | ratio | loading, ms | package, ms | peak, MB | package, MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rounds in results.items():
        cells = [name]
        for side in ("lorajobs", "package"):
            cells.append("{:.1f} ({:.1f}–{:.1f})".format(*spread(rounds, lambda one: size / one[side]["seconds"] / 1e6)))
        cells.append("{:.2f} ({:.2f}–{:.2f})".format(
            *spread(rounds, lambda one: one["package"]["seconds"] / one["lorajobs"]["seconds"])))
        for key, scale in (("load_seconds", 1e3), ("peak_rss_bytes", 1e-6)):
            for side in ("lorajobs", "package"):
                cells.append(f"{spread(rounds, lambda one: one[side][key] * scale)[0]:.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    engine = next(iter(results.values()))[0]["package"]["engine"]
    lines += ["", f"- Processor: {processor()}, {os.cpu_count()} seen by the system; load {load:.2f} before the first run",
              f"- lorajobs: revision {revision()}; package: {engine} (encode_batch_fast)"]
    text = "\n".join(lines) + "\n"
    file = options.out / f"{date}-tokenizers.md"
    file.write_text(text)
    print(f"\n{text}\nwrote {file}")


if __name__ == "__main__":
    main()
