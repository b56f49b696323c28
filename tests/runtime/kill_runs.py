"""Kill a run at moments spread evenly over its writing, resume it, and compare every byte with an undisturbed run.

    python -m tests.runtime.kill_runs build/kills --kills 100 --frames 2000
    python -m tests.runtime.kill_runs build/kills --kills 100 --frames 2000 --clip 15 --reject-below 0.6

With `--clip`, the frames make up clips of that many.

Prints one line a layout: kills, how many came while frames were written, and how many runs differed (which is a bug,
and exit status 1).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from runtime.generate import main as generate
from runtime.outputs.writer import FORMATS
from tests.fake_bundle import write_fake_bundle

FPS = 5


def digest(folder: Path) -> str:
    """Of names and contents of every file."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return found.hexdigest()


def command(bundle: Path, output: Path, layout: str, args: argparse.Namespace) -> list[str]:
    options = ["--backend", "cpu", "--batch", "16", "--format", layout]
    options += ["--reject-below", args.reject_below] if args.reject_below else []
    count = args.frames // (args.clip or 1)
    options += ["--clip", str(args.clip / FPS), "--fps", str(FPS)] if args.clip else []
    return [str(bundle), "-o", str(output), "-n", str(count), *options]


def start(command: list[str]) -> int:
    """The run in a process of its own, which has imported everything already."""
    sys.stdout.flush()
    if process := os.fork():
        return process
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        os._exit(generate(command))


def finish(command: list[str]) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(start(command), 0)[1])
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")


def writing_time(command: list[str], output: Path) -> float:
    """How long an undisturbed run writes, in seconds."""
    process = start(command)
    wait_for(output)
    started = time.monotonic()
    os.waitpid(process, 0)
    return time.monotonic() - started


def wait_for(output: Path) -> None:
    while not (output / "frames").exists():
        time.sleep(0.001)


def killed(command: list[str], output: Path, after: float) -> bool:
    """Kill the run so long after it begins to write; whether it was still at work."""
    process = start(command)
    wait_for(output)
    time.sleep(after)
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--format", nargs="+", choices=tuple(FORMATS), default=list(FORMATS))
    parser.add_argument("--clip", type=int, metavar="FRAMES")
    parser.add_argument("--reject-below", metavar="P")
    args = parser.parse_args()
    bundle, failures = args.output / "bundle", 0
    shutil.rmtree(args.output, ignore_errors=True)
    write_fake_bundle(bundle, annotator=True)
    import onnxruntime  # noqa: F401  # once, and not in every run

    for layout in args.format:
        whole, output = args.output / f"{layout}-whole", args.output / layout
        seconds = writing_time(command(bundle, whole, layout, args), whole)
        wanted, during, different = digest(whole), 0, 0
        for kill in range(args.kills):
            shutil.rmtree(output, ignore_errors=True)
            run = command(bundle, output, layout, args)
            during += killed(run, output, seconds * (kill + 0.5) / args.kills)
            finish(run)
            different += digest(output) != wanted
        print(f"{layout}: {args.kills} kills, {during} of them while it wrote, {different} different", flush=True)
        failures += different
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
