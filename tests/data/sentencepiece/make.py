"""Writes llama-bpe.json: a small SentencePiece BPE vocabulary in the manner of Llama 2, and what the library makes of texts.

    pip install sentencepiece==0.2.3
    python make.py
"""

import io
import json
import pathlib
import random

import sentencepiece

WORDS = "the river runs to sea and a mountain stands beside water which flows under stone bridges 北京 是 中国 的 首都 河流 流向 大海".split()
TEXTS = [
    "",
    " ",
    "the river",
    " the river",
    "The river runs  to the sea.",
    "a\nmountain\tstands",
    "北京是中国的首都。",
    "emoji 🌊 and é",
    "water" * 5,
    "x",
    "▁",
    "   three spaces before and after   ",
]


def main():
    choose = random.Random(0)
    lines = (" ".join(choose.choices(WORDS, k=8)) for _ in range(400))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(tokenizer.vocab_size())
    # llama.cpp's kinds: 1 normal, 2 unknown, 3 control, 6 byte
    kind = lambda id: 2 if tokenizer.is_unknown(id) else 3 if tokenizer.is_control(id) else 6 if tokenizer.is_byte(id) else 1
    content = {
        "tokens": [tokenizer.id_to_piece(id) for id in ids],
        "scores": [tokenizer.get_score(id) for id in ids],
        "token_type": [kind(id) for id in ids],
        "cases": [{"text": text, "ids": tokenizer.encode(text), "decoded": tokenizer.decode(tokenizer.encode(text))} for text in TEXTS],
    }
    path = pathlib.Path(__file__).with_name("llama-bpe.json")
    path.write_text(json.dumps(content, ensure_ascii=False, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
