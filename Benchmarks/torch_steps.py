"""LoRA training steps in torch, transformers and PEFT on the shape that `lorajobs bench train` has.

Prints one JSON object. One process is one measurement, so that the peak memory is its own. Run by compare_torch.py.
"""

import argparse
import json
import os
import statistics
import time

WARM_UP = 2

SHAPES = {
    "gpt2": ("gpt2", {}, ["c_attn"]),
    "smollm-135m": (
        "llama",
        {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
         "intermediate_size": 1536, "vocab_size": 49152, "tie_word_embeddings": True, "max_position_embeddings": 2048},
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
    "tinyllama-1.1b": (
        "llama",
        {"hidden_size": 2048, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4,
         "intermediate_size": 5632, "vocab_size": 32000, "max_position_embeddings": 2048},
        ["q_proj", "v_proj"]),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", choices=SHAPES, default="gpt2")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of the base and of what flows")
    parser.add_argument("--base", help="a checkpoint folder to load instead of making random weights")
    parser.add_argument(
        "--instructions", action="store_true",
        help="examples of mixed lengths whose last 30%% is learned, eight at a time, padded to the longest")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    return parser.parse_args()


def instructions(step, options, vocabulary, random, torch):
    """Micro-batches of a step: `lorajobs bench train --instructions` has examples of the same lengths."""
    shares = [((step * options.batch + index) * 7919 + 13) % 1000 / 1000 for index in range(options.batch)]
    lengths = [32 + int(480 * share * share) for share in shares]
    for start in range(0, len(lengths), 8):
        part = lengths[start:start + 8]
        ids = torch.randint(0, vocabulary, (len(part), max(part)), generator=random)
        places = torch.arange(max(part))
        ends = torch.tensor(part)[:, None]
        mask = (places < ends).long()
        labels = torch.where((places < ends) & (10 * places >= 7 * ends), ids, -100)
        yield {"input_ids": ids, "attention_mask": mask, "labels": labels}


def peak_resident_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def main():
    options = arguments()
    # Read by the libraries when they are loaded.
    os.environ.update(
        OMP_NUM_THREADS=str(options.threads), MKL_NUM_THREADS=str(options.threads), HF_HUB_OFFLINE="1",
        TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")
    import peft
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    kind, sizes, targets = SHAPES[options.config]
    if kind == "gpt2":
        # The measured step has no dropout on either side.
        settings = transformers.GPT2Config(attn_pdrop=0, resid_pdrop=0, embd_pdrop=0, **sizes)
    else:
        settings = transformers.LlamaConfig(**sizes)
    if options.base:
        base = transformers.AutoModelForCausalLM.from_pretrained(
            options.base, dtype=dtype, attn_implementation="sdpa")
    else:
        base = transformers.AutoModelForCausalLM.from_config(settings, dtype=dtype, attn_implementation="sdpa")
    parameters = sum(parameter.numel() for parameter in base.parameters())
    model = peft.get_peft_model(base, peft.LoraConfig(
        task_type="CAUSAL_LM", r=options.rank, lora_alpha=2 * options.rank, target_modules=targets,
        fan_in_fan_out=kind == "gpt2"))
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0)
    if options.compile:
        model = torch.compile(model)
    random = torch.Generator().manual_seed(1)

    seconds, losses, processor = [], [], 0.0
    for step in range(WARM_UP + options.steps):
        if options.instructions:
            parts = list(instructions(step, options, settings.vocab_size, random, torch))
        else:
            ids = torch.randint(0, settings.vocab_size, (options.batch, options.length), generator=random)
            parts = [{"input_ids": ids, "labels": ids}]
        tokens = sum(int(part.get("attention_mask", torch.ones_like(part["input_ids"])).sum()) for part in parts)
        targets = sum(int((part["labels"] != -100).sum()) for part in parts)
        start, used = time.perf_counter(), time.process_time()
        loss = 0
        for part in parts:
            share = model(**part, use_cache=False).loss * (int((part["labels"] != -100).sum()) / targets)
            share.backward()
            loss += share.detach()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
        if step >= WARM_UP:
            processor += time.process_time() - used
        losses.append(loss.item())
        if step == 0:
            first_step_ended = time.time()
    timed = seconds[WARM_UP:]
    print(json.dumps({
        "tokens_per_second": tokens / statistics.median(timed),
        "examples_per_second": options.batch / statistics.median(timed),
        "first_step_ended": first_step_ended,
        "step_seconds": timed,
        "first_step_seconds": seconds[0],
        "cpu_over_wall": processor / sum(timed),
        "peak_rss_bytes": peak_resident_bytes(),
        "parameters": parameters,
        "trained_parameters": sum(parameter.numel() for parameter in trained),
        "losses": losses,
        "engine": f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}, "
                  f"{torch.backends.cpu.get_cpu_capability()}",
    }))


if __name__ == "__main__":
    main()
