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
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    return parser.parse_args()


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
        ids = torch.randint(0, settings.vocab_size, (options.batch, options.length), generator=random)
        start, used = time.perf_counter(), time.process_time()
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - start)
        if step >= WARM_UP:
            processor += time.process_time() - used
        losses.append(loss.item())
    timed = seconds[WARM_UP:]
    print(json.dumps({
        "tokens_per_second": options.batch * options.length / statistics.median(timed),
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
