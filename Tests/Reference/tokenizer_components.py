#!/usr/bin/env python3
"""Writes Tests/Fixtures/tokenizers/components.jsonl: what the Hugging Face `tokenizers` package makes of small texts with
every component of the tokenizer.json format.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python tokenizer_components.py > ../Fixtures/tokenizers/components.jsonl

One line per tokenizer: {"name", "tokenizer": a whole tokenizer.json, "cases": [...]}. A case is a text or a pair with
special tokens or without, its ids, tokens, offsets and type ids, and the text decoded with and without special tokens.
Lines with "batch" hold one padded and truncated batch instead.
"""

import json
import sys

from tokenizers import Tokenizer

TEXTS = ["", " ", "Hello  world!", "don't do not, it 's a n't .", "naïve Ünïcode — “quotes”", "a\tb\r\nc\u00a0d\u3000e",
         "日本語のテキスト、カナ。Yes 漢字かな", "x½y ﬁ ① Å Ⅷ\u0301", "e\u0301 q\u0307\u0323 \uac01 각", "12 345 ٣٤ ½-Ⅳ", "zz\u0001\u200b\ufeff\u008fq",
         "the-final--countdown_x $5+3", "👍🏽👨‍👩‍👧 ok", "[CLS] a [MASK] b", "▁a ▁▁b", "ΑΣ İstanbul ẞ", " lead and trail  ", "Привет мир",
         "\u1b44a\u0301 \U0001d15e\u0323"]
PAIRS = [("Hello world", "it is"), ("a", "b c d e f g"), ("", "x")]
CHARACTERS = sorted(set("".join(TEXTS) + "abcdefghijklmnopqrstuvwxyz" + "".join(map(chr, range(33, 127)))) - {" "})
SPECIALS = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def added(names):
    return [{"id": SPECIALS.index(name), "content": name, "single_word": False, "lstrip": name == "[MASK]",
             "rstrip": False, "normalized": False, "special": True} for name in names]


def description(model, **parts):
    result = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added(SPECIALS), "normalizer": None,
              "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model}
    result.update(parts)
    return result


def vocabulary(tokens):
    return {token: number for number, token in enumerate(dict.fromkeys(SPECIALS + tokens))}


def characters(**options):
    """BPE without merges: shows exactly what normalisers and pre-tokenisers leave."""
    return {"type": "BPE", "unk_token": "[UNK]", "fuse_unk": False, "byte_fallback": False, "dropout": None,
            "continuing_subword_prefix": None, "end_of_word_suffix": None, "vocab": vocabulary(CHARACTERS + ["▁", " "]),
            "merges": [], **options}


def whole(**options):
    """Unknown pieces whole: shows the borders of pieces."""
    return {"type": "WordLevel", "vocab": vocabulary(["Hello", "world", "▁a", "ok", "."]), "unk_token": "[UNK]", **options}


WORDPIECE = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 12,
             "vocab": vocabulary(["hello", "world", "he", "##ll", "##o", "a", "b", "c", "##b", "##a", "##wn", "count", "##do",
                                  "##ive", "na", ",", ".", "!", "'", "it", "is", "s", "t", "n", "don", "do", "not", "##e", "e",
                                  "f", "g", "d", "語", "日", "-", "final", "the", "##"])}
UNIGRAM = {"type": "Unigram", "unk_id": 0,
           "vocab": [["[UNK]", 0.0], ["[CLS]", 0.0], ["[SEP]", 0.0], ["[MASK]", 0.0], ["▁", -2.0], ["▁he", -3.0], ["▁Hello", -6.5],
                     ["l", -4.0], ["o", -4.0], ["a", -3.5], ["b", -3.5], ["ab", -7.0], ["▁world", -5.0], ["H", -5.0],
                     ["e", -3.1], ["lo", -7.5], ["日本", -9.0], ["x", -8.0], ["½y", -8.5], ["É", -9.5], ["d", -4], ["▁a", -5.5],
                     ["zz", -60.0]]}
BYTES = {"type": "Unigram", "unk_id": 0, "byte_fallback": True,
         "vocab": UNIGRAM["vocab"] + [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]}


