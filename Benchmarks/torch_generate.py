"""Greedy generation with a key/value cache in transformers, on the shape that `lorajobs bench generate` has.

Prints one JSON object: the time of the prompt and the first token is measured apart. Run by compare_torch.py --table.
"""

import argparse
import json
import os
import time

from torch_steps import SHAPES, peak_resident_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", choices=SHAPES, default="gpt2")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ.update(
        OMP_NUM_THREADS=str(options.threads), MKL_NUM_THREADS=str(options.threads), HF_HUB_OFFLINE="1",
        TRANSFORMERS_VERBOSITY="error")
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    kind, sizes, _ = SHAPES[options.config]
    settings = transformers.GPT2Config(**sizes) if kind == "gpt2" else transformers.LlamaConfig(**sizes)
    model = transformers.AutoModelForCausalLM.from_config(settings, dtype=dtype).eval()
    ids = torch.randint(0, settings.vocab_size, (1, options.prompt))
    fixed = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}

    def seconds(count):
        start = time.perf_counter()
        model.generate(ids, max_new_tokens=count, min_new_tokens=count, **fixed)
        return time.perf_counter() - start

    with torch.no_grad():
        seconds(4)
        first = seconds(1)
        whole = seconds(options.tokens)
    print(json.dumps({
        "tokens_per_second": (options.tokens - 1) / (whole - first),
        "first_token_seconds": first,
        "peak_rss_bytes": peak_resident_bytes(),
    }))


if __name__ == "__main__":
    main()
