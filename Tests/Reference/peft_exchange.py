"""Exchanges adapters and checkpoints with PEFT and transformers, both ways, and compares what they compute.

    make test-peft        or        python Tests/Reference/peft_exchange.py --program .build/release/lorajobs

Uses the built program as people do: manifests go into the inbox of a temporary workspace, a daemon runs them, the
command line scores and generates. Test data is found by LORAJOBS_TEST_DATA (default: ../shared/data). Prints a table
of figures and exits with 1 when one is out of its bound.
"""

import argparse
import dataclasses
import itertools
import json
import math
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

import torch
import torch_side as reference
from lorajobs_program import Daemon, Program, ProgramFailed
from peft import LoraConfig

# Nats of a token, relative above 1: its logit beside all others', so equal nats of every token are equal logits up to
# a shift of all of them, which changes nothing. The rounding of fp32 alone is a third of it for these bases, and more
# for adapters that let logits grow.
EXACT = 1e-5
# Logits of a merged checkpoint beside those of the adapter: the sum was rounded once more.
MERGED = 1e-4
# The least that an adapter must change, so that equality with it means something.
EFFECT = 1e-2
GREEDY_TOKENS = 40


@dataclasses.dataclass
class Family:
    """A base, and the variants of adapters on it."""

    name: str
    base: pathlib.Path
    transposed: bool
    # By kind: what the manifest says and what PEFT's configuration says.
    targets: dict
    rank_pattern: dict
    alpha_pattern: dict
    excluded: list
    # Modules that are trained whole beside the factors.
    saved: tuple = ()

    def __post_init__(self):
        self.model, self.tokenizer, self.trouble = reference.load_checkpoint(self.base)

    @property
    def context(self):
        return self.model.config.max_position_embeddings


def families(data):
    suffixes = ["attn.c_attn", "c_fc"]
    pattern = r".*\.h\.[02]\.(attn\.c_attn|mlp\.c_proj)"
    gpt2 = Family(
        "gpt2", data / "models/gpt2-shakespeare-trained-here", True,
        {"default": ("default", None), "all": ("all-linear", "all-linear"), "list": (suffixes, suffixes),
         "regex": (pattern, pattern)},
        {"c_attn": 2, r"h\.1\.mlp\.c_fc": 5}, {"transformer.h.0.attn.c_attn": 3, "c_fc": 11},
        ["transformer.h.1.attn.c_proj"], ("mlp.c_proj",))
    suffixes = ["k_proj", "o_proj", "model.layers.2.mlp.up_proj"]
    pattern = r"model\.layers\.[13]\.(self_attn\.(q|v)_proj|mlp\.down_proj)"
    llama = Family(
        "llama", data / "models/stories260K", False,
        {"default": ("default", None), "all": ("all-linear", "all-linear"), "list": (suffixes, suffixes),
         "regex": (pattern, pattern)},
        {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 5}, {"model.layers.0.self_attn.q_proj": 3, "up_proj": 11},
        ["gate_proj"], ("down_proj",))
    return [llama, gpt2]


class Table:
    """The figures, each with its bound."""

    def __init__(self):
        self.failures = []
        self.count = 0

    def row(self, what, figure, bound, passed):
        self.count += 1
        if not passed:
            self.failures.append(what)
        print(f"{what:<52} {figure:>26}  {bound:<12} {'ok' if passed else 'FAILED'}", flush=True)

    def at_most(self, what, value, bound):
        self.row(what, f"{value:.2e}", f"<= {bound:.0e}", value <= bound)

    def at_least(self, what, value, bound):
        self.row(what, f"{value:.3g}", f">= {bound:g}", value >= bound)

    def equal(self, what, ours, theirs, show=str):
        self.row(what, show(ours), "equal", ours == theirs)
        if ours != theirs:
            print(f"    ours   {str(ours)[:500]}\n    theirs {str(theirs)[:500]}")

    def quiet(self, what, trouble):
        self.row(what, f"{len(trouble)} complaints", "none", not trouble)
        for line in trouble:
            print(f"    {line}")


