"""Exchanges adapters with PEFT, both ways, for every family of models, and compares what they compute.

    make test-peft        or        python Tests/Reference/family_exchange.py --program .build/release/lorajobs

The bases are small random models of transformers with a real tokenizer. Decoders are trained and scored as in
peft_exchange.py, in fewer variants. Models with a head are asked for every class of every record, so that equal nats mean
equal logits but for a shift of all classes of a record. Test data is found by LORAJOBS_TEST_DATA (default: ../shared/data).
Prints a table of figures and exits with 1 when one is out of its bound.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

import numpy
import torch
import torch_side as reference
import transformers as tf
from job_start import Stream
from lorajobs_program import Program, ProgramFailed
from peft import LoraConfig
from peft_exchange import EXACT, Exchange, Family, Table, largest

SMALL = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.15,
             attn_implementation="eager")
DECODER = dict(SMALL, vocab_size=512, num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1,
               eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)
ENCODER = dict(SMALL, vocab_size=30522, max_position_embeddings=66)
EXPERTS = dict(experts_implementation="eager", num_experts_per_tok=2)

DECODERS = {
    "mistral": lambda: tf.MistralForCausalLM(tf.MistralConfig(**DECODER, sliding_window=16)),
    "qwen2": lambda: tf.Qwen2ForCausalLM(tf.Qwen2Config(**DECODER)),
    "qwen3": lambda: tf.Qwen3ForCausalLM(tf.Qwen3Config(**DECODER, head_dim=16)),
    "gemma": lambda: tf.GemmaForCausalLM(tf.GemmaConfig(**{**DECODER, "head_dim": 16, "tie_word_embeddings": True})),
    # Caps as low as these weights' scores and logits, or nothing would show that they are there.
    "gemma2": lambda: tf.Gemma2ForCausalLM(tf.Gemma2Config(**{
        **DECODER, "head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16, "tie_word_embeddings": True,
        "attn_logit_softcapping": 0.5, "final_logit_softcapping": 2.0})),
    "gemma3": lambda: tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**{
        **DECODER, "head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16, "tie_word_embeddings": True})),
    "phi3": lambda: tf.Phi3ForCausalLM(tf.Phi3Config(**DECODER, rope_parameters={
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5})),
    "yarn": lambda: tf.LlamaForCausalLM(tf.LlamaConfig(**{**DECODER, "max_position_embeddings": 512}, rope_parameters={
        "rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 128})),
    "mixtral": lambda: tf.MixtralForCausalLM(tf.MixtralConfig(**DECODER, **EXPERTS, num_local_experts=4)),
    "qwen2_moe": lambda: tf.Qwen2MoeForCausalLM(tf.Qwen2MoeConfig(
        **DECODER, **EXPERTS, num_experts=4, moe_intermediate_size=24, shared_expert_intermediate_size=40)),
    "qwen3_moe": lambda: tf.Qwen3MoeForCausalLM(tf.Qwen3MoeConfig(
        **DECODER, **EXPERTS, num_experts=4, moe_intermediate_size=24, head_dim=16)),
}
FUSED = {"phi3"}
MIXTURES = {"mixtral", "qwen2_moe", "qwen3_moe"}


def randomize(model, seed):
    """Norms and biases that are not trivial, and routers that choose."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
            elif ".gate." in name or "shared_expert_gate" in name:
                parameter.normal_(std=0.5)
    return model


def save(model, folder, tokenizer):
    model.eval().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if tokenizer and (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, folder / name)
    return folder


def fast_tokenizer(folder):
    tokenizer = tf.PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    # The file of one switches padding on.
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


