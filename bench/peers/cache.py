"""What the benchmark makes once and keeps in the user's cache: an interpreter with PyTorch, checkpoints."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from peers.process import Failed, run

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wen" / "bench"
BENCH = Path(__file__).resolve().parent.parent
PACKAGES = ["numpy", "dashscope", "torch", "transformers", "sentencepiece", "peft"]
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"  # a tenth of the size of those with CUDA


def python(given: str | None) -> str:
    """An interpreter with all packages: the given one, this one, or one made in the cache."""
    if given:
        if missing := missing_packages(given):
            raise Failed(f"--python {given} lacks {', '.join(missing)}; install them there or leave the option out")
        return given
    if not missing_packages(sys.executable):
        return sys.executable
    made = CACHE / "venv" / "bin" / "python"
    if not made.exists() or missing_packages(str(made)):
        print(f"installing {', '.join(PACKAGES)} into {CACHE / 'venv'}", file=sys.stderr)
        run([sys.executable, "-m", "venv", str(CACHE / "venv")])
        reach = ["--retries", "1", "--timeout", "10"]  # where that index can't be reached, it is not waited for long
        run([str(made), "-m", "pip", "install", "--quiet", *reach, "--extra-index-url", CPU_WHEELS, *PACKAGES])
    return str(made)


def missing_packages(interpreter: str) -> list[str]:
    look = "import importlib.util, sys; print(*[name for name in sys.argv[1:] if not importlib.util.find_spec(name)])"
    return run([interpreter, "-c", look, *PACKAGES]).split()


def checkpoint(shape: str, interpreter: str) -> Path:
    """A checkpoint with random weights."""

    def write(target: Path) -> None:
        print(f"writing random weights of {shape}'s shape", file=sys.stderr)
        run([interpreter, str(BENCH / "random_checkpoint.py"), "--shape", shape, str(target)])

    return made_once(CACHE / "models" / shape, write)


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """`path`, made under another name first so that an interrupted run leaves nothing half done under its own."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"partial-{path.name}")
        make(partial)
        partial.rename(path)
    return path