class Exchange:
    def __init__(self, program, data, table):
        self.program = program
        self.data = data
        self.table = table
        self.families = families(data)
        self.texts = (data / "datasets/tinyshakespeare/valid.txt").read_text()
        self.prompts = ["Once upon a time, there was", "ROMEO:\nO, she doth", "What say you"]

    # What both sides score.

    def prepare(self):
        """Writes the files that both sides read."""
        root = self.program.root
        paragraphs = [part for part in self.texts.split("\n\n") if len(part) > 40]
        self.records = paragraphs[:10] + ["é — “ß” 日本\n\ttab  two", self.texts[:4000]]
        self.write_lines("records.jsonl", [{"text": text} for text in self.records])
        self.write_lines("test.jsonl", [{"text": text} for text in paragraphs[10:90]])
        train = (self.data / "datasets/tinyshakespeare/input.txt").read_text()
        (root / "few.txt").write_text(train[:60_000])
        for family in self.families:
            self.table.quiet(f"{family.name}: transformers loads the base", family.trouble)
            self.table.equal(
                f"{family.name}: token ids", self.program.ids(family.base, self.records),
                [self.encode(family, text) for text in self.records], lambda ids: f"{sum(map(len, ids))} ids")
            # A record a token: its completion is one token of a text, so the figures are tokens' own.
            text = paragraphs[3][:240]
            spans = family.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
            cuts = [(low, high) for low, high in spans if 0 < low < high]
            family.pieces = [(text[:low], text[low:high]) for low, high in cuts]
            self.write_lines(
                f"{family.name}-tokens.jsonl", [{"prompt": p, "completion": c} for p, c in family.pieces])
            self.compare(f"{family.name} base", family, family.base, family.model)

    def write_lines(self, name, lines):
        (self.program.root / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    def reference_nlls(self, family, model):
        """The mean of every record, and of every piece, as `lorajobs eval` defines them."""
        means = []
        for text in self.records:
            nlls = reference.negative_log_likelihoods(model, self.encode(family, text))
            means.append(sum(nlls) / len(nlls))
        sequences = []
        for prompt, completion in family.pieces:
            ids, ends = reference.encode(family.tokenizer, prompt + completion)
            sequences.append((ids, next(place for place, end in enumerate(ends) if end > len(prompt))))
        return means, reference.trailing_negative_log_likelihoods(model, sequences)

    @staticmethod
    def encode(family, text):
        return reference.encode(family.tokenizer, text)[0]

    def compare(self, what, family, base, model, adapter=None):
        """Our figures of a base and adapter beside torch's of `model`; how much the adapter changes."""
        means, pieces = self.reference_nlls(family, model)
        root = self.program.root
        own, tokens = (
            [example["nll"] for example in self.program.evaluate(base, root / file, adapter)["examples"]]
            for file in ("records.jsonl", f"{family.name}-tokens.jsonl"))
        self.table.at_most(f"{what}: nll of {len(own)} records", largest(own, means), EXACT)
        self.table.at_most(f"{what}: nll of {len(tokens)} single tokens", largest(tokens, pieces), EXACT)
        if adapter is None and base == family.base:
            family.base_pieces = pieces
        else:
            self.table.at_least(f"{what}: changes a token's nll by", largest(pieces, family.base_pieces), EFFECT)

    def compare_greedy(self, what, family, base, model, adapter=None):
        ours, theirs = [], []
        for prompt in self.prompts:
            answer = self.program.greedy(base, prompt, GREEDY_TOKENS, adapter)
            ours.append(answer["ids"])
            theirs.append(reference.greedy(model, self.encode(family, prompt), GREEDY_TOKENS))
        self.table.equal(f"{what}: greedy ids", ours, theirs, lambda ids: f"{sum(map(len, ids))} ids")

    # Ours to theirs.

    def jobs(self):
        """The manifests by name."""
        shakespeare = str(self.data / "datasets/tinyshakespeare/input.txt")
        few = {"train": ["few.txt"], "test": ["test.jsonl"], "max_length": 128}
        manifests = {"bard": {
            "name": "bard", "base": str(self.families[0].base),
            "data": {"train": [shakespeare], "test": ["test.jsonl"], "max_length": 256},
            "adapter": {"rank": 8, "alpha": 16}, "merge": True,
            "train": {"steps": 40, "batch_tokens": 2048, "learning_rate": 5e-3}}}
        steps = {"steps": 4, "batch_tokens": 512, "learning_rate": 5e-3, "warmup": 0}
        for family in self.families:
            for name, adapter in self.variants(family):
                manifests[name] = {
                    "name": name, "base": str(family.base), "data": few, "adapter": adapter, "train": steps,
                    "run": {"threads": 1}}
            manifests[f"{family.name}-all-rs"]["merge"] = True
            manifests[f"{family.name}-regex-drop"]["merge"] = {"dtype": "bf16"}
            name = f"{family.name}-full"
            manifests[name] = {
                "name": name, "base": str(family.base), "data": few, "adapter": {"method": "full"},
                "train": {**steps, "learning_rate": 1e-3}}
        return manifests

    @staticmethod
    def variants(family):
        ranks = itertools.cycle([(4, 8), (8, 16), (3, 7), (1, 1)])
        for kind, (targets, _) in family.targets.items():
            for rslora, dropout in itertools.product([False, True], [0.0, 0.1]):
                name = "-".join([family.name, kind] + ["rs"] * rslora + ["drop"] * (dropout > 0))
                rank, alpha = next(ranks)
                yield name, {
                    "rank": rank, "alpha": alpha, "rslora": rslora, "dropout": dropout, "targets": targets}

    def train_here(self):
        manifests = self.jobs()
        with Daemon(self.program):
            began = time.monotonic()
            self.program.drop("bard", manifests["bard"])
            self.program.wait_for(["bard"], 300)
            print(f"{'bard: seconds from the inbox to a version':<52} {time.monotonic() - began:>26.1f}")
            for name, manifest in manifests.items():
                if name != "bard":
                    self.program.drop(name, manifest)
            jobs = self.program.wait_for(manifests.keys(), 1200)
        self.versions = {a["name"]: a for a in self.program.json("adapters", "list")["adapters"]}
        return jobs

    def check_bard(self, job):
        family = self.families[0]
        version = self.versions["bard"]
        self.table.equal("bard: the job's version", job["adapter"], f"bard:{version['version']}")
        folder = self.program.root / version["path"]
        model, trouble = reference.load_adapter(family.model, folder)
        self.table.quiet("bard: PEFT loads the adapter", trouble)
        record = json.loads((folder / "lorajobs.json").read_text())["evaluation"]["sets"][0]
        values = record["values"]
        before, after = values["base"]["perplexity"], values["trained"]["perplexity"]
        self.table.row("bard: test perplexity", f"{before:.2f} -> {after:.2f}", "falls", after < 0.8 * before)
        test = reference.read_dataset(self.program.root / f"Jobs/runs/{job['id']}/tokenize.1/out/test.tokens")
        self.table.equal("bard: scored test tokens", record["tokens"], sum(sum(scored) for _, scored in test))
        for name, theirs in (("base", family.model), ("trained", model)):
            total = sum(
                nll for ids, scored in test
                for nll, counts in zip(reference.negative_log_likelihoods(theirs, ids), scored[1:]) if counts)
            loss = total / record["tokens"]
            self.table.at_most(f"bard: {name} loss of the record", abs(values[name]["loss"] - loss), EXACT)
            self.table.at_most(
                f"bard: {name} perplexity of the record, relative",
                abs(values[name]["perplexity"] / math.exp(loss) - 1), EXACT)
        self.compare("bard", family, family.base, model, folder)
        self.compare("bard by its reference", family, family.base, model, "bard@latest")
        self.compare_greedy("bard", family, family.base, model, folder)
        self.check_merged("bard", family, model, MERGED)

    def check_variants(self):
        for family in self.families:
            for name, adapter in self.variants(family):
                folder = self.program.root / self.versions[name]["path"]
                model, trouble = reference.load_adapter(family.model, folder)
                settings = model.peft_config["default"]
                self.table.equal(
                    f"{name}: PEFT's settings",
                    (settings.r, settings.lora_alpha, settings.use_rslora, settings.lora_dropout),
                    (adapter["rank"], adapter["alpha"], adapter["rslora"], adapter["dropout"]))
                self.check_modules(name, family, model)
                self.table.quiet(f"{name}: PEFT loads the adapter", trouble)
                self.compare(name, family, family.base, model, folder)
                self.compare_greedy(name, family, family.base, model, folder)
                if name == f"{family.name}-all-rs":
                    self.check_merged(name, family, model, MERGED)
                if name == f"{family.name}-regex-drop":
                    self.check_merged(name, family, model, 0.25, torch.bfloat16)

    def check_modules(self, name, family, model):
        """The targets of a job choose what PEFT chooses by the same words."""
        wanted = LoraConfig(task_type="CAUSAL_LM", target_modules=family.targets[name.split("-")[1]][1],
                            fan_in_fan_out=family.transposed)
        self.table.equal(
            f"{name}: modules", adapted(model), adapted(reference.attach(family.model, wanted)),
            lambda modules: f"{len(modules)} modules")

    def check_merged(self, name, family, model, bound, dtype=torch.float32):
        folder = self.program.root / f"Artifacts/models/{name}/1"
        merged, tokenizer, trouble = reference.load_checkpoint(folder)
        self.table.quiet(f"{name} merged: transformers loads it", trouble)
        self.table.equal(f"{name} merged: dtype", stored_dtype(folder), dtype)
        difference = 0
        for text in self.records:
            ids = reference.encode(tokenizer, text)[0][:family.context]
            delta = reference.logits(merged, ids) - reference.logits(model, ids)
            difference = max(difference, delta.abs().max().item())
        self.table.at_most(f"{name} merged: logits beside the adapter's", difference, bound)
        self.compare(f"{name} merged", family, folder, merged)

    def check_full(self):
        for family in self.families:
            name = f"{family.name}-full"
            folder = self.program.root / f"Artifacts/models/{name}/1"
            model, tokenizer, trouble = reference.load_checkpoint(folder)
            self.table.quiet(f"{name}: transformers loads it", trouble)
            before = family.model.state_dict()
            changed = [key for key, value in model.state_dict().items() if not torch.equal(value, before[key])]
            self.table.equal(f"{name}: tensors changed by training", len(changed), len(model.state_dict()))
            self.table.equal(
                f"{name}: its tokenizer", [reference.encode(tokenizer, text)[0] for text in self.records],
                [self.encode(family, text) for text in self.records], lambda ids: f"{sum(map(len, ids))} ids")
            self.compare(name, family, folder, model)
            self.compare_greedy(name, family, folder, model)

    # Theirs to ours.

    def check_theirs(self):
        for family in self.families:
            ids = self.encode(family, self.texts[5000:9000])
            batches = [[ids[128 * (4 * step + row):][:96] for row in range(4)] for step in range(3)]
            for name, settings in self.their_variants(family):
                folder = self.program.root / "theirs" / name
                configuration = LoraConfig(task_type="CAUSAL_LM", fan_in_fan_out=family.transposed, **settings)
                reference.train_adapter(family.model, configuration, batches, folder)
                model, trouble = reference.load_adapter(family.model, folder)
                self.table.quiet(f"{name}: PEFT loads its own", self.surprising(trouble))
                self.compare(name, family, family.base, model, folder)
                self.compare_greedy(name, family, family.base, model, folder)

    @staticmethod
    def surprising(trouble):
        """What PEFT says of a folder that it has written itself."""
        return trouble

    @staticmethod
    def their_variants(family):
        prefix = f"peft-{family.name}"
        for kind, (_, targets) in family.targets.items():
            for rslora, dropout in itertools.product([False, True], [0.0, 0.1]):
                name = "-".join([prefix, kind] + ["rs"] * rslora + ["drop"] * (dropout > 0))
                yield name, dict(r=4, lora_alpha=6, target_modules=targets, use_rslora=rslora, lora_dropout=dropout)
        for rslora in (False, True):
            yield f"{prefix}-patterns" + "-rs" * rslora, dict(
                r=4, lora_alpha=6, target_modules="all-linear", rank_pattern=family.rank_pattern,
                alpha_pattern=family.alpha_pattern, use_rslora=rslora)
        yield f"{prefix}-layers", dict(
            r=4, lora_alpha=8, target_modules=family.targets["list"][1], layers_to_transform=[0, 2])
        yield f"{prefix}-excluded", dict(
            r=4, lora_alpha=8, target_modules="all-linear", exclude_modules=family.excluded)
        yield f"{prefix}-saved", dict(
            r=4, lora_alpha=8, target_modules=family.targets["list"][1], modules_to_save=list(family.saved))

    def run(self):
        self.program.make_workspace(self.data)
        self.prepare()
        jobs = self.train_here()
        self.check_bard(jobs["bard"])
        self.check_variants()
        self.check_full()
        self.check_theirs()


def largest(ours, theirs):
    """The largest difference, relative to values above 1."""
    if len(ours) != len(theirs):
        return math.inf
    # `max` passes over a value that is not a number.
    differences = [abs(a - b) / max(1, abs(b)) for a, b in zip(ours, theirs)]
    return max(differences) if all(map(math.isfinite, differences)) else math.inf


def adapted(model):
    return sorted(name for name, module in model.named_modules() if hasattr(module, "lora_A"))


def stored_dtype(folder):
    dtypes = {value.dtype for value in reference.load_file(folder / "model.safetensors").values()}
    return dtypes.pop() if len(dtypes) == 1 else dtypes


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=root / ".build/release/lorajobs", help="the built program")
    parser.add_argument("--keep", action="store_true", help="leave the workspace behind")
    options = parser.parse_args()
    data = pathlib.Path(os.environ.get("LORAJOBS_TEST_DATA", root / "../shared/data")).resolve()
    if not (data / "models/stories260K").is_dir():
        sys.exit(f"{data} holds no test data; name its folder in LORAJOBS_TEST_DATA")
    # An end from outside still stops the daemon and removes the workspace.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # These models are too small to share out.
    torch.set_num_threads(1)
    workspace = pathlib.Path(tempfile.mkdtemp(prefix="lorajobs-peft-"))
    table = Table()
    began = time.monotonic()
    try:
        Exchange(Program(options.program, workspace), data, table).run()
    except ProgramFailed as failure:
        sys.exit(f"FAILED: {failure}")
    finally:
        if options.keep:
            print(f"the workspace is {workspace}")
        else:
            # Versions in the store are read-only.
            for folder in workspace.glob("Artifacts/**/"):
                folder.chmod(0o755)
            shutil.rmtree(workspace)
    print(f"{table.count} checks in {time.monotonic() - began:.0f} s, {len(table.failures)} failed")
    sys.exit(1 if table.failures else 0)


if __name__ == "__main__":
    main()
