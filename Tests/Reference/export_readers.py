"""Opens what `lorajobs export` writes with the programs it is for, and compares what they compute.

    make test-exports        or        python Tests/Reference/export_readers.py --program .build/release/lorajobs

Random adapters are imported into the store of a temporary workspace and exported. Files are read with gguf, safetensors
and tarfile; with llama-cpp-python, which is optional since it is built from source for some minutes, the logits of base
and adapter, and of merged models, are compared with the program's own, and so are token ids. Test data is found by
LORAJOBS_TEST_DATA (default: ../shared/data). Exits with 1 when something is out of its bound.
"""

import argparse
import hashlib
import json
import math
import os
import pathlib
import re
import sys
import tarfile
import tempfile

import gguf
import numpy as np
from lorajobs_program import Program
from safetensors.numpy import load_file, save_file

try:
    import llama_cpp
except ImportError:
    llama_cpp = None

# Nats of a text beside the program's, relative above 1: two orders of fp32 sums, and ggml's exp and GELU by table.
EXACT = 2e-3
# The same for weights rounded to F16 and Q8_0.
ROUNDED = {"f32": EXACT, "f16": 5e-3, "q8_0": 5e-2}
# The least that an adapter must change of a text's nats, so that equality means something.
EFFECT = 1e-1
TEXTS = [
    "Once upon a time, there was a little girl named Lily.",
    "But soft! What light through yonder window breaks?",
    "He said: \"it's 3 o'clock\" -- and left.\n\nThe end…",
    "Über die Brücke, naïve café; 12345 678.",
]


class Checks:
    """Prints a line a check and remembers what failed."""

    def __init__(self):
        self.failed = []

    def at_most(self, name, value, bound):
        good = value <= bound
        print(f"{'ok  ' if good else 'FAIL'} {name}: {value:.3g} (at most {bound:g})")
        if not good:
            self.failed.append(name)

    def true(self, name, value):
        print(f"{'ok  ' if value else 'FAIL'} {name}")
        if not value:
            self.failed.append(name)


# Each base with what makes adapters of it.
BASES = {
    "llama": {
        "folder": "models/stories260K",
        "modules": lambda config: [
            (f"model.layers.{layer}.{name}", sizes)
            for layer in range(config["num_hidden_layers"])
            for name, sizes in llama_modules(config).items()
        ],
        "patterns": ({r"layers\.1\.mlp\.up_proj": 5, "q_proj": 2}, {"q_proj": 7, "o_proj": 3}),
    },
    "gpt2": {
        "folder": "models/gpt2-shakespeare-trained-here",
        "modules": lambda config: [
            (f"transformer.h.{layer}.{name}", sizes)
            for layer in range(config["n_layer"])
            for name, sizes in gpt2_modules(config).items()
        ],
        "patterns": ({"c_attn": 2, r"h\.1\.mlp\.c_fc": 5}, {"c_fc": 11}),
    },
}


def llama_modules(config):
    width, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    return {
        "self_attn.q_proj": (width, heads), "self_attn.k_proj": (width, keys), "self_attn.v_proj": (width, keys),
        "self_attn.o_proj": (heads, width), "mlp.gate_proj": (width, inner), "mlp.up_proj": (width, inner),
        "mlp.down_proj": (inner, width),
    }


def gpt2_modules(config):
    width = config["n_embd"]
    return {
        "attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width), "mlp.c_fc": (width, 4 * width),
        "mlp.c_proj": (4 * width, width),
    }


def pattern_value(patterns, path, fallback):
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", path)), fallback)


class Adapter:
    """A random adapter on disk, and what it adds to each module."""

    def __init__(self, folder, modules, kind, patterns, seed):
        generator = np.random.default_rng(seed)
        ranks, alphas = patterns if kind == "patterns" else ({}, {})
        self.deltas, tensors = {}, {}
        for path, (inputs, outputs) in modules:
            rank, alpha = pattern_value(ranks, path, 4), pattern_value(alphas, path, 6)
            a = generator.normal(0, inputs**-0.5, (rank, inputs)).astype(np.float32)
            b = generator.normal(0, 0.08, (outputs, rank)).astype(np.float32)
            if kind == "zero":
                b[:] = 0
            scale = alpha / math.sqrt(rank) if kind == "rslora" else alpha / rank
            self.deltas[path] = scale * b.astype(np.float64) @ a.astype(np.float64)
            tensors[f"base_model.model.{path}.lora_A.weight"] = a
            tensors[f"base_model.model.{path}.lora_B.weight"] = b
        folder.mkdir(parents=True)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        configuration = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 6, "rank_pattern": ranks,
            "alpha_pattern": alphas, "use_rslora": kind == "rslora", "base_model_name_or_path": "none",
            "target_modules": sorted({path.split(".")[-1] for path, _ in modules}),
        }
        (folder / "adapter_config.json").write_text(json.dumps(configuration, indent=2))


