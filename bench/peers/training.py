"""What training is measured on: conversations made up from a seed, and a small model."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from peers.process import run

SEED = 7
WORDS = 2000  # different ones


@dataclass(frozen=True)
class Work:
    """Conversations of one exchange each, in steps of the same number."""

    steps: int
    batch: int
    least_words: int  # of an exchange
    most_words: int

    def write(self, path: Path) -> None:
        """As JSON lines in the OpenAI form. Half of a conversation's words are the answer."""
        made_up = random.Random(SEED)
        words = ["".join(made_up.choices("abcdefghijklmnopqrstuvwxyz", k=made_up.randint(2, 9))) for _ in range(WORDS)]

        def text(count: int) -> str:
            return " ".join(made_up.choices(words, k=count))

        with path.open("w") as out:
            for _ in range(self.steps * self.batch):
                half = made_up.randint(self.least_words, self.most_words) // 2
                turns = [("user", text(half)), ("assistant", text(half))]
                json.dump({"messages": [{"role": role, "content": content} for role, content in turns]}, out)
                out.write("\n")


# A word is some two or three of Qwen's tokens, so that a conversation has 48 to 512.
ADAPTER = Work(steps=2, batch=4, least_words=14, most_words=190)
WHOLE = Work(steps=12, batch=32, least_words=30, most_words=80)


def small_checkpoint(target: Path, wen: str, interpreter: str) -> None:
    """A Qwen3 of 10 million random weights, whose tokenizer Wen has trained."""
    target.mkdir()
    texts = target / "texts.jsonl"
    WHOLE.write(texts)
    run([wen, "tokenizer", "train", str(texts), "--vocab", "6144", "--out", str(target)])
    run([interpreter, str(Path(__file__).with_name("torch_training.py")), "write", str(target)])
    texts.unlink()
