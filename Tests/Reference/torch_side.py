"""The same models in torch, transformers and PEFT: what `lorajobs` is compared with."""

import contextlib
import copy
import logging
import os
import struct
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import numpy
import torch
from peft import PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

transformers_logging.disable_progress_bar()


@contextlib.contextmanager
def complaints():
    """Collects every warning, from Python and from the libraries' logs, of the block.

    Not those of one library about another's interface: they say nothing about what was loaded.
    """
    found = []

    class Collector(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage())

    collector = Collector(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("transformers", "peft", "root")]
    for logger in loggers:
        logger.addHandler(collector)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield found
        found.extend(
            str(warning.message) for warning in caught
            if not issubclass(warning.category, (DeprecationWarning, FutureWarning, PendingDeprecationWarning)))
    finally:
        for logger in loggers:
            logger.removeHandler(collector)


def load_checkpoint(folder):
    """Model in fp32, tokenizer, and everything that did not go smoothly."""
    with complaints() as found:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    trouble = found + [f"{kind}: {sorted(map(str, keys))}" for kind, keys in info.items() if keys]
    return model.eval(), tokenizer, trouble


def encode(tokenizer, text):
    """Token ids with special tokens, and where each ends in the text."""
    encoding = tokenizer(text, return_offsets_mapping=True, verbose=False)
    return encoding["input_ids"], [high for _, high in encoding["offset_mapping"]]


def load_adapter(base, folder):
    """The adapter in `folder` on a copy of a model, and everything that did not go smoothly."""
    with complaints() as trouble:
        model = PeftModel.from_pretrained(copy.deepcopy(base), folder)
    held = get_peft_model_state_dict(model)
    written = load_file(os.path.join(folder, "adapter_model.safetensors"))
    trouble += [f"missing {key}" for key in sorted(held.keys() - written.keys())]
    trouble += [f"unexpected {key}" for key in sorted(written.keys() - held.keys())]
    both = sorted(held.keys() & written.keys())
    trouble += [f"{key} differs" for key in both if not torch.equal(held[key], written[key])]
    return model.eval(), trouble


def attach(base, configuration):
    """A new adapter on a copy of a model."""
    with complaints():
        return get_peft_model(copy.deepcopy(base), configuration)


def train_adapter(base, configuration, sequences, folder, learning_rate=1e-2):
    """Trains an adapter for as many steps as there are batches of sequences, and saves it as PEFT does."""
    torch.manual_seed(0)
    model = attach(base, configuration)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    model.train()
    for batch in sequences:
        ids = torch.tensor(batch)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def negative_log_likelihoods(model, ids):
    """Nats of every token but the first, in windows of the context that share no input."""
    context = model.config.max_position_embeddings
    result = []
    with torch.no_grad():
        for low in range(0, len(ids) - 1, context):
            rows = ids[low:low + context]
            targets = torch.tensor(ids[low + 1:low + 1 + len(rows)])
            logits = model(input_ids=torch.tensor([rows])).logits[0, :len(targets)]
            scores = torch.log_softmax(logits.double(), dim=-1)
            result += (-scores.gather(1, targets[:, None])[:, 0]).tolist()
    return result


def trailing_negative_log_likelihoods(model, sequences):
    """The mean nats of the tokens of each sequence from a place on; sequences are pairs of ids and that place.

    One forward pass: padding at the end does not reach the tokens before it.
    """
    longest = max(len(ids) for ids, _ in sequences)
    with torch.no_grad():
        padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in sequences])
        scores = torch.log_softmax(model(input_ids=padded).logits.double(), dim=-1)
    result = []
    for row, (ids, first) in zip(scores, sequences):
        nats = [-row[place - 1, ids[place]].item() for place in range(max(first, 1), len(ids))]
        result.append(sum(nats) / len(nats))
    return result


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


def greedy(model, ids, count):
    """The new tokens only, without the end token."""
    prompt = torch.tensor([ids])
    with torch.no_grad():
        output = model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False,
            num_beams=1)
    new = output[0, len(ids):].tolist()
    end = model.generation_config.eos_token_id
    ends = set(end) if isinstance(end, list) else {end}
    return new[:-1] if new and new[-1] in ends else new


def read_dataset(path):
    """The sequences of a tokenised dataset, each as ids and one flag a token that says whether it is scored."""
    data = path.read_bytes()
    magic, version, flags, count, tokens, targets = struct.unpack_from("<8sIIQQQ", data)
    if magic != b"LJTOKENS" or version != 2 or flags & ~1:
        raise ValueError(f"{path} is no tokenised dataset of version 2 without labels")
    ids = numpy.frombuffer(data, "<i4", tokens, 72)
    place = 72 + (4 * tokens + 7) // 8 * 8
    mask = numpy.ones(tokens, bool)
    if flags & 1:
        size = (tokens + 7) // 8
        mask = numpy.unpackbits(numpy.frombuffer(data, "u1", size, place), bitorder="little")[:tokens].astype(bool)
        place += (size + 7) // 8 * 8
    starts = numpy.frombuffer(data, "<u8", count + 1, place).astype(int)
    sequences = []
    for low, high in zip(starts, starts[1:]):
        scored = mask[low:high].copy()
        scored[0] = False
        sequences.append((ids[low:high].tolist(), scored.tolist()))
    if sum(sum(scored) for _, scored in sequences) != targets:
        raise ValueError(f"{path}: the header promises {targets} targets")
    return sequences
