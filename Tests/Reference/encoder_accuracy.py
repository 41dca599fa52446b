"""Trains the same LoRA classifiers here and with transformers and PEFT, and compares their accuracy.

    python Tests/Reference/encoder_accuracy.py --program .build/release/lorajobs [--sets banking77 sst2] [--seeds 3]

Recipe on both sides: MiniLM-L6, rank 8 and alpha 16 on query and value, pooler frozen, the head trained whole, AdamW without
decay, gradients clipped at 1, linear schedule with 3% warm-up, no early stopping. Test data is found by LORAJOBS_TEST_DATA
(default: ../shared/data). Exits with 1 when the mean accuracy here is lower by more than --margin.
"""

import argparse
import csv
import json
import os
import pathlib
import statistics
import sys
import tempfile

import torch
import transformers
from lorajobs_program import Program
from peft import LoraConfig, get_peft_model

SETS = {
    # files, separator, text and label columns, most tokens, learning rate
    "banking77": ("train.csv", "test.csv", ",", "text", "category", 64, 2e-3),
    "sst2": ("train_first8000.tsv", "dev.tsv", "\t", "sentence", "label", 64, 1e-3),
}


def read(path, separator, text, label, limit=None):
    with open(path, newline="", encoding="utf-8") as file:
        quoting = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
        rows = [(row[text], row[label]) for row in csv.DictReader(file, delimiter=separator, quoting=quoting)]
    return rows[:limit]


def torch_accuracy(base, train, test, length, rate, epochs, batch, seed):
    transformers.set_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    names = sorted({label for _, label in train})
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(names))
    model = get_peft_model(
        model, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"]))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0)
    steps = epochs * ((len(train) + batch - 1) // batch)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, -(-steps * 3 // 100), steps)

    def encode(rows):
        encoded = tokenizer([text for text, _ in rows], truncation=True, max_length=length, padding="longest",
                            return_tensors="pt")
        return encoded, torch.tensor([names.index(label) for _, label in rows])

    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(train)).tolist()
        for start in range(0, len(order), batch):
            inputs, labels = encode([train[i] for i in order[start:start + batch]])
            model(**inputs, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(test), 64):
            inputs, labels = encode(test[start:start + 64])
            right += (model(**inputs).logits.argmax(-1) == labels).sum().item()
    return right / len(test)


def our_accuracy(program, base, train, test, length, rate, epochs, batch, seed, name):
    manifest = program.root / f"{name}.json"
    manifest.write_text(json.dumps({
        "name": name, "base": str(base),
        "data": {"train": [str(train)], "test": [str(test)], "validation": "0%", "format": "classification",
                 "max_length": length, "overlength": "truncate"},
        "adapter": {"rank": 8, "alpha": 16, "targets": ["query", "value"]},
        "train": {"epochs": epochs, "batch_size": batch, "learning_rate": rate, "lr_schedule": "linear", "warmup": "3%",
                  "seed": seed}}))
    program.run("run", manifest)
    versions = sorted((program.root / "Artifacts/adapters" / name).glob("[0-9]*"))
    return json.loads((versions[-1] / "lorajobs.json").read_text())["metrics"]["accuracy"]


def write(path, rows):
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--limit", type=int, help="training texts at most")
    parser.add_argument("--margin", type=float, default=0.01)
    options = parser.parse_args()
    data = pathlib.Path(os.environ.get("LORAJOBS_TEST_DATA", "../shared/data")).resolve()
    base = data / "models/minilm-l6-v2-bert"
    is_lower = False
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder).resolve()
        program = Program(options.program, folder / "workspace")
        program.root.mkdir()
        program.make_workspace(data, folder)
        for name in options.sets:
            train_file, test_file, separator, text, label, length, rate = SETS[name]
            train = read(data / "datasets" / name / train_file, separator, text, label, options.limit)
            test = read(data / "datasets" / name / test_file, separator, text, label)
            files = write(folder / f"{name}-train.jsonl", train), write(folder / f"{name}-test.jsonl", test)
            settings = (length, rate, options.epochs, options.batch)
            results = {"lorajobs": [], "transformers+peft": []}
            for seed in range(1, options.seeds + 1):
                results["lorajobs"].append(our_accuracy(program, base, *files, *settings, seed, f"{name}-{seed}"))
                results["transformers+peft"].append(torch_accuracy(base, train, test, *settings, seed))
                print(name, "seed", seed, {who: f"{100 * values[-1]:.2f}%" for who, values in results.items()}, flush=True)
            means = {who: statistics.mean(values) for who, values in results.items()}
            print(f"{name}: {len(train)} training texts, {len(test)} test texts, {options.epochs} epochs; mean of "
                  f"{options.seeds} seeds: " + ", ".join(f"{who} {100 * mean:.2f}%" for who, mean in means.items()))
            is_lower |= means["lorajobs"] < means["transformers+peft"] - options.margin
    sys.exit(1 if is_lower else 0)


if __name__ == "__main__":
    main()
