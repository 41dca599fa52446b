#!/usr/bin/env python3
"""Compares `lorajobs tokenize` with the Hugging Face `tokenizers` package on generated text.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python tokenizers_diff.py --command .build/release/lorajobs TOKENIZER [TOKENIZER ...]

TOKENIZER is a tokenizer.json or a folder that holds one. The command is run as
`COMMAND tokenize --tokenizer TOKENIZER --decode [--special]` (with --bare: `COMMAND TOKENIZER [--special]`), gets JSON
lines {"text": ...} or {"text": ..., "pair": ...} and prints JSON lines {"ids": [...], "tokens": [...], "offsets": [[0, 2],
...], "decoded": ..., "type_ids": [...]}; what a line lacks of the last two is not compared.
Exits with 1 when anything differs. Not part of the Swift tests.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import unicodedata

from tokenizers import Tokenizer

SCRIPTS = [
    (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x17F), (0x370, 0x3FF), (0x400, 0x4FF), (0x590, 0x5FF), (0x600, 0x6FF),
    (0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF), (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1100, 0x11FF),
    (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x2100, 0x218F), (0x2190, 0x22FF),
    (0x2500, 0x25FF), (0x3040, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xADFF), (0xF900, 0xFAFF), (0xFB00, 0xFB4F),
    (0xFF00, 0xFFEF), (0x1D100, 0x1D1FF), (0x1D400, 0x1D4FF), (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF),
    (0x20000, 0x200FF), (0xE000, 0xE010), (0xE0020, 0xE007F), (0x300, 0x36F),
]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u00a0", "\u1680", "\u180e",
          "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\ufeff", " \n", "\n ", " \t \r\n "]
WORDS = ["the", "Hello", "don't", "I'LL", "we'Ve", "it's", "'\u017f", "x'\u017fy", "'D", "''s", "123", "4567890", "1.5e-3",
         "\u00bd", "\u2163", "\u0661\u0662\u0663\u0664", "naïve", "nai\u0308ve", "Ω", "\u2126", "ﬁ", "Straße", "ǅ", "İ",
         "日本語", "カﾞ", "한국어", "\u1112\u1161\u11ab", "नमस्ते", "ไทย", "مرحبا", "שלום", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "e\u0301\u0323",
         "a\u0323\u0301", "q\u0307\u0323", "\u0344", "\u0958", "\u212b", "\u1e9b\u0323", "🤗", "\x00", "\x01", "\x7f", "_", "__init__",
         "<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|eot_id|>", "<0x41>", "▁", "▁▁", "Ġ", "def f(x):",
         "https://example.com/a?b=c", "{\"k\": [1, 2]}", "!!!", "...", "—", "'", "\"", "\\", "//", "#", "$5", "<think>"]


MARKS = ["\u0301", "\u0308", "\u0323", "\u0327", "\u0345", "\u05b0", "\u0651", "\u093c", "\u094d", "\u11a8", "\u1b44", "\u200d",
         "\u20e3", "\u302f", "\u3099", "\ufe0f", "\U0001d165", "\U0001f3fd", "🚀", "🏻", "\u0f39", "\u1161"]


def texts(seed, count):
    rng = random.Random(seed)

    def character():
        low, high = rng.choice(SCRIPTS)
        return chr(rng.randint(low, high))

    def piece():
        kind = rng.random()
        if kind < 0.35:
            return rng.choice(WORDS)
        if kind < 0.6:
            return rng.choice(SPACES)
        low, high = rng.choice(SCRIPTS)
        if kind < 0.85:
            return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8)))
        if kind < 0.9:
            return rng.choice(WORDS + SPACES) * rng.randint(2, 12)
        if kind < 0.94:
            # Ill-formed UTF-8 as it comes out of a lenient reader.
            return bytes(rng.randint(0, 255) for _ in range(rng.randint(1, 6))).decode("utf-8", "replace")
        if kind < 0.97:
            # A base with marks of any order, or symbols joined to one cluster.
            marks = "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 5)))
            return rng.choice(["e", "a", "\u0915", "\uac00", "\u1112", "👩", "🏳", character()]) + marks
        return character()

    yield from ["", " ", "\n", "\x00", "a", "é", "🤗", "a" * 3000, " " * 500, "\n" * 300, "ab" * 2000, "1" * 1000,
                "🤗" * 300, "e" + "\u0301" * 200, "日" * 1000, "<s>" * 50, "'s" * 100, "\u0323\u0301" * 60]
    for word in WORDS + SPACES:
        yield from [word, " " + word, word + " ", word + word, "a" + word + "b", "1" + word + "\n"]
    for code in range(0x20, 0x3000, 7):
        yield f"a{chr(code)}b {chr(code)}c {chr(code)}1"
    while count > 0:
        count -= 1
        text = "".join(piece() for _ in range(rng.randint(1, 24)))
        kind = rng.random()
        if kind < 0.1:
            text = rng.choice(SPACES) + text + rng.choice(SPACES)
        elif kind < 0.12:
            # A long run without spaces.
            text = "".join(text.split()) * rng.randint(5, 60)
        yield text


def assigned_long_ago(text):
    """Whether every character is old enough for any two Unicode versions in use to agree on it."""
    return all(unicodedata.ucd_3_2_0.category(c) != "Cn" for c in text)


def first_difference(left, right):
    for index, (a, b) in enumerate(zip(left, right)):
        if a != b:
            return index
    return min(len(left), len(right))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("--command", required=True)
    parser.add_argument("--bare", action="store_true", help="call COMMAND TOKENIZER, without 'tokenize --tokenizer'")
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--show", type=int, default=5)
    options = parser.parse_args()
    sample = []
    for seed in options.seeds:
        generated = list(texts(seed, options.count))
        sample += [(text, None) for text in generated]
        sample += list(zip(generated[-200:], reversed(generated[-200:])))
    lines = "".join(
        json.dumps({"text": text} if pair is None else {"text": text, "pair": pair}) + "\n" for text, pair in sample)
    failed = False
    for path in options.tokenizers:
        file = os.path.join(path, "tokenizer.json") if os.path.isdir(path) else path
        reference = Tokenizer.from_file(file)
        reference.no_truncation()
        reference.no_padding()
        for special in (False, True):
            call = [options.command] + ([path] if options.bare else ["tokenize", "--decode", "--tokenizer", path])
            result = subprocess.run(call + (["--special"] if special else []), input=lines, text=True,
                                    capture_output=True)
            if result.returncode != 0:
                sys.exit(f"{path}: the command failed: {result.stderr}")
            answers = [json.loads(line) for line in result.stdout.split("\n") if line]
            if len(answers) != len(sample):
                sys.exit(f"{path}: {len(sample)} texts, {len(answers)} answers")
            different = recent = 0
            for (text, pair), answer in zip(sample, answers):
                expected = reference.encode(text, pair, add_special_tokens=special)
                wanted = {"ids": expected.ids, "tokens": expected.tokens,
                          "offsets": [list(pair) for pair in expected.offsets]}
                if "type_ids" in answer:
                    wanted["type_ids"] = expected.type_ids
                if "decoded" in answer and expected.ids:
                    wanted["decoded"] = reference.decode(expected.ids, skip_special_tokens=False)
                wrong = [key for key in wanted if wanted[key] != answer[key]]
                if not wrong:
                    continue
                if not assigned_long_ago(text):
                    recent += 1
                different += 1
                if different <= options.show:
                    at = min(first_difference(wanted[key], answer[key]) for key in wrong)
                    near = slice(max(0, at - 2), at + 6)
                    print(f"{path} special={special} {text!a:.200}\n   {', '.join(wrong)} differ at token {at}")
                    print(f"   expected {wanted['tokens'][near]} {wanted['offsets'][near]}")
                    print(f"   got      {answer['tokens'][near]} {answer['offsets'][near]}")
            print(f"{path} special={special}: {len(sample)} texts, {different} differ "
                  f"({recent} of them with characters newer than Unicode 3.2)")
            failed = failed or different > 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
