#!/usr/bin/env python3
"""Compares `lorajobs tokenize` with the Hugging Face `tokenizers` package on generated text.

    make test-peft        or        python Tests/Reference/tokenizers_diff.py --program .build/release/lorajobs [TOKENIZER ...]

TOKENIZER is a folder that holds a tokenizer.json; by default every such folder under FOLDER/tokenizers and FOLDER/models,
where FOLDER is LORAJOBS_TEST_DATA (default: ../shared/data). Texts are of many scripts, with emoji, marks, ill-formed
UTF-8 replaced, white space of every kind at every place, added tokens, and runs of 100,000 characters without a space;
one text or a pair, with special tokens and without. Compared are ids, tokens, offsets, type ids and the text decoded. Then
batches under several settings of truncation and padding, with the attention mask. The same for a tokenizer that
`lorajobs tokenize train` learns from these texts, which must be the one that the package learns. Exits with 1 when
anything differs.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

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
    yield from ["ab" * 50_000, "日本語" * 20_000, "-" * 100_000, "".join(rng.choices("abcdefgh", k=100_000))]
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


def first_difference(left, right):
    for index, (a, b) in enumerate(zip(left, right)):
        if a != b:
            return index
    return min(len(left), len(right))


def settings(rng):
    """Truncation and padding as a tokenizer.json holds them, all kinds in turn."""
    for number in range(10):
        truncation = None if number == 9 else {
            "direction": rng.choice(["Left", "Right"]), "max_length": rng.choice([8, 13, 32, 64, 512]),
            "strategy": ["LongestFirst", "OnlyFirst", "LongestFirst"][number % 3], "stride": rng.choice([0, 0, 2])}
        padding = None if number == 8 else {
            "strategy": rng.choice(["BatchLongest", {"Fixed": rng.choice([5, 40])}]),
            "direction": rng.choice(["Left", "Right"]), "pad_to_multiple_of": rng.choice([None, 8]),
            "pad_id": rng.randrange(10), "pad_type_id": rng.choice([0, 1]), "pad_token": "<pad>"}
        yield truncation, padding


class Comparison:
    """One tokenizer, here and there."""

    def __init__(self, program, folder, shown):
        self.program = program
        self.folder = pathlib.Path(folder)
        self.shown = shown
        self.texts = self.batches = self.different = 0

    def answers(self, tokenizer, sample, *flags):
        lines = "".join(
            json.dumps({"text": text} if pair is None else {"text": text, "pair": pair}) + "\n" for text, pair in sample)
        result = subprocess.run([self.program, "tokenize", "--tokenizer", tokenizer, *flags], input=lines, text=True,
                                capture_output=True)
        if result.returncode != 0:
            sys.exit(f"{tokenizer}: lorajobs failed: {result.stderr}")
        found = [json.loads(line) for line in result.stdout.split("\n") if line]
        if len(found) != len(sample):
            sys.exit(f"{tokenizer}: {len(sample)} texts, {len(found)} answers")
        return found

    def compare(self, label, text, expected, answer, **more):
        wanted = {"ids": expected.ids, "tokens": expected.tokens, "offsets": [list(pair) for pair in expected.offsets],
                  "type_ids": expected.type_ids, "attention_mask": expected.attention_mask, **more}
        wrong = [key for key in answer if wanted[key] != answer[key]]
        if not wrong:
            return
        self.different += 1
        if self.different <= self.shown:
            at = min(first_difference(wanted[key], answer[key]) for key in wrong)
            near = slice(max(0, at - 2), at + 6)
            print(f"{self.folder.name} {label} {text!a:.200}\n   {', '.join(wrong)} differ at token {at}")
            print(f"   expected {wanted['tokens'][near]} {wanted['offsets'][near]}")
            print(f"   got      {answer['tokens'][near]} {answer['offsets'][near]}")

    def plain(self, sample):
        reference = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        reference.no_truncation()
        reference.no_padding()
        for special in (False, True):
            flags = ["--special"] if special else []
            for (text, pair), answer in zip(sample, self.answers(self.folder, sample, "--decode", *flags)):
                expected = reference.encode(text, pair, add_special_tokens=special)
                self.compare(f"special={special}", text, expected, answer,
                             decoded=reference.decode(expected.ids, skip_special_tokens=False))
                self.texts += 1

    def lengths(self, sample, rng):
        """Batches under settings written into copies of the file."""
        description = json.loads((self.folder / "tokenizer.json").read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as scratch:
            file = pathlib.Path(scratch) / "tokenizer.json"
            for truncation, padding in settings(rng):
                description.update(truncation=truncation, padding=padding)
                file.write_text(json.dumps(description), encoding="utf-8")
                reference = Tokenizer.from_file(str(file))
                batch = rng.sample(sample, 40)
                # The package refuses to cut a first text that is shorter than what must go.
                if truncation and truncation["strategy"] == "OnlyFirst":
                    batch = [(text, None) for text, _ in batch]
                inputs = [text if pair is None else (text, pair) for text, pair in batch]
                label = f"truncation={truncation} padding={padding}"
                for (text, _), expected, answer in zip(
                        batch, reference.encode_batch(inputs), self.answers(file, batch, "--special", "--batch")):
                    self.compare(label, text, expected, answer)
                self.batches += 1


def trained(program, folder, sample):
    """A tokenizer that lorajobs learns from the texts, which must be the one that the package learns."""
    text = "\n".join(text for text, _ in sample)
    file = pathlib.Path(folder) / "text.txt"
    file.write_text(text, encoding="utf-8", newline="")
    learnt = pathlib.Path(folder) / "trained-here"
    result = subprocess.run([program, "tokenize", "train", file, "--vocab-size", "1000", "--out", learnt], text=True,
                            capture_output=True)
    if result.returncode != 0:
        sys.exit(f"lorajobs tokenize train failed: {result.stderr}")
    reference = Tokenizer(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=1000, min_frequency=2, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    wanted = json.loads(reference.to_str())["model"]
    found = json.loads((learnt / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    same = all(found[key] == wanted[key] for key in ("vocab", "merges"))
    print(f"trained here: {len(found['vocab'])} tokens, {'equal to' if same else '*** NOT those of'} the package's")
    return learnt, same


def folders():
    data = os.environ.get("LORAJOBS_TEST_DATA") or pathlib.Path(__file__).resolve().parents[3] / "shared/data"
    found = sorted(file.parent for kind in ("tokenizers", "models")
                   for file in pathlib.Path(data).glob(f"{kind}/*/tokenizer.json"))
    if not found:
        print(f"*** SKIPPED *** no tokenizers under {data}; set LORAJOBS_TEST_DATA to the folder that holds them")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokenizers", nargs="*")
    parser.add_argument("--program", required=True, help="the built lorajobs")
    parser.add_argument("--count", type=int, default=1500, help="random texts beside the fixed ones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--show", type=int, default=5, help="differences printed for each tokenizer")
    options = parser.parse_args()
    sample = []
    for seed in options.seeds:
        generated = list(texts(seed, options.count))
        sample += [(text, None) for text in generated]
        sample += list(zip(generated[-200:], reversed(generated[-200:])))
    short = [(text, pair) for text, pair in sample if len(text) < 2000]
    with tempfile.TemporaryDirectory() as scratch:
        learnt, same = trained(options.program, scratch, short)
        failed = not same
        for folder in [learnt, *(options.tokenizers or folders())]:
            comparison = Comparison(options.program, folder, options.show)
            comparison.plain(sample)
            comparison.lengths(short, random.Random(options.seeds[0]))
            print(f"{comparison.folder.name}: {comparison.texts} encodings and {comparison.batches} batches, "
                  f"{comparison.different} differ", flush=True)
            failed = failed or comparison.different > 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
