"""Writes Tests/Fixtures/bf16: the golden decoders with LoRA, computed with frozen matrices in bf16.

Every linear map of the base, the head, and the products of attention multiply operands rounded to bf16 and sum in single
precision, forwards and backwards; the tables of embeddings are rounded; everything else is single precision. Training
(`kept.`) also keeps what the backward pass needs of activations, norms, attention and the inputs of adapters rounded. So
torch says what `train.precision: bf16` is to compute.

Run with torch 2.13, transformers 5.23 and peft 0.21.2:  python Tests/Reference/bf16_fixtures.py
"""

import json
import pathlib

import peft
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.pytorch_utils import Conv1D

KEEPS = False
ROOT = pathlib.Path(__file__).resolve().parents[1] / "Fixtures"
torch.set_num_threads(1)


def rounded(x):
    return x.to(torch.bfloat16).to(torch.float32)


def kept(x):
    return rounded(x) if KEEPS else x


class Product(torch.autograd.Function):
    """x Wᵀ for a frozen W [out, in]."""

    @staticmethod
    def forward(context, x, weight):
        context.save_for_backward(weight)
        return rounded(x) @ rounded(weight).T

    @staticmethod
    def backward(context, dy):
        (weight,) = context.saved_tensors
        return rounded(dy) @ rounded(weight), None


class Attention(torch.autograd.Function):
    """softmax(scale · Q Kᵀ + mask) V over [batch, heads, rows, size], divided by the sums at the end; backward with
    Σ dO·O, as in Dao et al. 2022."""

    @staticmethod
    def forward(context, q, k, v, mask, scale):
        scores = scale * (rounded(q) @ rounded(k).mT) + mask
        p = torch.softmax(scores, -1)
        e = torch.exp(scores - scores.amax(-1, keepdim=True))
        o = rounded(e) @ rounded(v) / e.sum(-1, keepdim=True)
        context.save_for_backward(q, k, v, p, kept(o))
        context.scale = scale
        return o

    @staticmethod
    def backward(context, do):
        q, k, v, p, o = context.saved_tensors
        dp = rounded(do) @ rounded(v).mT
        ds = p * (dp - (do * o).sum(-1, keepdim=True)) * context.scale
        return (rounded(ds) @ rounded(k), rounded(ds).mT @ rounded(q), rounded(p).mT @ rounded(do), None, None)


class LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(context, x, weight, bias, eps):
        mean = x.mean(-1, keepdim=True)
        scale = torch.rsqrt((x - mean).square().mean(-1, keepdim=True) + eps)
        context.save_for_backward(kept(x), weight, mean, scale)
        return (x - mean) * scale * weight + bias

    @staticmethod
    def backward(context, dy):
        x, weight, mean, scale = context.saved_tensors
        x, g = (x - mean) * scale, dy * weight
        return scale * (g - g.mean(-1, keepdim=True) - x * (g * x).mean(-1, keepdim=True)), None, None, None


class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(context, x, weight, eps):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        context.save_for_backward(kept(x), weight, scale)
        return x * scale * weight

    @staticmethod
    def backward(context, dy):
        x, weight, scale = context.saved_tensors
        x, g = x * scale, dy * weight
        return scale * (g - x * (g * x).mean(-1, keepdim=True)), None, None


class Elementwise(torch.autograd.Function):
    """A function of tensors, element by element, differentiated at the place that was kept."""

    @staticmethod
    def forward(context, function, *inputs):
        context.function = function
        context.save_for_backward(*(kept(x) for x in inputs))
        return function(*inputs)

    @staticmethod
    def backward(context, dy):
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_() for x in context.saved_tensors]
            return None, *torch.autograd.grad(context.function(*inputs), inputs, dy)


class Down(torch.autograd.Function):
    """The first factor of an adapter."""

    @staticmethod
    def forward(context, x, a):
        context.save_for_backward(kept(x), a)
        return x @ a.T

    @staticmethod
    def backward(context, dy):
        x, a = context.saved_tensors
        return dy @ a, dy.flatten(0, 1).T @ x.flatten(0, 1)


def attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    # Rows of padding see nothing and must not become NaN; nothing reads them.
    mask = torch.clamp(attention_mask[..., : key.shape[-2]], min=-1e30)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return Attention.apply(query, key, value, mask, scaling).transpose(1, 2).contiguous(), None


transformers.AttentionInterface.register("rounded", attention)
transformers.AttentionMaskInterface.register(
    "rounded", transformers.masking_utils.ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def forward(self, x):
    y = Product.apply(x, self.weight.T if isinstance(self, Conv1D) else self.weight)
    return y if self.bias is None else y + self.bias


def gelu(x):
    return Elementwise.apply(lambda x: torch.nn.functional.gelu(x, approximate="tanh"), x)


def gated(module, x):
    unit = Elementwise.apply(lambda g, u: torch.nn.functional.silu(g) * u, module.gate_proj(x), module.up_proj(x))
    return module.down_proj(unit)


def keep(model):
    """Lets every op say itself what it keeps."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind == "LayerNorm":
            module.forward = lambda x, m=module: LayerNorm.apply(x, m.weight, m.bias, m.eps)
        elif kind == "LlamaRMSNorm":
            module.forward = lambda x, m=module: RMSNorm.apply(x, m.weight, m.variance_epsilon)
        elif kind == "LlamaMLP":
            module.forward = lambda x, m=module: gated(m, x)
        elif kind == "NewGELUActivation":
            module.forward = gelu
        elif name.endswith("lora_A.default"):
            module.forward = lambda x, m=module: Down.apply(x, m.weight)


def train(name):
    """Tensors and losses of a few steps."""
    with safe_open(ROOT / f"golden/{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        metadata = file.metadata()
    lora, adamw = json.loads(metadata["lora"]), json.loads(metadata["adamw"])
    settings = json.loads(metadata["config"])
    configuration = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
    base = transformers.AutoModelForCausalLM.from_config(
        configuration, dtype=torch.float32, attn_implementation="rounded")
    weights = {key[5:]: value for key, value in tensors.items() if key.startswith("base.")}
    missing, unexpected = base.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    for module in base.modules():
        if isinstance(module, torch.nn.Embedding):
            module.weight.data = rounded(module.weight.data)
    base.tie_weights()
    for module in base.modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)):
            module.forward = forward.__get__(module)
    inputs = {key[3:]: value for key, value in tensors.items() if key.startswith("in.")}
    result = {"out.base": base(**inputs).logits.detach().clone()}
    model = peft.get_peft_model(base, peft.LoraConfig(
        task_type="CAUSAL_LM", r=lora["r"], lora_alpha=lora["alpha"], target_modules=lora["targets"],
        fan_in_fan_out=configuration.model_type == "gpt2"))
    trained = {}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            stored = key.replace(".default", "")
            parameter.data = tensors[f"lora.{stored}"].clone()
            trained[stored] = parameter
    model.eval()
    keep(model)
    optimizer = torch.optim.AdamW(
        trained.values(), lr=adamw["lr"], betas=(0.9, 0.999), eps=1e-8, weight_decay=adamw["wd"])
    curve = []
    for step in range(adamw["steps"]):
        output = model(**inputs)
        output.loss.backward()
        curve.append(output.loss.item())
        if step == 0:
            result["out.lora"] = output.logits.detach().clone()
            result |= {f"grad.{key}": parameter.grad.clone() for key, parameter in trained.items()}
        optimizer.step()
        optimizer.zero_grad()
    single = (result["out.lora"] - tensors["out.lora"]).abs().max().item()
    print(f"{name}: loss {curve[0]:.6f}, in single precision {tensors['out.loss'].item():.6f}; logits differ by {single:.2e}")
    return result, curve


for name in ("gpt2_tiny", "llama_tiny"):
    KEEPS = False
    result, curve = train(name)
    KEEPS = True
    rounded_result, rounded_curve = train(name)
    result |= {f"kept.{key}": value for key, value in rounded_result.items() if key.startswith("grad.")}
    save_file({key: value.contiguous() for key, value in result.items()}, ROOT / f"bf16/{name}.safetensors",
              metadata={"curve": json.dumps(curve), "kept_curve": json.dumps(rounded_curve)})
