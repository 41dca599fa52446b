#!/usr/bin/env python3
"""Makes Tests/Fixtures/metrics/vectors.json: texts, references, and what sacreBLEU and rouge-score make of them.

    pip install sacrebleu==2.6.0 rouge-score==0.1.2 scikit-learn
    python metric_vectors.py [OUTFILE]

`pairs` holds one text and one reference each, with sentence values; `corpora` lists of pairs with corpus values; `words`
lines as sacreBLEU's tokenisation 13a cuts them; `tables` classes with scikit-learn's values.
"""

import json
import random
import sys
from pathlib import Path

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "Fixtures/metrics/vectors.json"

PAIRS = [
    ("The invoice was sent on Monday.", "The invoice was sent on Monday."),
    ("The invoice was sent on Tuesday.", "The invoice was sent on Monday."),
    ("Please restart the router, then wait two minutes.", "Restart the router and wait for two minutes, please."),
    ("", "An empty answer is an answer."),
    ("yes", "yes"),
    ("no", "yes"),
    ("It costs 1,299.50 euros (incl. 19% VAT).", "It costs 1,299.50 EUR, incl. VAT (19%)."),
    ("a-b-c 2020-05-17 x-ray", "a-b-c 2020-05-17 x ray"),
    ("Fish &amp; chips &quot;to go&quot; for &lt;5 pounds", 'Fish & chips "to go" for <5 pounds'),
    ("Die Größe der Tür beträgt 2,10 m.", "Die Tür ist 2,10 m hoch."),
    ("naïve café, crème brûlée", "naive cafe, creme brulee"),
    ("一二三四五六七", "一二三五六七"),
    ("первый второй третий", "второй первый третий"),
    ("well... that's it!!! isn't it?", "Well, that is it, is it not?"),
    ("line one\nline two", "line one line two"),
    ("broken-\nword <skipped> here ", "brokenword here"),
    ("the the the the the the the", "the cat is on the mat"),
    ("The mat has a cat on it", "the cat is on the mat"),
    ("tabs\tand\u00a0no-break  spaces", "tabs and no-break spaces"),
    ("3.14 is .5 more than 2.64, roughly 3.", "3.14 is 0.5 more than 2.64 , roughly 3 ."),
    ("{json: [1, 2], \"k\": 'v'} ~ done_now @home #1 $5 100% a/b", "{json: [1,2], k: 'v'}~ done_now @ home #1 $ 5 100 % a / b"),
    ("running runners ran", "run runner running"),
    ("İstanbul'da KALDIM", "istanbulda kaldım"),
    ("e\u0301tude", "\u00e9tude"),
]

CORPORA = [list(range(len(PAIRS))), [0, 1, 2], [4, 5], [5], [3], [16, 17], [6, 7, 8, 9, 10], [12, 13, 19, 20], [1] * 7 + [2]]


def tables():
    generator = random.Random(7)
    yield [0, 1, 1, 0], [0, 1, 1, 0], 2
    yield [0, 0, 0, 0], [0, 0, 0, 0], 2
    yield [0, 0, 1, 1], [1, 1, 1, 1], 2
    yield [0, 1, 2, 2, 1], [0, 2, 1, 2, 1], 4
    for classes in (2, 3, 7):
        labels = [generator.randrange(classes) for _ in range(60)]
        yield labels, [label if generator.random() < 0.7 else generator.randrange(classes) for label in labels], classes


def main():
    bleu, chrf, rouge = BLEU(force=True), CHRF(), RougeScorer(["rouge1", "rouge2", "rougeL"])

    def corpus(indices):
        texts, references = [PAIRS[i][0] for i in indices], [PAIRS[i][1] for i in indices]
        scores = [rouge.score(reference, text) for text, reference in zip(texts, references)]
        values = {name: sum(s[name].fmeasure for s in scores) / len(scores) for name in ("rouge1", "rouge2", "rougeL")}
        values["bleu"] = bleu.corpus_score(texts, [references]).score
        values["chrf"] = chrf.corpus_score(texts, [references]).score
        return values

    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, matthews_corrcoef

    tokenizer = Tokenizer13a()
    result = {
        "pairs": [{"text": t, "reference": r, "values": corpus([i])} for i, (t, r) in enumerate(PAIRS)],
        "corpora": [{"pairs": indices, "values": corpus(indices)} for indices in CORPORA],
        "words": [{"text": t, "words": tokenizer(t.rstrip()).split()} for pair in PAIRS for t in pair],
        "tables": [
            {
                "labels": labels, "predictions": predictions, "classes": classes,
                "accuracy": accuracy_score(labels, predictions),
                "macro_f1": f1_score(labels, predictions, average="macro", zero_division=0),
                "mcc": matthews_corrcoef(labels, predictions),
                "confusion": confusion_matrix(labels, predictions, labels=list(range(classes))).tolist(),
            }
            for labels, predictions, classes in tables()
        ],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


main()
