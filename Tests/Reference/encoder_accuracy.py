"""Trains the same LoRA classifiers here and with transformers and PEFT, and compares their accuracy.

    python Tests/Reference/encoder_accuracy.py --program .build/release/lorajobs [--sets banking77 sst2] [--seeds 3]

Recipe on both sides: MiniLM-L6, rank 8 and alpha 16 on query and value, pooler frozen, the head trained whole, AdamW without
decay, gradients clipped at 1, linear schedule with 3% warm-up, no early stopping, all test texts. Fitted to two cores, which
take some minutes for a seed: two passes over the 10003 texts of banking77 and one over the 8000 of sst2, in batches of 32.
The library's usual dropout of 0.1 within the base is off, since jobs have none; --dropout 0.1 compares with it on. Both sides
compute in fp32; --precision auto lets jobs take bf16 where the processor multiplies it, as they do by default.

Both sides start from the same adapter and head and see the examples in the same order, which a job's seed decides, so that
chance does not part them; --own-start lets the library draw its own.

With --results FILE what has been computed is kept there and not computed again, so that the sides (--sides) can be run one
by one. Test data is found by LORAJOBS_TEST_DATA (default: ../shared/data). Exits with 1 when the mean accuracy here is lower
than the other by more than two standard errors of the difference.
"""

import argparse
import csv
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import torch
import transformers
from job_start import order, start_as_job
from lorajobs_program import Program
from peft import LoraConfig, get_peft_model

SETS = {
    # files, separator, text and label columns, most tokens, learning rate, epochs
    "banking77": ("train.csv", "test.csv", ",", "text", "category", 64, 2e-3, 2),
    "sst2": ("train_first8000.tsv", "dev.tsv", "\t", "sentence", "label", 64, 1e-3, 1),
}


def read(path, separator, text, label, limit=None):
    with open(path, newline="", encoding="utf-8") as file:
        quoting = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
        rows = [(row[text], row[label]) for row in csv.DictReader(file, delimiter=separator, quoting=quoting)]
    return rows[:limit]


def torch_accuracy(base, train, test, length, rate, epochs, batch, seed, dropout, draws_own):
    transformers.set_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    names = sorted({label for _, label in train})
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=len(names), hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
    model = get_peft_model(
        model, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"]))
    if not draws_own:
        start_as_job(model, seed, new_heads=["classifier"])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0)
    steps = epochs * ((len(train) + batch - 1) // batch)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, -(-steps * 3 // 100), steps)

    def encode(rows):
        encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=length, padding="longest",
                            return_tensors="pt")
        return encoded, torch.tensor([names.index(label) for _, label in rows])

    model.train()
    for epoch in range(epochs):
        rows = torch.randperm(len(train)).tolist() if draws_own else order(seed, epoch, len(train))
        for start in range(0, len(rows), batch):
            inputs, labels = encode([train[i] for i in rows[start:start + batch]])
            model(**inputs, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    right = 0
    test = sorted(test, key=lambda row: len(row[0]))
    with torch.no_grad():
        for start in range(0, len(test), 64):
            inputs, labels = encode(test[start:start + 64])
            right += (model(**inputs).logits.argmax(-1) == labels).sum().item()
    return right / len(test)


def our_accuracy(program, base, train, test, length, rate, epochs, batch, seed, name, threads, precision):
    manifest = program.root / f"{name}.json"
    manifest.write_text(json.dumps({
        "name": name, "base": str(base),
        "data": {"train": [str(train)], "test": [str(test)], "validation": "0%", "format": "classification",
                 "max_length": length, "overlength": "truncate"},
        "adapter": {"rank": 8, "alpha": 16, "targets": ["query", "value"]},
        "train": {"epochs": epochs, "batch_size": batch, "learning_rate": rate, "lr_schedule": "linear", "warmup": "3%",
                  "precision": precision, "seed": seed},
        "run": {"threads": threads}}))
    program.run("run", manifest)
    versions = sorted((program.root / "Artifacts/adapters" / name).glob("[0-9]*"))
    return json.loads((versions[-1] / "lorajobs.json").read_text())["metrics"]["accuracy"]


def write(path, rows):
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


SIDES = ("lorajobs", "transformers+peft")


class Results:
    """Accuracies and seconds by what was computed, in a file where one is named."""

    def __init__(self, path):
        self.path = pathlib.Path(path) if path else None
        self.values = json.loads(self.path.read_text()) if self.path and self.path.exists() else {}

    def get(self, key, compute):
        if key not in self.values:
            began = time.monotonic()
            self.values[key] = [compute(), round(time.monotonic() - began)]
            if self.path:
                self.path.write_text(json.dumps(self.values, indent=1) + "\n")
        accuracy, seconds = self.values[key]
        print(f"{key}: {100 * accuracy:.2f}% in {seconds} s", flush=True)
        return accuracy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--limit", type=int, help="training texts at most")
    parser.add_argument("--dropout", type=float, default=0.0, help="of transformers, within the base")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "auto"], help="of the jobs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--own-start", action="store_true", help="transformers draws its own start and order")
    parser.add_argument("--results", help="a file that keeps what was computed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = pathlib.Path(os.environ.get("LORAJOBS_TEST_DATA", "../shared/data")).resolve()
    base = data / "models/minilm-l6-v2-bert"
    results = Results(options.results)
    is_lower = False
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder).resolve()
        program = Program(options.program, folder / "workspace")
        program.root.mkdir()
        program.make_workspace(data, folder)
        for name in options.sets:
            train_file, test_file, separator, text, label, length, rate, epochs = SETS[name]
            train = read(data / "datasets" / name / train_file, separator, text, label, options.limit)
            test = read(data / "datasets" / name / test_file, separator, text, label)
            files = write(folder / f"{name}-train.jsonl", train), write(folder / f"{name}-test.jsonl", test)
            settings = (length, rate, epochs, options.batch)
            print(f"{name}: {len(train)} training texts, {len(test)} test texts, {epochs} epochs", flush=True)
            found = {side: [] for side in options.sides}
            for seed in range(1, options.seeds + 1):
                if SIDES[0] in found:
                    precision = options.precision
                    found[SIDES[0]].append(results.get(f"{name} {SIDES[0]} {precision} seed {seed}", lambda: our_accuracy(
                        program, base, *files, *settings, seed, f"{name}-{seed}", options.threads, precision)))
                if SIDES[1] in found:
                    dropout = f" dropout {options.dropout}" if options.dropout else ""
                    own = " own start" if options.own_start else ""
                    found[SIDES[1]].append(results.get(f"{name} {SIDES[1]}{dropout}{own} seed {seed}", lambda: torch_accuracy(
                        base, train, test, *settings, seed, options.dropout, options.own_start)))
            for side, values in found.items():
                print(f"{name} {side}: mean of {options.seeds} seeds {100 * statistics.mean(values):.2f}%")
            if len(found) == 2 and options.seeds > 1:
                ours, theirs = found.values()
                differences = [a - b for a, b in zip(ours, theirs)]
                spread = (statistics.variance(ours) + statistics.variance(theirs) if options.own_start
                          else statistics.variance(differences))
                error = (spread / options.seeds) ** 0.5
                difference = statistics.mean(differences)
                print(f"{name}: difference {100 * difference:+.2f}%, its standard error {100 * error:.2f}%")
                # Rounding may turn a text or two.
                is_lower |= difference < -2 * error - 1 / len(test)
        for path in program.root.glob("Artifacts/**/"):
            path.chmod(0o755)
    sys.exit(1 if is_lower else 0)


if __name__ == "__main__":
    main()