def components():
    for name in ["NFC", "NFD", "NFKC", "NFKD", "Nmt", "StripAccents", "Lowercase"]:
        yield "normalizer " + name, description(characters(), normalizer={"type": name})
    yield "normalizer ByteLevel", description(characters(), normalizer={"type": "ByteLevel"})
    yield "normalizer NFD StripAccents", description(characters(), normalizer={
        "type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]})
    yield "normalizer Prepend Strip Replace", description(characters(), normalizer={"type": "Sequence", "normalizers": [
        {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Replace", "pattern": {"Regex": "[a-c]{1,2}"}, "content": "xyz"},
        {"type": "Replace", "pattern": {"Regex": "d+"}, "content": ""}]})
    for clean, chinese, strip, lower in [(True, True, None, True), (True, True, None, False), (False, False, True, False),
                                         (True, False, False, True), (False, True, True, True)]:
        yield f"normalizer BertNormalizer {clean} {chinese} {strip} {lower}", description(characters(), normalizer={
            "type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip,
            "lowercase": lower})
    splitters = [{"type": "BertPreTokenizer"}, {"type": "CharDelimiterSplit", "delimiter": "-"}, {"type": "Whitespace"},
                 {"type": "WhitespaceSplit"}, {"type": "UnicodeScripts"}, {"type": "FixedLength", "length": 3},
                 {"type": "Digits", "individual_digits": True}, {"type": "Digits", "individual_digits": False}]
    splitters += [{"type": "Punctuation", "behavior": behavior} for behavior in
                  ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]]
    splitters += [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}
                  for scheme in ["always", "first", "never"] for split in [True, False]]
    splitters += [{"type": "Metaspace", "replacement": "▁", "add_prefix_space": True, "prepend_scheme": "always"}]
    splitters += [{"type": "Split", "pattern": {"Regex": "\\d+|[a-c]"}, "behavior": behavior, "invert": invert}
                  for behavior in ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
                  for invert in [False, True]]
    splitters += [{"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior":
                   "Isolated"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}]}]
    for splitter in splitters:
        yield "pre-tokenizer " + json.dumps(splitter), description(whole(), pre_tokenizer=splitter)
    yield "pre-tokenizer ByteLevel", description(characters(), pre_tokenizer={
        "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True})
    bert = {"normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                           "lowercase": True}, "pre_tokenizer": {"type": "BertPreTokenizer"}}
    for cleanup in [True, False]:
        yield f"WordPiece {cleanup}", description(WORDPIECE, **bert, decoder={
            "type": "WordPiece", "prefix": "##", "cleanup": cleanup}, post_processor={
            "type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]})
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    for name, model in [("Unigram", UNIGRAM), ("Unigram bytes", BYTES)]:
        yield name, description(model, pre_tokenizer=metaspace, decoder={"type": "Sequence", "decoders": [
            {"type": "ByteFallback"}, metaspace]}, post_processor={
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 3}}, {"Sequence": {"id": "B", "type_id": 1}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 2}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]},
                               "[CLS]": {"id": "[CLS]", "ids": [1, 3], "tokens": ["[CLS]", "[MASK]"]}}})
    yield "Unigram whole text", description(BYTES, decoder={"type": "ByteFallback"})
    yield "word ends", description(
        {**characters(end_of_word_suffix="</w>"),
         "vocab": vocabulary(CHARACTERS + [c + "</w>" for c in CHARACTERS] + ["He", "llo</w>", "ll"]),
         "merges": ["H e", "l l", "ll o</w>"]}, pre_tokenizer={"type": "WhitespaceSplit"},
        decoder={"type": "BPEDecoder", "suffix": "</w>"})
    byte = ["".join(chr(c) for c in [b if 33 <= b < 127 or 161 <= b < 173 or 174 <= b else 256 + n])
            for n, b in [(sum(1 for x in range(b) if not (33 <= x < 127 or 161 <= x < 173 or 174 <= x)), b) for b in range(256)]]
    for trim in [True, False]:
        for prefix in [True, False]:
            yield f"RobertaProcessing {trim} {prefix}", description(
                {**characters(unk_token=None), "vocab": vocabulary(byte + ["Ġw", "ĠĠ"]), "merges": ["Ġ w", "Ġ Ġ"]},
                pre_tokenizer={"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": True},
                decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
                post_processor={"type": "RobertaProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1], "trim_offsets": trim,
                                "add_prefix_space": prefix})
    for cleanup in [True, False]:
        yield f"CTC {cleanup}", description(characters(), decoder={
            "type": "CTC", "pad_token": "o", "word_delimiter_token": "|", "cleanup": cleanup})
    yield "decoders", description(characters(), decoder={"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "l"}, "content": " "}, {"type": "Fuse"},
        {"type": "Strip", "content": "e", "start": 1, "stop": 1}]})


def batches():
    texts = [("a b c d e f g", None), ("hello", "a b c"), ("a b c d e", "f g a b c d")]
    base = [part for name, part in components() if name == "WordPiece True"][0]
    for strategy in ["LongestFirst", "OnlyFirst"]:
        for side in ["Right", "Left"]:
            for padding in [{"Fixed": 12}, "BatchLongest"]:
                for length in [5, 8] if strategy == "LongestFirst" else [10]:
                    yield {**base, "truncation": {"direction": side, "max_length": length, "strategy": strategy, "stride": 0},
                           "padding": {"strategy": padding, "direction": side, "pad_to_multiple_of": 7, "pad_id": 3,
                                       "pad_type_id": 4, "pad_token": "[MASK]"}}, texts
    yield {**base, "truncation": {"direction": "Right", "max_length": 10, "strategy": "OnlySecond", "stride": 0}}, texts[1:]


def fields(encoding):
    return {"ids": encoding.ids, "tokens": encoding.tokens, "offsets": [list(pair) for pair in encoding.offsets],
            "type_ids": encoding.type_ids}


def main():
    for name, tokenizer in components():
        reference = Tokenizer.from_str(json.dumps(tokenizer))
        cases = []
        for special in [False, True]:
            inputs = [(text, None) for text in TEXTS] + PAIRS
            if special and tokenizer["post_processor"] is None:
                continue
            for first, second in inputs:
                try:
                    encoding = reference.encode(first, second, add_special_tokens=special)
                except BaseException:  # A panic of the package is no expectation.
                    continue
                case = {"text": first, "special": special, **fields(encoding)}
                if second is not None:
                    case["pair"] = second
                else:
                    del case["type_ids"]
                if encoding.ids and tokenizer["decoder"] is not None:
                    case["decoded"] = reference.decode(encoding.ids, skip_special_tokens=False)
                    case["plain"] = reference.decode(encoding.ids, skip_special_tokens=True)
                cases.append(case)
        print(json.dumps({"name": name, "tokenizer": tokenizer, "cases": cases}, ensure_ascii=False, separators=(",", ":")))
    for tokenizer, texts in batches():
        reference = Tokenizer.from_str(json.dumps(tokenizer))
        inputs = [text if pair is None else (text, pair) for text, pair in texts]
        encodings = reference.encode_batch(inputs, add_special_tokens=True)
        batch = [{"text": text, "pair": pair, **fields(encoding), "attention": encoding.attention_mask}
                 for (text, pair), encoding in zip(texts, encodings)]
        print(json.dumps({"name": "batch", "tokenizer": tokenizer, "batch": batch}, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
