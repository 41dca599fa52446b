#!/usr/bin/env python3
"""Renders the chat fixtures with transformers, and compares with (or writes) what the Swift tests expect.

    python chat_templates.py [--data FOLDER] [--write]

Inputs under Tests/Fixtures/chat: `snippets.json` (small templates), `conversations.json` (conversations and the special
tokens), `templates/*.jinja` (templates made for these tests), `named/*` (folders with templates for several uses). The
models' own templates are looked for under FOLDER/tokenizers (by default $LORAJOBS_TEST_DATA, else ../shared/data); they are
not ours, so of what they render only a digest is kept. Expectations: `snippets.expected.json`, `conversations.expected.json`. Without --write, exits with 1 when
the installed transformers renders anything differently. The Swift tests compare the same expectations with our renderer.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import _compile_jinja_template, render_jinja_template

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "Tests/Fixtures/chat"


def snippets():
    fixture = json.loads((FIXTURES / "snippets.json").read_text(encoding="utf-8"))
    results = []
    for template in fixture["snippets"]:
        try:
            results.append({"output": _compile_jinja_template(template).render(**fixture["variables"])})
        except Exception as error:
            results.append({"error": type(error).__name__})
    return results


def tokenizers(data, special):
    """Every template, on a tokenizer that has it."""
    for path in sorted((FIXTURES / "templates").glob("*.jinja")):
        yield f"fixture/{path.stem}", empty_tokenizer(path, special)
    for path in sorted((FIXTURES / "named").iterdir()):
        yield f"named/{path.name}", named_tokenizer(path)
    for path in sorted(data.glob("tokenizers/chat-templates/*.jinja")):
        yield f"chat-templates/{path.stem}", empty_tokenizer(path, special)
    for path in sorted(data.glob("tokenizers/*/tokenizer_config.json")):
        if "chat_template" in json.loads(path.read_text(encoding="utf-8")):
            yield f"tokenizers/{path.parent.name}", AutoTokenizer.from_pretrained(path.parent)


def empty_tokenizer(path, special):
    """A tokenizer without a vocabulary, saved with the template and loaded again, as a model's folder is."""
    with tempfile.TemporaryDirectory() as folder:
        PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **special).save_pretrained(folder)
        (Path(folder) / "chat_template.jinja").write_bytes(path.read_bytes())
        return AutoTokenizer.from_pretrained(folder)


def named_tokenizer(path):
    """The folder, completed by a vocabulary without tokens."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(path, folder, dirs_exist_ok=True)
        Tokenizer(models.BPE()).save(str(Path(folder) / "tokenizer.json"))
        return AutoTokenizer.from_pretrained(folder)


def render(name, tokenizer, conversation):
    # A template for tools fails without a list of them.
    arguments = {
        "tools": conversation.get("tools", [] if "tool_use" in name else None),
        "documents": conversation.get("documents"),
        "add_generation_prompt": conversation.get("add_generation_prompt", False),
        **conversation.get("variables", {}),
    }
    try:
        text = tokenizer.apply_chat_template(conversation["messages"], tokenize=False, **arguments)
    except Exception as error:
        return None, {"error": type(error).__name__}
    result = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "length": len(text)}
    if isinstance(tokenizer.chat_template, str) and "{%- generation" in tokenizer.chat_template:
        messages = [{k: v for k, v in m.items() if v is not None} for m in conversation["messages"]]
        variables = {**tokenizer.special_tokens_map, **arguments}
        _, spans = render_jinja_template(
            conversations=[messages], chat_template=tokenizer.chat_template, return_assistant_tokens_mask=True,
            **variables)
        result["generated"] = [list(span) for span in spans[0]]
    return text, result


def conversations(data):
    fixture = json.loads((FIXTURES / "conversations.json").read_text(encoding="utf-8"))
    results, texts = {}, {}
    for name, tokenizer in tokenizers(data, fixture["special_tokens"]):
        rendered = [render(name, tokenizer, conversation) for conversation in fixture["conversations"]]
        results[name] = [result for _, result in rendered]
        texts[name] = [text for text, _ in rendered]
    return results, texts, [conversation["name"] for conversation in fixture["conversations"]]


def write(path, lines_of):
    """JSON with one result on a line, so that a change is a line of a diff."""
    if isinstance(lines_of, list):
        body = "[\n" + ",\n".join(json.dumps(item) for item in lines_of) + "\n]\n"
    else:
        body = "{\n" + ",\n".join(
            json.dumps(key) + ": [\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"
            for key, items in lines_of.items()) + "\n}\n"
    path.write_text(body, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=os.environ.get("LORAJOBS_TEST_DATA") or ROOT.parent / "shared/data")
    parser.add_argument("--write", action="store_true", help="write the expectations instead of comparing")
    parser.add_argument("--texts", help="also write what the models' templates render, to this folder, to look at")
    arguments = parser.parse_args()

    small = snippets()
    large, texts, names = conversations(Path(arguments.data))
    if arguments.texts:
        for template, rendered in texts.items():
            for name, text in zip(names, rendered):
                path = Path(arguments.texts) / template / f"{name}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("*** ERROR ***" if text is None else text, encoding="utf-8", newline="")
    if arguments.write:
        if not (Path(arguments.data) / "tokenizers").is_dir():
            sys.exit(f"{arguments.data} does not hold the models' templates; their digests would be lost")
        write(FIXTURES / "snippets.expected.json", small)
        write(FIXTURES / "conversations.expected.json", large)
        return 0

    failures = 0
    expected = json.loads((FIXTURES / "snippets.expected.json").read_text(encoding="utf-8"))
    for template, want, have in zip(json.loads((FIXTURES / "snippets.json").read_text())["snippets"], expected, small):
        if want != have:
            failures += 1
            print(f"snippet {template!r}: expected {want}, transformers gives {have}")
    failures += len(expected) != len(small)
    expected = json.loads((FIXTURES / "conversations.expected.json").read_text(encoding="utf-8"))
    for template, results in large.items():
        for name, want, have in zip(names, expected.get(template, [None] * len(names)), results):
            if want != have:
                failures += 1
                print(f"{template}, {name!r}: expected {want}, transformers gives {have}")
    skipped = sorted(set(expected) - set(large))
    if skipped:
        print(f"*** SKIPPED *** templates that are not under {arguments.data}: {', '.join(skipped)}")
    print(f"chat templates: {len(small)} snippets, {len(large)} templates with {len(names)} conversations each, "
          f"{failures} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
