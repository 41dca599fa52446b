"""Writes Tests/Fixtures/training/reference.json: AdamW, clipping and schedules as torch and transformers compute them.

Run with torch 2.13 and transformers 5.23:  python Tests/Reference/training_reference.py
"""
import json
import pathlib

import torch
import transformers

torch.manual_seed(0)
torch.set_num_threads(1)


def adamw(decay, clip, steps=6):
    shapes = {"a": (3, 5), "b": (7,)}
    weights = {n: torch.nn.Parameter(torch.randn(s)) for n, s in shapes.items()}
    optimizer = torch.optim.AdamW(
        weights.values(), lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay, foreach=False)
    start = {n: w.detach().flatten().tolist() for n, w in weights.items()}
    gradients, norms, after = [], [], []
    for step in range(steps):
        given = {}
        for name, weight in weights.items():
            # "b" has no gradient in step 2: torch leaves it, and its step count, alone.
            weight.grad = None if (name, step) == ("b", 2) else torch.randn(weight.shape) * 10 ** (step - 3)
            given[name] = None if weight.grad is None else weight.grad.flatten().tolist()
        gradients.append(given)
        norms.append(torch.nn.utils.clip_grad_norm_(weights.values(), clip).item() if clip else None)
        optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step)
        optimizer.step()
        after.append({n: w.detach().flatten().tolist() for n, w in weights.items()})
    return {"decay": decay, "clip": clip, "start": start, "gradients": gradients, "norms": norms, "after": after}


def schedule(kind, warmup, steps):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    t = transformers
    make = {
        "constant": lambda: t.get_constant_schedule_with_warmup(optimizer, warmup),
        "linear": lambda: t.get_linear_schedule_with_warmup(optimizer, warmup, steps),
        "cosine": lambda: t.get_cosine_schedule_with_warmup(optimizer, warmup, steps),
        "wsd": lambda: t.get_wsd_schedule(
            optimizer, warmup, num_decay_steps=max(1, round(steps / 10)), num_training_steps=steps,
            decay_type="linear"),
    }[kind]
    scheduler = make()
    factors = []
    for _ in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return {"kind": kind, "warmup": warmup, "steps": steps, "factors": factors}


result = {
    "adamw": [adamw(0.0, None), adamw(0.1, None), adamw(0.01, 1.0)],
    "schedules": [
        schedule(kind, warmup, steps)
        for kind in ["constant", "linear", "cosine", "wsd"]
        for warmup, steps in [(0, 10), (3, 20), (5, 37)]
    ],
}
target = pathlib.Path(__file__).parent.parent / "Fixtures" / "training" / "reference.json"
target.parent.mkdir(parents=True, exist_ok=True)
target.write_text(json.dumps(result, indent=1) + "\n")