def read_gguf(path):
    """Metadata and tensors, by the package of llama.cpp's own makers."""
    reader = gguf.GGUFReader(path)
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    return metadata, tensors


def check_lora_file(checks, name, path, adapter, permutation):
    """Whether alpha over rank times B A is what the adapter adds, by llama.cpp's rule for scales."""
    metadata, tensors = read_gguf(path)
    worst = 0.0
    for module, delta in adapter.deltas.items():
        key = permutation.name(module)
        a, b = tensors[f"{key}.lora_a"].astype(np.float64), tensors[f"{key}.lora_b"].astype(np.float64)
        read = metadata["adapter.lora.alpha"] / b.shape[1] * b @ a
        worst = max(worst, np.abs(read - permutation.rows(module, delta)).max())
    checks.true(f"{name}: as many tensors as the adapter has", len(tensors) == 2 * len(adapter.deltas))
    checks.at_most(f"{name}: what the file adds", worst, 1e-5)


class Names:
    """GGUF's names by gguf's own table, and the order of rows of LLaMA's queries and keys."""

    def __init__(self, config):
        self.config = config
        kind = gguf.MODEL_ARCH.GPT2 if config["model_type"] == "gpt2" else gguf.MODEL_ARCH.LLAMA
        self.map = gguf.get_tensor_name_map(kind, 64)

    def name(self, module):
        return self.map.get_name(module, try_suffixes=("",)) + ".weight"

    def rows(self, module, delta):
        for end, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if module.endswith(end):
                count = self.config[heads]
                halves = delta.reshape(count, 2, delta.shape[0] // count // 2, -1)
                return halves.swapaxes(1, 2).reshape(delta.shape)
        return delta


def check_folders(checks, name, program, reference, adapter, target):
    """mlx-lm's and vLLM's folders, and the image layout."""
    out = target / "mlx"
    program.run("export", reference, "--for", "mlx", "--base", adapter.base, "-o", out)
    parameters = json.loads((out / "adapter_config.json").read_text())["lora_parameters"]
    tensors = load_file(out / "adapters.safetensors")
    worst = 0.0
    for path, delta in adapter.deltas.items():
        path = path.replace("transformer.h.", "model.h.")
        a, b = (tensors[f"{path}.lora_{half}"].astype(np.float64) for half in "ab")
        worst = max(worst, np.abs(parameters["scale"] * (a @ b).T - delta).max())
        assert a.shape[1] == parameters["rank"] and any(path.endswith(key) for key in parameters["keys"]), path
    checks.at_most(f"{name}: mlx-lm's factors", worst, 1e-5)

    out = target / "vllm"
    program.run("export", reference, "--for", "vllm", "--base", adapter.base, "-o", out)
    configuration = json.loads((out / "adapter_config.json").read_text())
    tensors = load_file(out / "adapter_model.safetensors")
    root = configuration["use_rslora"]
    scale = configuration["lora_alpha"] / (math.sqrt(configuration["r"]) if root else configuration["r"])
    worst = 0.0
    for path, delta in adapter.deltas.items():
        a, b = (tensors[f"base_model.model.{path}.lora_{half}.weight"].astype(np.float64) for half in "AB")
        worst = max(worst, np.abs(scale * b @ a - delta).max())
    checks.at_most(f"{name}: vLLM's one scale", worst, 1e-5)

    digests = []
    for turn in ("first", "second"):
        out = target / f"oci-{turn}"
        program.run("export", reference, "--for", "oci", "--base", adapter.base, "-o", out)
        digests.append(hashlib.sha256(next(out.iterdir()).read_bytes()).hexdigest())
    checks.true(f"{name}: two image layouts are the same bytes", digests[0] == digests[1])
    with tarfile.open(next(out.iterdir())) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
    index = json.loads(files["index.json"])
    manifest = json.loads(files["blobs/sha256/" + index["manifests"][0]["digest"][7:]])
    whole = all(
        hashlib.sha256(files["blobs/sha256/" + layer["digest"][7:]]).hexdigest() == layer["digest"][7:]
        for layer in manifest["layers"] + [manifest["config"]])
    checks.true(f"{name}: the image layout holds what it lists", whole and len(manifest["layers"]) >= 3)


def llama(path, lora=None):
    """The model, everything in F32 that can be: the cache too, which otherwise is F16."""
    return llama_cpp.Llama(
        str(path), lora_path=lora and str(lora), n_ctx=128, n_batch=128, n_ubatch=128, logits_all=True, type_k=0, type_v=0,
        n_threads=1, verbose=False)


def nats(model, ids):
    """Of all but the first token."""
    model.reset()
    model.eval(ids)
    logits = np.array(model.scores[: len(ids)], dtype=np.float64)
    top = logits.max(axis=1, keepdims=True)
    normalised = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return -sum(normalised[row, token] for row, token in enumerate(ids[1:]))


def compare(checks, name, model, ids, expected, bound):
    worst = max(abs(nats(model, tokens) - nll) / max(1, abs(nll)) for tokens, nll in zip(ids, expected))
    checks.at_most(name, worst, bound)


def run_base(checks, program, name, base, work):
    config = json.loads((base / "config.json").read_text())
    names = Names(config)
    modules = BASES[name]["modules"](config)
    work.mkdir(exist_ok=True)
    texts = work / f"{name}.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    ids = program.ids(base, TEXTS)

    def expected(adapter=None):
        result = program.evaluate(base, texts, adapter)
        return [example["nll"] * example["tokens"] for example in result["examples"]]

    plain = expected()
    Adapter(work / name / "zero", modules, "zero", ({}, {}), 0)
    program.run("adapters", "import", work / name / "zero", "--name", f"{name}-zero", "--base", base)
    base_out = work / name / "base-gguf"
    program.run("export", f"{name}-zero", "--for", "llama.cpp", "--merge", "f32", "--base", base, "-o", base_out)
    base_file = base_out / f"{name}-zero-1-f32.gguf"
    if llama_cpp:
        model = llama(base_file)
        compare(checks, f"{name}: base in llama.cpp", model, ids, plain, EXACT)
        same = [model.tokenize(text.encode(), add_bos=True, special=False) == tokens for text, tokens in zip(TEXTS, ids)]
        checks.true(f"{name}: token ids in llama.cpp {same}", all(same))

    for seed, kind in enumerate(["plain", "rslora", "patterns"], start=1):
        adapter = Adapter(work / name / kind, modules, kind, BASES[name]["patterns"], seed)
        adapter.base = base
        label = f"{name} {kind}"
        reference = f"{name}-{kind}"
        program.run("adapters", "import", work / name / kind, "--name", reference, "--base", base)
        out = work / name / f"{kind}-lora"
        program.run("export", reference, "--for", "llama.cpp", "--base", base, "-o", out)
        file = out / f"{reference}-1-lora.gguf"
        check_lora_file(checks, label, file, adapter, names)
        check_folders(checks, label, program, reference, adapter, work / name / f"{kind}-out")
        if not llama_cpp:
            continue
        adapted = expected(reference)
        effect = min(abs(one - other) for one, other in zip(adapted, plain))
        checks.true(f"{label}: the adapter does something ({effect:.2g} nats)", effect > EFFECT)
        compare(checks, f"{label}: base and adapter in llama.cpp", llama(base_file, file), ids, adapted, EXACT)
        for elements, bound in ROUNDED.items():
            out = work / name / f"{kind}-{elements}"
            verb = "ollama" if elements == "q8_0" else "llama.cpp"
            program.run("export", reference, "--for", verb, "--merge", elements, "--base", base, "-o", out)
            model = llama(out / f"{reference}-1-{elements}.gguf")
            compare(checks, f"{label}: merged as {elements} in llama.cpp", model, ids, adapted, bound)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=".build/release/lorajobs")
    options = parser.parse_args()
    data = pathlib.Path(os.environ.get("LORAJOBS_TEST_DATA", "../shared/data")).resolve()
    if not (data / "models").is_dir():
        print(f"*** SKIPPED *** no test data at {data}; set LORAJOBS_TEST_DATA")
        return 0
    if llama_cpp is None:
        print("*** SKIPPED *** logits in llama.cpp: pip install llama-cpp-python, which is built from source")
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "workspace"
        root.mkdir()
        program = Program(options.program, root)
        program.make_workspace(data)
        for name, base in BASES.items():
            run_base(checks, program, name, data / base["folder"], pathlib.Path(folder) / "work")
    print(f"{len(checks.failed)} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
