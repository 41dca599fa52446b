#!/usr/bin/env python3
"""Makes the fixtures of mixtures of experts with transformers and PEFT, and prints what they measure.

    python expert_fixtures.py [OUTDIR]        (default: Tests/Fixtures/experts; same tensors each time on one machine)

OUTDIR/adapters/CASE/{base,adapter,expected.safetensors}: adapters on attention, router and experts, the latter as PEFT
adapts the fused parameters of transformers 5 (`target_parameters`) and under the names of single experts that
transformers 4 has. OUTDIR/CASE_tiny.safetensors: outputs, loss with the balance loss of the routers, gradients and five
AdamW steps. All weights are random numbers.
"""

import json
import shutil
import sys
import warnings
import zlib
from pathlib import Path

warnings.filterwarnings("ignore")
import peft
import torch
import transformers as tf
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

tf.utils.logging.set_verbosity_error()
VERSIONS = {"transformers": tf.__version__, "peft": peft.__version__, "torch": torch.__version__.split("+")[0]}
VOCABULARY = 50
SMALL = dict(hidden_size=16, intermediate_size=24, num_attention_heads=4, num_key_value_heads=2, vocab_size=VOCABULARY,
             max_position_embeddings=32, pad_token_id=0, bos_token_id=1, eos_token_id=2, attn_implementation="eager",
             experts_implementation="eager", num_experts_per_tok=2)
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def mixtral(**settings):
    return tf.MixtralForCausalLM(tf.MixtralConfig(**{
        **SMALL, "num_hidden_layers": 1, "num_local_experts": 4, **settings}))


def qwen2(**settings):
    """One sparse layer with a shared expert, and one dense."""
    return tf.Qwen2MoeForCausalLM(tf.Qwen2MoeConfig(**{
        **SMALL, "num_hidden_layers": 2, "num_experts": 5, "moe_intermediate_size": 12,
        "shared_expert_intermediate_size": 20, "mlp_only_layers": [1], **settings}))


def qwen3(**settings):
    return tf.Qwen3MoeForCausalLM(tf.Qwen3MoeConfig(**{
        **SMALL, "num_hidden_layers": 2, "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 12,
        "head_dim": 8, "norm_topk_prob": True, "decoder_sparse_step": 2, **settings}))


def lora(**settings):
    return LoraConfig(**{"r": 4, "lora_alpha": 8, "init_lora_weights": False, "task_type": "CAUSAL_LM", **settings})