class Decoders(Exchange):
    """The decoders that peft_exchange.py does not have, in a few variants each."""

    def __init__(self, program, data, table, names, folder):
        self.program, self.data, self.table = program, data, table
        self.families = []
        for number, name in enumerate(names):
            torch.manual_seed(number)
            base = save(randomize(DECODERS[name](), number), folder / name, data / "models/stories260K")
            suffixes = ["qkv_proj", "o_proj"] if name in FUSED else ["k_proj", "o_proj"]
            first = suffixes[0]
            pattern = rf"model\.layers\.1\.self_attn\.({first}|o_proj)"
            self.families.append(Family(
                name, base, False,
                {"all": ("all-linear", "all-linear"), "list": (suffixes, suffixes), "regex": (pattern, pattern)},
                {first: 2, r"layers\.1\.self_attn\.o_proj": 5}, {f"model.layers.0.self_attn.{first}": 3, "o_proj": 11},
                [f"model.layers.0.self_attn.{first}"]))
            # Of the kind that the file says, and not the one that is usual for the model.
            self.families[-1].tokenizer = fast_tokenizer(base)
        self.texts = (data / "datasets/tinyshakespeare/valid.txt").read_text()
        self.prompts = []

    def jobs(self):
        few = {"train": ["few.txt"], "test": ["test.jsonl"], "max_length": 128}
        steps = {"steps": 4, "batch_tokens": 512, "learning_rate": 2e-2, "warmup": 0}
        manifests = {}
        for family in self.families:
            for name, adapter in self.variants(family):
                manifests[name] = {
                    "name": name, "base": str(family.base), "data": few, "adapter": adapter, "train": steps,
                    "run": {"threads": 1}}
            manifests[f"{family.name}-all-rs"]["merge"] = True
        return manifests

    @staticmethod
    def variants(family):
        # PEFT reads a pattern on a mixture of experts as if it were the names in it.
        second = "list-p" if family.name in MIXTURES else "regex-p"
        for name, settings in (("all-rs", (4, 8, True, 0.0)), (second, (3, 7, False, 0.1))):
            rank, alpha, rslora, dropout = settings
            yield f"{family.name}-{name}", {
                "rank": rank, "alpha": alpha, "rslora": rslora, "dropout": dropout,
                "targets": family.targets[name.split("-")[0]][0]}
        if family.name not in MIXTURES:
            saved = "gate_up_proj" if family.name in FUSED else "gate_proj"
            yield f"{family.name}-list-patterns", {
                "rank": 4, "alpha": 6, "rslora": False, "dropout": 0.0, "targets": family.targets["list"][0],
                "rank_pattern": family.rank_pattern, "alpha_pattern": family.alpha_pattern, "modules_to_save": [saved]}

    @staticmethod
    def their_variants(family):
        prefix, basic = f"peft-{family.name}", dict(r=4, lora_alpha=6)
        names = family.targets["list"][1]
        yield f"{prefix}-patterns-rs", dict(
            **basic, target_modules=names if family.name in MIXTURES else "all-linear",
            rank_pattern=family.rank_pattern, alpha_pattern=family.alpha_pattern, use_rslora=True)
        yield f"{prefix}-regex", dict(**basic, target_modules=family.targets["regex"][1])
        # A head that is tied to the embedding is left where it is: PEFT warns of saving one.
        saved = "gate_proj" if family.model.config.tie_word_embeddings else "lm_head"
        yield f"{prefix}-saved", dict(**basic, target_modules=names, modules_to_save=[saved])
        if family.name in MIXTURES:
            yield f"{prefix}-all", dict(**basic, target_modules="all-linear")
            yield f"{prefix}-experts", dict(
                **basic, target_modules=family.targets["list"][1],
                target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])

    def check_modules(self, name, family, model):
        # What PEFT calls all linear maps of a mixture are also its router and its experts, as in transformers 4.
        if family.name not in MIXTURES:
            super().check_modules(name, family, model)

    @staticmethod
    def surprising(trouble):
        # Of all linear maps of a mixture PEFT writes patterns for experts, and does not find them again.
        return [line for line in trouble if "_pattern keys did not match any targeted module" not in line]

    def compare_greedy(self, *arguments):
        """Random models say nothing, and two tokens may be as likely."""

    def train_here(self):
        self.versions = {}
        for name, manifest in self.jobs().items():
            run(self.program, name, manifest)
            self.versions[name] = {"path": f"Artifacts/adapters/{name}/1"}

    def run(self):
        self.prepare()
        self.train_here()
        self.check_variants()
        self.check_theirs()


def run(program, name, manifest):
    """A job in the foreground."""
    file = program.root / f"{name}.yaml"
    file.write_text(json.dumps(manifest))
    program.run("run", file)
    return program.root / f"Artifacts/adapters/{name}/1"


