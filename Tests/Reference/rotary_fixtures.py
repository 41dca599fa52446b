"""Writes Tests/Fixtures/rotary.json: what transformers makes of rotary configurations and of windows.

    python Tests/Reference/rotary_fixtures.py

Rotary: one angle step a pair and the factor on cosines and sines, for heads that are large enough for every part of a
formula to matter, for a short and a long sequence. Windows: which layers slide, for configurations that say it by rules and
not layer by layer. Dimensions are small; nothing is a published model's.
"""

import json
from pathlib import Path

import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

OUT = Path(__file__).resolve().parents[1] / "Fixtures/rotary.json"
SIZES = {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 128,
         "num_hidden_layers": 2, "vocab_size": 64}
PAIRS = 32
SHORT, LONG = 40, 3000
# family, the rest of the configuration, and what scales, as transformers 5 writes it
VARIANTS = {
    "linear": ("llama", {"max_position_embeddings": 2048}, {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}),
    "dynamic": ("llama", {"max_position_embeddings": 1024}, {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 3.0}),
    "llama3": ("llama", {"max_position_embeddings": 131072}, {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 512}),
    "yarn": ("llama", {"max_position_embeddings": 8192}, {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 2048}),
    "yarn with its own ramp": ("qwen2", {"max_position_embeddings": 8192}, {
        "rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "original_max_position_embeddings": 2048,
        "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False, "attention_factor": 1.3}),
    "longrope": ("phi3", {"max_position_embeddings": 4096, "original_max_position_embeddings": 256}, {
        "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1 + 0.02 * i for i in range(PAIRS)],
        "long_factor": [1 + 0.5 * i for i in range(PAIRS)]}),
    "half of the head": ("phi3", {"max_position_embeddings": 4096}, {
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
    "longrope, three quarters": (
        "phi3", {"max_position_embeddings": 4096, "original_max_position_embeddings": 256}, {
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "short_factor": [1 + 0.1 * i for i in range(24)], "long_factor": [2 + 0.3 * i for i in range(24)]}),
}
# As the published ones write it: without layer_types.
WINDOWS = {
    "mistral": {"sliding_window": 16},
    "mistral without": {"model_type": "mistral", "sliding_window": None},
    "qwen2 off": {"model_type": "qwen2", "use_sliding_window": False, "sliding_window": 16, "max_window_layers": 2},
    "qwen2 on": {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 4},
    "qwen3 on": {"model_type": "qwen3", "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 3},
    "qwen2_moe on": {"model_type": "qwen2_moe", "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 3},
    "gemma2": {"sliding_window": 16},
    "gemma3_text": {"sliding_window": 16},
    "gemma3_text by three": {"model_type": "gemma3_text", "sliding_window": 16, "sliding_window_pattern": 3},
}


def former(configuration, scaling):
    """The same as transformers 4 writes it."""
    rest = {key: value for key, value in scaling.items() if key not in ("rope_theta", "partial_rotary_factor")}
    result = configuration | {key: scaling[key] for key in ("rope_theta", "partial_rotary_factor") if key in scaling}
    kind = rest.pop("rope_type")
    result["rope_scaling"] = None if kind == "default" else {"type" if kind == "linear" else "rope_type": kind} | rest
    return result


def steps(config, scaling, length):
    """What the model computes with in a batch whose longest sequence has so many tokens."""
    if scaling["rope_type"] == "default":
        size = int(config.hidden_size // config.num_attention_heads * scaling.get("partial_rotary_factor", 1))
        return 1 / scaling["rope_theta"] ** (torch.arange(0, size, 2).float() / size), 1.0
    return ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, torch.device("cpu"), seq_len=length)


def main():
    rotary = []
    for name, (family, rest, scaling) in VARIANTS.items():
        values = SIZES | rest | {"model_type": family}
        config = transformers.AutoConfig.for_model(**(values | {"rope_parameters": dict(scaling)}))
        (short, factor), (long, _) = (steps(config, scaling, length) for length in (SHORT, LONG))
        rotary.append({
            "name": name, "head": 64, "transformers5": values | {"rope_parameters": scaling},
            "transformers4": former(values, scaling), "attention_factor": factor,
            "steps": [{"length": SHORT, "values": short.tolist()}, {"length": LONG, "values": long.tolist()}]})
    windows = []
    for name, rest in WINDOWS.items():
        values = SIZES | {"num_hidden_layers": 8, "head_dim": 64, "model_type": name} | rest
        config = transformers.AutoConfig.for_model(**values)
        kinds = getattr(config, "layer_types", None)
        sliding = ([kind == "sliding_attention" for kind in kinds] if kinds
                   else [getattr(config, "sliding_window", None) is not None] * 8)
        windows.append({"name": name, "config": values, "sliding": sliding})
    OUT.write_text(json.dumps({"transformers": transformers.__version__, "rotary": rotary, "windows": windows}, indent=1) + "\n")
    for item in windows:
        print(item["name"], "".join("s" if slides else "f" for slides in item["sliding"]))


if __name__ == "__main__":
    main()
