"""Wen beside llama.cpp and transformers, on this machine, in one run.

    python3 bench/compare.py [--shape qwen3-0.6b] [--only prefill,decode] [--rounds 5] [--quick]

Builds or finds the peers, makes checkpoints with random weights, measures all engines in turn, and writes the readings
(JSON), a table (Markdown) and a chart (SVG) to bench/results. Nothing else should run meanwhile. Downloads packages and
the source of llama.cpp where they are missing, never weights. A run of some sections replaces theirs among the results
of the same day, processor and shape.
"""

import argparse
import json
import os
import platform
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path

from peers import cache, chart, llama_cpp, report
from peers.process import Failed
from peers.report import Readings
from peers.sections import PROBED, QUICK, SECTIONS, Bench, Engines, Sizes
from peers.shape import SHAPES
from peers.wen import Wen

WEN = cache.BENCH.parent / "target" / "release" / "wen"


def main() -> None:
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was started is stopped
    try:
        interpreter = cache.python(arguments.python)
        for shape in arguments.shape:
            compare(arguments, shape, interpreter)
    except Failed as error:
        sys.exit(str(error))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wen", default=str(WEN), help="the binary, built for release [%(default)s]")
    parser.add_argument("--python", help="an interpreter with torch, transformers, peft, sentencepiece, numpy and dashscope")
    parser.add_argument("--shape", type=names_of(SHAPES), default=list(SHAPES), help=f"of {','.join(SHAPES)} [all]")
    parser.add_argument("--only", type=names_of(SECTIONS), default=list(SECTIONS), help=f"of {','.join(SECTIONS)} [all]")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--quick", action="store_true", help="little of everything, to see whether it works")
    parser.add_argument("--results", type=Path, default=cache.BENCH / "results")
    arguments = parser.parse_args()
    if not os.access(arguments.wen, os.X_OK):
        parser.error(f"there is no program {arguments.wen}; run `cargo build --release`, or give --wen")
    return arguments


def names_of(known: dict) -> Callable[[str], list[str]]:
    def parse_names(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(known)}")
        return names

    return parse_names


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def compare(arguments: argparse.Namespace, shape: str, interpreter: str) -> None:
    """Measures the chosen sections with one shape; the results are written after each."""
    sizes = QUICK if arguments.quick else Sizes()
    checkpoint = cache.checkpoint(shape, interpreter)
    peer = llama_cpp.prepare(checkpoint, interpreter, arguments.threads)
    wen = Wen(arguments.wen, checkpoint, peer.models["int4"], arguments.threads)
    bench = Bench(SHAPES[shape], sizes, wen, peer, interpreter)
    today, machine = str(date.today()), f"{processor()}, {wen.probe()['isa']}"  # one name of a processor has many kinds
    name = f"{today}-{slug(machine)}-{shape}{'-quick' if arguments.quick else ''}"
    target = arguments.results / name
    sections = earlier(target)
    for section in arguments.only:
        print(f"{shape}: {section}", file=sys.stderr)
        probe = wen.probe if section in PROBED else None
        sections[section] = interleave(SECTIONS[section](bench), arguments.rounds, probe)
        write(target, today, machine, shape, arguments.threads, sizes, sections)
    print(target.with_name(f"{name}.md").read_text())


def interleave(engines: Engines, rounds: int, probe: Callable[[], dict[str, float]] | None) -> Readings:
    """Measures all engines in turn, again and again, so that a change of the machine's mood meets all of them."""
    readings = Readings({engine: {} for engine in engines}, [])
    for round_number in range(rounds):
        if probe:
            readings.probes.append(probe())
        for engine, measure in engines.items():
            metrics = measure(round_number)
            print(f"  {round_number + 1}/{rounds} {engine}: {metrics}", file=sys.stderr)
            for metric, value in metrics.items():
                readings.engines[engine].setdefault(metric, []).append(value)
    return readings


def earlier(target: Path) -> dict[str, Readings]:
    """The sections that a run of the same day has measured."""
    file = target.with_name(f"{target.name}.json")
    if not file.exists():
        return {}
    return {name: Readings(**readings) for name, readings in json.loads(file.read_text())["sections"].items()}


def write(
    target: Path, today: str, machine: str, shape: str, threads: int, sizes: Sizes, sections: dict[str, Readings]
) -> None:
    found = report.claims(sections, shape, SHAPES[shape], sizes)
    title = f"{shape}, {machine}, {threads} threads, {today}"
    raw = {
        "date": today,
        "processor": machine,
        "threads": threads,
        "llama_cpp_python": llama_cpp.VERSION,
        "shape": shape,
        "sizes": asdict(sizes),
        "sections": {name: asdict(readings) for name, readings in sections.items()},
    }
    preamble = [
        "Medians over the rounds, and in brackets the least and the most; ratios are of the same round. "
        f"llama.cpp is that of llama-cpp-python {llama_cpp.VERSION}, built for this processor.",
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    files = {
        "json": json.dumps(raw, indent=1) + "\n",
        "md": report.markdown(title, preamble, found),
        "svg": chart.svg(title, found),
    }
    for ending, content in files.items():
        target.with_name(f"{target.name}.{ending}").write_text(content)


def processor() -> str:
    match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return match.group(1) if match else platform.machine()


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


if __name__ == "__main__":
    main()
