#!/usr/bin/env python3
"""What transformers and PEFT reach with a LoRA, and the head, on digits that were turned by 90 degrees.

    python rotated_mnist.py [--data FOLDER] [--seeds 3] [--program .build/release/lorajobs]

The base is `models/vit-mnist-trained-here` of the test data, which was trained on upright digits. The recipe is that of
`RotatedDigitsTests`: rank 8, alpha 16 on q_proj and v_proj, the classifier saved whole, three passes over the 7000 digits
in batches of 32, AdamW with a constant rate of 2e-3 and no decay, fp32. Both sides start from the same adapter and see the
digits in the same order, as job_start.py draws them; --own-start lets torch draw its own. Prints the base's accuracy on the 1000 turned
test digits, and each seed's; with --program also those of as many jobs of the same recipe, and exits with 1 when their mean
is lower by more than two standard errors of the difference. --theirs FILE reads what an earlier run printed in place of
training the other side again.
"""

import argparse
import gzip
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from job_start import order, start_as_job
from lorajobs_program import Program
from peft import LoraConfig, get_peft_model
from transformers import ViTForImageClassification

ROOT = Path(__file__).resolve().parents[2]


def digits(folder, name):
    images = gzip.open(folder / f"{name}-images-idx3-ubyte.gz").read()[16:]
    labels = gzip.open(folder / f"{name}-labels-idx1-ubyte.gz").read()[8:]
    pixels = np.frombuffer(images, np.uint8).reshape(-1, 28, 28)
    turned = np.rot90(pixels, -1, axes=(1, 2))  # clockwise
    values = torch.from_numpy((turned.astype(np.float32) / 255 - 0.5) / 0.5)[:, None]
    return values, torch.from_numpy(np.frombuffer(labels, np.uint8).astype(np.int64))


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        return (model(images).logits.argmax(-1) == labels).float().mean().item()


def write_turned(source, target, name):
    """The same digits as IDX files."""
    images = gzip.open(source / f"{name}-images-idx3-ubyte.gz").read()
    pixels = np.frombuffer(images[16:], np.uint8).reshape(-1, 28, 28)
    paths = [target / f"{name}-{part}-ubyte" for part in ("images-idx3", "labels-idx1")]
    paths[0].write_bytes(images[:16] + np.ascontiguousarray(np.rot90(pixels, -1, axes=(1, 2))).tobytes())
    paths[1].write_bytes(gzip.open(source / f"{name}-labels-idx1-ubyte.gz").read())
    return list(map(str, paths))


def our_results(executable, data, seeds):
    """The accuracies of jobs."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder).resolve()
        program = Program(executable, folder / "workspace")
        program.root.mkdir()
        program.make_workspace(data, folder)
        train, test = (write_turned(data / "datasets/mnist", folder, name) for name in ("train-7000", "test-1000"))
        for seed in range(seeds):
            name = f"turned-{seed}"
            manifest = program.root / f"{name}.json"
            manifest.write_text(json.dumps({
                "name": name, "base": str(data / "models/vit-mnist-trained-here"),
                "data": {"train": train, "test": test, "validation": "0%"},
                "adapter": {"rank": 8, "alpha": 16, "targets": ["q_proj", "v_proj"]},
                "train": {"epochs": 3, "batch_size": 32, "learning_rate": 2e-3, "lr_schedule": "constant", "warmup": 0,
                          "clip_norm": 1e9, "precision": "fp32", "seed": seed}}))
            program.run("run", manifest)
            record = json.loads((program.root / f"Artifacts/adapters/{name}/1/lorajobs.json").read_text())
            results.append(record["metrics"]["accuracy"])
            print(f"job {seed} {results[-1]:.4f}, base {record['metrics']['base_accuracy']:.4f}", flush=True)
        for path in program.root.glob("Artifacts/**/"):
            path.chmod(0o755)
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=os.environ.get("LORAJOBS_TEST_DATA") or ROOT.parent / "shared/data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--program", help="the built program")
    parser.add_argument("--theirs", type=Path, help="the output of an earlier run with as many seeds")
    parser.add_argument("--own-start", action="store_true", help="torch draws its own start and order")
    arguments = parser.parse_args()
    data = Path(arguments.data)
    torch.set_num_threads(1)
    train, test = digits(data / "datasets/mnist", "train-7000"), digits(data / "datasets/mnist", "test-1000")
    results = []
    if arguments.theirs:
        lines = arguments.theirs.read_text().splitlines()
        results = [float(line.split()[2]) for line in lines if line.startswith("seed ")][:arguments.seeds]
    for seed in range(len(results), arguments.seeds):
        torch.manual_seed(seed)
        base = ViTForImageClassification.from_pretrained(data / "models/vit-mnist-trained-here")
        if seed == 0:
            print(f"base {accuracy(base, *test):.4f}")
        model = get_peft_model(base, LoraConfig(
            r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"]))
        if not arguments.own_start:
            start_as_job(model, seed)
        model.eval()  # the recipe has no dropout
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.0)
        for epoch in range(3):
            count = len(train[0])
            rows_in_order = torch.randperm(count) if arguments.own_start else torch.tensor(order(seed, epoch, count))
            for rows in rows_in_order.split(32):
                optimizer.zero_grad()
                model(train[0][rows], labels=train[1][rows]).loss.backward()
                optimizer.step()
        results.append(accuracy(model, *test))
        print(f"seed {seed} {results[-1]:.4f}", flush=True)
    print(f"mean {np.mean(results):.4f}, least {min(results):.4f}, deviation {np.std(results, ddof=1):.4f}")
    if arguments.program:
        ours = our_results(arguments.program, data.resolve(), arguments.seeds)
        spread = (np.var(results, ddof=1) + np.var(ours, ddof=1) if arguments.own_start
                  else np.var(np.subtract(ours, results), ddof=1))
        error = np.sqrt(spread / arguments.seeds)
        difference = np.mean(ours) - np.mean(results)
        print(f"jobs: mean {np.mean(ours):.4f}, least {min(ours):.4f}, deviation {np.std(ours, ddof=1):.4f}; difference "
              f"{difference:+.4f}, its standard error {error:.4f}")
        # Rounding may turn a digit or two.
        sys.exit(1 if difference < -2 * error - 1 / len(test[0]) else 0)


if __name__ == "__main__":
    main()