@dataclasses.dataclass
class Headed:
    """A family whose models have a head."""

    name: str
    make: object
    task: str
    peft_task: str
    auto: object
    targets: list
    pattern: str
    saved: object = None
    labels: int = 3
    tokenizer: str = "models/minilm-l6-v2-bert"


def headed():
    bert = dict(targets=["query", "value"], pattern=r"bert\.encoder\.layer\.1\.(attention\.self\.key|output\.dense)")
    sequence, token = tf.AutoModelForSequenceClassification, tf.AutoModelForTokenClassification
    distil = tf.DistilBertConfig(
        vocab_size=30522, dim=32, hidden_dim=48, n_layers=2, n_heads=4, max_position_embeddings=66,
        initializer_range=0.15, attn_implementation="eager")
    vit = tf.ViTConfig(**SMALL, image_size=8, patch_size=4, num_channels=1, num_labels=3)
    return [
        Headed("bert-seq", lambda: tf.BertModel(tf.BertConfig(**ENCODER)), "sequence-classification", "SEQ_CLS", sequence,
               **bert),
        Headed("bert-reg", lambda: tf.BertModel(tf.BertConfig(**ENCODER)), "sequence-regression", "SEQ_CLS", sequence,
               **bert, labels=1),
        Headed("bert-tok", lambda: tf.BertModel(tf.BertConfig(**ENCODER)), "token-classification", "TOKEN_CLS", token,
               **bert),
        Headed("bert-mlm", lambda: tf.BertForMaskedLM(tf.BertConfig(**ENCODER)), "masked-lm", None,
               tf.AutoModelForMaskedLM, **bert),
        # Without the pooler that its new head needs; PEFT keeps one where it is asked to.
        Headed("bert-new", lambda: tf.BertForMaskedLM(tf.BertConfig(**ENCODER)), "sequence-classification", "SEQ_CLS",
               sequence, **bert, saved=["bert.pooler.dense"]),
        Headed("bert-embed", lambda: tf.BertModel(tf.BertConfig(**ENCODER)), "embedding", "FEATURE_EXTRACTION",
               tf.AutoModel, ["query", "value"], bert["pattern"].replace("bert\\.", "")),
        Headed("roberta-seq", lambda: tf.RobertaModel(tf.RobertaConfig(**ENCODER, pad_token_id=1)),
               "sequence-classification", "SEQ_CLS", sequence, ["query", "value"],
               r"roberta\.encoder\.layer\.1\.(attention\.self\.key|output\.dense)"),
        Headed("roberta-tok", lambda: tf.RobertaModel(tf.RobertaConfig(**ENCODER, pad_token_id=1)),
               "token-classification", "TOKEN_CLS", token, ["query", "value"],
               r"roberta\.encoder\.layer\.1\.(attention\.self\.key|output\.dense)"),
        Headed("distilbert-seq", lambda: tf.DistilBertModel(distil), "sequence-classification", "SEQ_CLS", sequence,
               ["q_lin", "v_lin"], r"distilbert\.transformer\.layer\.1\.(attention\.k_lin|ffn\.lin2)"),
        Headed("distilbert-mlm", lambda: tf.DistilBertForMaskedLM(distil), "masked-lm", None, tf.AutoModelForMaskedLM,
               ["q_lin", "v_lin"], r"distilbert\.transformer\.layer\.1\.(attention\.k_lin|ffn\.lin2)"),
        Headed("llama-seq", lambda: tf.LlamaForSequenceClassification(tf.LlamaConfig(**DECODER, num_labels=3)),
               "sequence-classification", "SEQ_CLS", sequence, ["q_proj", "v_proj"],
               r"model\.layers\.1\.(self_attn\.k_proj|mlp\.down_proj)", tokenizer="models/stories260K"),
        Headed("llama-reg", lambda: tf.LlamaForSequenceClassification(tf.LlamaConfig(**DECODER, num_labels=1)),
               "sequence-regression", "SEQ_CLS", sequence, ["q_proj", "v_proj"],
               r"model\.layers\.1\.(self_attn\.k_proj|mlp\.down_proj)", labels=1, tokenizer="models/stories260K"),
        Headed("vit", lambda: tf.ViTForImageClassification(vit), "image-classification", None,
               tf.AutoModelForImageClassification, ["q_proj", "v_proj"], r"vit\.layers\.1\.(attention\.k_proj|mlp\.fc2)",
               saved=["classifier"], tokenizer=None),
    ]


