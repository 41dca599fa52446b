"""Encoders for tasks of which the other golden files have none: output, loss, LoRA gradients, five AdamW steps.

Usage: python encoder_fixtures.py [OUTDIR]      (torch, transformers and peft, as in requirements.txt)
Writes NAME_tiny.safetensors with the keys of the other *_tiny files. Masked language models have labels at the hidden
tokens alone; the task of bert_pairs is that of sentence-transformers' MultipleNegativesRankingLoss on mean-pooled unit
vectors, `in.labels` naming each row's partner. The loss of bert_regression is the model's own; `in.values` are the numbers.
"""
import json
import os
import sys
import warnings

warnings.filterwarnings("ignore")
import peft
import torch
import transformers as tf
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

tf.utils.logging.set_verbosity_error()
out_dir = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "Fixtures", "golden")
SIZES = dict(vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
             max_position_embeddings=32, hidden_dropout_prob=0, attention_probs_dropout_prob=0, attn_implementation="eager")
DISTIL = dict(vocab_size=64, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=32, dropout=0,
              attention_dropout=0, attn_implementation="eager")


def unit_means(model, inputs):
    states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1).float()
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)


def pair_loss(vectors, partners):
    anchors = (partners >= 0).nonzero()[:, 0]
    scores = 20 * vectors[anchors] @ vectors[partners[anchors]].T
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(anchors)))


def inputs_for(pad):
    ids = torch.tensor([[2, 5, 9, 13, 17, 21, 25, 29], [2, 6, 10, 14, 18, 22, pad, pad],
                        [2, 33, 9, 41, 45, pad, pad, pad], [2, 34, 38, 42, 46, 50, 54, pad]])
    return dict(input_ids=ids, attention_mask=(ids != pad).long())


def run(name, model, targets, task, r=2, alpha=4, steps=5, lr=1e-2):
    torch.manual_seed(7)
    model.eval()
    for _, p in model.named_parameters():
        if p.ndim == 1:
            p.data.add_(0.05 * torch.randn_like(p))
    inputs = inputs_for(model.config.pad_token_id)
    if task == "pairs":
        labels = torch.tensor([1, -1, 3, -1])
        forward = lambda m: unit_means(m, inputs)
        loss_of = lambda y: pair_loss(y, labels)
    elif task == "regression":
        labels = torch.tensor([0.5, -1.25, 3.0, 0.0])
        forward = lambda m: m(**inputs).logits
        loss_of = None
    else:
        labels = torch.where((torch.arange(8) % 3 == 1) & (inputs["attention_mask"] == 1), inputs["input_ids"] + 1, -100)
        forward = lambda m: m(**inputs).logits
        loss_of = lambda y: torch.nn.functional.cross_entropy(y.reshape(-1, y.shape[-1]), labels.reshape(-1))
    base = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        base_out = forward(model).clone()
    pm = get_peft_model(model, LoraConfig(r=r, lora_alpha=alpha, target_modules=targets)).eval()
    lora = lambda: [(n.replace(".default", ""), p) for n, p in pm.named_parameters() if "lora_" in n]
    for n, p in lora():
        if "lora_B" in n:
            p.data.normal_(std=0.05)
    out = {"base." + k: v for k, v in base.items()}
    out.update({"lora." + n: p.detach().clone() for n, p in lora()})
    measure = (lambda: loss_of(forward(pm))) if loss_of else (lambda: pm(**inputs, labels=labels).loss)
    y, loss = forward(pm), measure()
    loss.backward()
    out.update({"grad." + n: p.grad.clone() for n, p in lora()})
    out.update({"in." + k: v for k, v in inputs.items()}, **{"in.values" if task == "regression" else "in.labels": labels})
    out["out.base"], out["out.lora"], out["out.loss"] = base_out, y.detach(), loss.detach().reshape(1)
    optimizer = torch.optim.AdamW([p for p in pm.parameters() if p.requires_grad], lr=lr, weight_decay=0.01)
    curve = []
    for _ in range(steps):
        optimizer.zero_grad()
        step_loss = measure()
        step_loss.backward()
        optimizer.step()
        curve.append(step_loss.item())
    out.update({"trained." + n: p.detach().clone() for n, p in lora()})
    with torch.no_grad():
        out["out.trained"] = forward(pm)
    save_file({k: v.detach().clone().contiguous() for k, v in out.items()}, f"{out_dir}/{name}_tiny.safetensors", metadata={
        "config": json.dumps(model.config.to_dict(), default=str), "task": task,
        "lora": json.dumps(dict(r=r, alpha=alpha, targets=targets)),
        "adamw": json.dumps(dict(lr=lr, wd=0.01, steps=steps, curve=curve)),
        "transformers": tf.__version__, "peft": peft.__version__, "torch": torch.__version__.split("+")[0]})
    print(name, "loss", loss.item(), "curve", [round(c, 5) for c in curve])


torch.manual_seed(0)
run("bert_mlm", tf.BertForMaskedLM(tf.BertConfig(**SIZES)), ["query", "value"], "mlm")
run("roberta_mlm", tf.RobertaForMaskedLM(tf.RobertaConfig(**SIZES)), ["query", "value"], "mlm")
run("distilbert_mlm", tf.DistilBertForMaskedLM(tf.DistilBertConfig(**DISTIL)), ["q_lin", "v_lin"], "mlm")
run("bert_pairs", tf.BertModel(tf.BertConfig(**SIZES)), ["query", "value"], "pairs")
run("bert_regression", tf.BertForSequenceClassification(tf.BertConfig(**SIZES, num_labels=1)), ["query", "value"],
    "regression")