def randomize(model):
    """Routers start at zero in some models, and norms at one."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn_like(parameter))
            elif ".gate." in name or "shared_expert_gate" in name:
                parameter.normal_(std=0.5)


def inputs():
    ids = torch.randint(3, VOCABULARY, (2, 9))
    ids[1, 6:] = 0
    return dict(input_ids=ids, attention_mask=(torch.arange(9) < torch.tensor([[9], [6]])).long())


def former_adapter(folder, modules, rank, alpha):
    """An adapter as PEFT wrote it under transformers 4: one module for each map of each expert."""
    tensors, settings = {}, lora(target_modules=sorted({path.rpartition(".")[2] for path, _, _ in modules}), r=rank,
                                 lora_alpha=alpha)
    for path, wide, high in modules:
        tensors[f"base_model.model.{path}.lora_A.weight"] = 0.2 * torch.randn(rank, wide)
        tensors[f"base_model.model.{path}.lora_B.weight"] = 0.2 * torch.randn(high, rank)
    folder.mkdir(parents=True)
    settings.inference_mode = True
    settings.save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def former_modules(model, block, names, gate):
    c, layers = model.config, []
    inner = getattr(c, "moe_intermediate_size", None) or c.intermediate_size
    for index, layer in enumerate(model.model.layers):
        head = f"model.layers.{index}"
        size = c.num_attention_heads * (getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads)
        layers.append((f"{head}.self_attn.q_proj", c.hidden_size, size))
        if not hasattr(layer.mlp, "experts"):
            layers += [(f"{head}.mlp.{name}", *((c.hidden_size, c.intermediate_size) if name != names[2] else
                                                (c.intermediate_size, c.hidden_size))) for name in names]
            continue
        if gate:
            layers.append((f"{head}.{block}.gate", c.hidden_size, layer.mlp.experts.num_experts))
        for expert in range(layer.mlp.experts.num_experts):
            place = f"{head}.{block}.experts.{expert}"
            layers += [(f"{place}.{names[0]}", c.hidden_size, inner), (f"{place}.{names[1]}", c.hidden_size, inner),
                       (f"{place}.{names[2]}", inner, c.hidden_size)]
    return layers


CASES = {
    "mixtral_attention": (mixtral, lora(target_modules="all-linear")),
    "mixtral_experts": (mixtral, lora(target_modules=["q_proj", "v_proj"], target_parameters=EXPERTS)),
    "mixtral_router": (mixtral, lora(target_modules=[], target_parameters=["gate.weight", "experts.down_proj"])),
    "qwen2_moe": (qwen2, lora(target_modules="all-linear", target_parameters=EXPERTS, use_rslora=True)),
    "qwen3_moe": (qwen3, lora(target_modules=["q_proj", "o_proj"], target_parameters=EXPERTS,
                              rank_pattern={"gate_up_proj": 6}, alpha_pattern={"experts.down_proj": 3})),
    "mixtral_names_v4": (mixtral, ("block_sparse_moe", ["w1", "w3", "w2"], True)),
    # PEFT's conversion passes over a dense layer's maps of the same names, so there is none.
    "qwen3_moe_names_v4": (lambda: qwen3(decoder_sparse_step=1), ("mlp", ["gate_proj", "up_proj", "down_proj"], False)),
}


def adapter_case(folder, name, build, config):
    torch.manual_seed(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    shutil.rmtree(folder, ignore_errors=True)
    model = build().eval()
    randomize(model)
    batch = inputs()
    model.save_pretrained(folder / "base")
    (folder / "base/generation_config.json").unlink(missing_ok=True)
    out = {f"in.{key}": value for key, value in batch.items()}
    with torch.no_grad():
        out["out.base"] = model(**batch).logits
        if isinstance(config, LoraConfig):
            get_peft_model(model, config).save_pretrained(folder / "adapter")
            (folder / "adapter/README.md").unlink()
        else:
            former_adapter(folder / "adapter", former_modules(model, *config), 3, 6)
        base = type(model).from_pretrained(folder / "base", attn_implementation="eager",
                                           experts_implementation="eager").eval()
        adapted = PeftModel.from_pretrained(base, folder / "adapter").eval()
        out["out.adapter"] = adapted(**batch).logits
        out["out.merged"] = adapted.merge_and_unload()(**batch).logits
    save_file({k: v.contiguous().clone() for k, v in out.items()}, folder / "expected.safetensors", metadata=VERSIONS)
    tensors = load_file(folder / "adapter/adapter_model.safetensors")
    print(f"{name:20s} tensors {len(tensors):3d} effect {(out['out.adapter'] - out['out.base']).abs().max():.1e} "
          f"merge error {(out['out.merged'] - out['out.adapter']).abs().max():.1e}", flush=True)


def training_case(file, name, build, config, steps=5, rate=1e-2):
    torch.manual_seed(7)
    model = build(output_router_logits=True, router_aux_loss_coef=0.02).eval()
    randomize(model)
    batch = inputs()
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    labels[:, :3] = -100
    batch["labels"] = labels
    out = {f"base.{key}": value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        out["out.base"] = model(**batch).logits
    adapted = get_peft_model(model, config).eval()
    trained = [(key.replace(".default", ""), p) for key, p in adapted.named_parameters() if "lora_" in key]
    with torch.no_grad():
        for key, parameter in trained:
            if "lora_B" in key:
                parameter.normal_(std=0.05)
    out.update({f"lora.{key}": p.detach().clone() for key, p in trained})
    result = adapted(**batch)
    result.loss.backward()
    out["out.lora"], out["out.loss"] = result.logits.detach(), result.loss.detach().reshape(1)
    out.update({f"grad.{key}": p.grad.clone() for key, p in trained})
    out.update({f"in.{key}": value for key, value in batch.items()})
    optimizer = torch.optim.AdamW([p for _, p in trained], lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    curve = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = adapted(**batch).loss
        loss.backward()
        optimizer.step()
        curve.append(loss.item())
    out.update({f"trained.{key}": p.detach().clone() for key, p in trained})
    with torch.no_grad():
        out["out.trained"] = adapted(**batch).logits
    save_file({k: v.detach().clone().contiguous() for k, v in out.items()}, file, metadata={
        "config": json.dumps(model.config.to_dict(), default=str),
        "lora": json.dumps(dict(r=config.r, alpha=config.lora_alpha, targets=sorted(config.target_modules),
                                parameters=sorted(config.target_parameters))),
        "adamw": json.dumps(dict(lr=rate, wd=0.01, steps=steps, curve=curve)), **VERSIONS})
    print(f"{name:20s} balance loss {result.aux_loss.item():.4f} curve {[round(c, 4) for c in curve]}", flush=True)


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "Fixtures/experts"
    out.mkdir(parents=True, exist_ok=True)
    for name, (build, config) in CASES.items():
        adapter_case(out / "adapters" / name, name, build, config)
    everything = lora(r=2, lora_alpha=4, init_lora_weights=True, target_modules=["q_proj", "v_proj"],
                      target_parameters=[*EXPERTS, "gate.weight"])
    for name, build in [("mixtral_experts", mixtral), ("qwen2_moe_experts", qwen2), ("qwen3_moe_experts", qwen3)]:
        training_case(out / f"{name}_tiny.safetensors", name, build, everything)


if __name__ == "__main__":
    main()