class Heads:
    def __init__(self, program, data, table, folder):
        self.program, self.data, self.table, self.folder = program, data, table, folder
        self.words = (data / "datasets/tinyshakespeare/valid.txt").read_text().replace("\n", " ").split()
        self.random = numpy.random.default_rng(7)

    def text(self, count):
        start = int(self.random.integers(0, len(self.words) - count))
        return " ".join(self.words[start:start + count])

    # Files: to train on, and to be asked about.

    def write(self, name, records):
        path = self.folder / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return [str(path)]

    def files(self, family):
        """Files to train on, files to be asked about, and for torch what they ask: inputs and classes."""
        names = [f"class{index}" for index in range(family.labels)]
        if family.task == "image-classification":
            def idx(name, images, labels):
                count = len(images)
                paths = [self.folder / f"{name}-{part}-ubyte" for part in ("images-idx3", "labels-idx1")]
                header = b"".join(size.to_bytes(4, "big") for size in (count, 8, 8))
                paths[0].write_bytes(bytes([0, 0, 8, 3]) + header + images.tobytes())
                paths[1].write_bytes(bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(labels))
                return list(map(str, paths))
            images = self.random.integers(0, 256, (48, 8, 8)).astype(numpy.uint8)
            asked = self.random.integers(0, 256, (6, 8, 8)).astype(numpy.uint8).repeat(family.labels, axis=0)
            labels = [index % family.labels for index in range(len(asked))]
            return (idx("vit-train", images, [index % family.labels for index in range(48)]),
                    idx("vit-asked", asked, labels), list(zip(asked, labels)))
        if family.task == "sequence-classification":
            train = [{"text": self.text(6), "label": names[i % family.labels]} for i in range(48)]
            asked = [(text, index) for text in (self.text(3 + i) for i in range(6)) for index in range(family.labels)]
            records = [{"text": text, "label": names[index]} for text, index in asked]
        elif family.task == "sequence-regression":
            train = [{"text": self.text(6), "label": i % 4 - 1.5} for i in range(48)]
            asked = [(self.text(3 + i), 0.75 * i - 2) for i in range(8)]
            records = [{"text": text, "label": number} for text, number in asked]
        elif family.task == "token-classification":
            train = [{"tokens": (words := self.text(6).split()), "tags": [names[(i + j) % family.labels] for j in
                                                                         range(len(words))]} for i in range(48)]
            asked = [(words, index) for words in (self.text(4 + i).split() for i in range(6))
                     for index in range(family.labels)]
            records = [{"tokens": words, "tags": [None, None, names[index]] + [None] * (len(words) - 3)}
                       for words, index in asked]
        elif family.task == "masked-lm":
            train = [{"text": self.text(20)} for _ in range(24)]
            asked = [self.text(24) for _ in range(8)]
            records = [{"text": text} for text in asked]
        else:
            train = [{"anchor": self.text(5), "positive": self.text(5)} for _ in range(32)]
            asked = [(self.text(5), self.text(4)) for _ in range(8)]
            records = [{"sentence1": a, "sentence2": b, "score": -1} for a, b in asked]
        return self.write(f"{family.name}-train.jsonl", train), self.write(f"{family.name}-asked.jsonl", records), asked

    # What torch says.

    def nats(self, family, model, tokenizer, asked):
        with torch.no_grad():
            if family.task == "masked-lm":
                return self.masked_nats(model, tokenizer, asked)
            return [self.single(family, model, tokenizer, *item) for item in asked]

    def single(self, family, model, tokenizer, item, other):
        if family.task == "embedding":
            first, second = (self.vector(model, tokenizer, text) for text in (item, other))
            return ((first @ second).item() + 1) ** 2
        if family.task == "image-classification":
            pixels = torch.from_numpy((item.astype(numpy.float32) / 255 - 0.5) / 0.5)[None, None]
            logits = model(pixel_values=pixels).logits[0]
        elif family.task == "token-classification":
            encoded = tokenizer(item, is_split_into_words=True, return_tensors="pt")
            place = encoded.word_ids(0).index(2)
            logits = model(**encoded).logits[0, place]
        else:
            logits = model(**tokenizer(item, return_tensors="pt")).logits[0]
        if family.task == "sequence-regression":
            return (logits.item() - other) ** 2
        return -torch.log_softmax(logits.double(), -1)[other].item()

    @staticmethod
    def vector(model, tokenizer, text):
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        return states / states.norm()

    @staticmethod
    def masked_nats(model, tokenizer, asked):
        """The mean nats of what the program hides when it judges."""
        judged, result = Stream(0).sub("judged"), []
        for number, text in enumerate(asked):
            encoded = tokenizer(text, return_special_tokens_mask=True)
            ids, special, stream = encoded["input_ids"], encoded["special_tokens_mask"], judged.sub(number)
            seen, places = list(ids), []
            for place in range(1, len(ids)):
                if special[place] or stream.number(3 * place) >= 0.15:
                    continue
                places.append(place)
                kind = stream.number(3 * place + 1)
                if kind < 0.9:
                    seen[place] = tokenizer.mask_token_id if kind < 0.8 else int(
                        stream.number(3 * place + 2) * model.config.vocab_size)
            scores = torch.log_softmax(model(input_ids=torch.tensor([seen])).logits[0].double(), -1)
            result.append(-sum(scores[place, ids[place]].item() for place in places) / max(len(places), 1))
        return result

    # Both ways.

    def load(self, family, folder):
        extra = {"num_labels": family.labels} if family.task.startswith(("sequence", "token", "image")) else {}
        if family.task == "embedding":
            extra = {"add_pooling_layer": False} if family.name.startswith("roberta") else {}
        return family.auto.from_pretrained(folder, dtype=torch.float32, **extra).eval()

    def compare(self, what, family, base, model, tokenizer, asked, files, adapter, floor=1e-3):
        chosen = []
        if family.task == "image-classification":
            chosen = [part for index in range(family.labels) for part in ("--label", str(index))]
        elif family.task.endswith("classification"):
            chosen = [part for index in range(family.labels) for part in ("--label", f"class{index}")]
        data = [part for file in files for part in ("--data", file)]
        answer = self.program.json(
            "eval", "--base", base, *(["--adapter", adapter] if adapter else []), *data, "--task", family.task, *chosen,
            "--threads", 1)
        theirs = self.nats(family, model, tokenizer, asked)
        self.table.at_most(f"{what}: loss of {len(theirs)} records", largest(
            [example["nll"] for example in answer["examples"]], theirs), EXACT)
        with model.disable_adapter():
            self.table.at_least(f"{what}: the adapter moves a loss by", largest(
                self.nats(family, model, tokenizer, asked), theirs), floor)
        return theirs

    def check(self, family):
        torch.manual_seed(len(family.name))
        source = self.data / family.tokenizer if family.tokenizer else None
        base = save(randomize(family.make(), 3), self.folder / family.name, source)
        if family.task == "image-classification":
            (base / "preprocessor_config.json").write_text(json.dumps(
                {"size": {"height": 8, "width": 8}, "image_mean": [0.5], "image_std": [0.5]}))
        tokenizer = fast_tokenizer(base) if source else None
        train, files, asked = self.files(family)
        for name, adapter in (
                (f"{family.name}-all-rs", {"rank": 4, "alpha": 8, "rslora": True, "targets": "all-linear"}),
                (f"{family.name}-regex", {"rank": 3, "alpha": 7, "targets": family.pattern})):
            folder = run(self.program, name, {
                "name": name, "base": str(base), "task": family.task, "adapter": adapter,
                "data": {"train": train, "test": files, "validation": "0%"}, "run": {"threads": 1}, "merge": True,
                "train": {"steps": 6, "batch_size": 8, "learning_rate": 1e-2, "warmup": 0}})
            model, trouble = reference.load_adapter(self.load(family, base), folder)
            self.table.quiet(f"{name}: PEFT loads the adapter", trouble)
            nats = self.compare(name, family, base, model, tokenizer, asked, files, folder)
            merged = self.load(family, self.program.root / f"Artifacts/models/{name}/1")
            self.table.at_most(
                f"{name} merged: loss beside the adapter's",
                largest(self.nats(family, merged, tokenizer, asked), nats), 1e-4)
        for name, settings in self.their_variants(family):
            folder = self.folder / "theirs" / name
            self.train(family, base, tokenizer, asked, settings, folder)
            model, trouble = reference.load_adapter(self.load(family, base), folder)
            self.table.quiet(f"{name}: PEFT loads its own", trouble)
            self.compare(name, family, base, model, tokenizer, asked, files, folder)

    @staticmethod
    def their_variants(family):
        prefix, basic = f"peft-{family.name}", dict(r=4, lora_alpha=6)
        first, second = family.targets
        yield f"{prefix}-patterns-rs", dict(
            **basic, target_modules=family.targets, rank_pattern={first: 2}, alpha_pattern={second: 11}, use_rslora=True)
        yield f"{prefix}-regex", dict(**basic, target_modules=family.pattern)
        # PEFT takes the head for one of all linear maps where its task has no word for it, and then cannot save it.
        # Of DistilBERT it takes `pre_classifier`, which ends as the saved `classifier`.
        takes_head = family.task in ("token-classification", "image-classification") or family.name == "distilbert-seq"
        if not takes_head and not family.saved:
            yield f"{prefix}-all", dict(**basic, target_modules="all-linear")

    def train(self, family, base, tokenizer, asked, settings, folder):
        """A few steps of PEFT on what is asked, so that every part of the adapter has moved."""
        torch.manual_seed(1)
        configuration = LoraConfig(task_type=family.peft_task, modules_to_save=family.saved, **settings)
        model = reference.attach(self.load(family, base), configuration)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
        model.train()
        for _ in range(4):
            for item in asked[::3]:
                self.loss(family, model, tokenizer, item).backward()
            optimizer.step()
            optimizer.zero_grad()
        model.save_pretrained(folder)

    def loss(self, family, model, tokenizer, item):
        if family.task == "embedding":
            first, second = (self.vector(model, tokenizer, text) for text in item)
            return -(first @ second)
        if family.task == "masked-lm":
            encoded = tokenizer(item, return_tensors="pt")
            return model(**encoded, labels=encoded["input_ids"]).loss
        inputs, label = item
        if family.task == "image-classification":
            pixels = torch.from_numpy((inputs.astype(numpy.float32) / 255 - 0.5) / 0.5)[None, None]
            return model(pixel_values=pixels, labels=torch.tensor([label])).loss
        if family.task == "token-classification":
            encoded = tokenizer(inputs, is_split_into_words=True, return_tensors="pt")
            return model(**encoded, labels=torch.full_like(encoded["input_ids"], label)).loss
        return model(**tokenizer(inputs, return_tensors="pt"), labels=torch.tensor([label])).loss


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=root / ".build/release/lorajobs", help="the built program")
    parser.add_argument("--only", nargs="+", help="these families only")
    options = parser.parse_args()
    data = pathlib.Path(os.environ.get("LORAJOBS_TEST_DATA", root / "../shared/data")).resolve()
    if not (data / "models/stories260K").is_dir():
        sys.exit(f"{data} holds no test data; name its folder in LORAJOBS_TEST_DATA")
    tf.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lorajobs-families-"))
    program, table, began = Program(options.program, folder / "workspace"), Table(), time.monotonic()
    program.root.mkdir()
    try:
        program.make_workspace(data, folder)
        chosen = [name for name in DECODERS if not options.only or name in options.only]
        if chosen:
            Decoders(program, data, table, chosen, folder).run()
        for family in headed():
            if not options.only or family.name in options.only:
                Heads(program, data, table, folder).check(family)
    except ProgramFailed as failure:
        sys.exit(f"FAILED: {failure}")
    finally:
        # Versions in the store are read-only.
        for path in folder.glob("workspace/Artifacts/**/"):
            path.chmod(0o755)
        shutil.rmtree(folder)
    print(f"{table.count} checks in {time.monotonic() - began:.0f} s, {len(table.failures)} failed")
    sys.exit(1 if table.failures else 0)


if __name__ == "__main__":
    main()
