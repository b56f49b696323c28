"""Turn a trained checkpoint into a bundle that the runtime draws frames from.

python -m export checkpoints/cabin64.pt -o bundle
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from contract.bundle import Manifest
from contract.cli import Parser
from contract.errors import Unavailable, run_command
from export.precisions import PRECISIONS

PROGRAM = "export"

EXAMPLES = """examples:
  python -m export checkpoints/cabin64.pt -o bundle
  python -m export doc.pt --arch document --schema document --image-size 64 --steps 10 -o bundle
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; UsageError where it is wrong."""
    parser = Parser(prog=f"python -m {PROGRAM}", description=(__doc__ or "").partition("\n")[0], epilog=EXAMPLES)
    add = parser.add_argument
    add("checkpoint", metavar="CKPT.pt", help="a trained checkpoint, or a bare state dict")
    add("-o", "--output", default="bundle", metavar="FOLDER", help="the bundle to write or replace (bundle)")
    add("--precision", nargs="+", choices=PRECISIONS, default=["fp32"], help="step graphs to write (fp32)")
    add_checkpoint_options(parser)
    return parser.parse_args(argv)


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """What can be said about a checkpoint and its export; `python -m export.trt` takes the same."""
    add = parser.add_argument
    add("--steps", type=int, metavar="N", help="sampling steps (the checkpoint's default)")
    add("--guidance", type=float, metavar="G", help="guidance scale, 1 is none (the checkpoint's default)")
    add("--verify", choices=["quick", "full"], default="quick", help="32 or 256 conditions against torch (quick)")
    add("--arch", choices=["document", "edge"], help="network of a bare state dict")
    add("--schema", metavar="NAME", help="condition schema of a bare state dict: document")
    add("--image-size", type=int, metavar="N", help="height and width in pixels, for a bare state dict")
    add("--json", action="store_true", help="report for machines")


def run(args: argparse.Namespace) -> int:
    """Read, export, verify, report."""
    try:
        from export.bundle_writer import write_bundle  # torch takes seconds to import, --help shouldn't
        from export.sampler import choose_sampler
        from models.checkpoint import read_checkpoint
    except ModuleNotFoundError as error:
        raise Unavailable(f"{error.name} isn't installed; run: pip install '.[cpu,export]'") from error

    checkpoint = read_checkpoint(args.checkpoint, args.arch, args.schema, args.image_size)
    sampler = choose_sampler(checkpoint, args.steps, args.guidance)
    manifest = write_bundle(checkpoint, args.output, sampler, list(dict.fromkeys(args.precision)), args.verify)
    report = {"bundle": args.output, "steps": sampler.steps, "guidance": sampler.guidance, "parity": manifest.parity}
    print(json.dumps(report) if args.json else _text(args.output, manifest))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROGRAM, lambda: run(parse_args(argv)))


def _text(folder: str, manifest: Manifest) -> str:
    sampler, image = manifest.sampler, manifest.image
    lines = [
        f"{folder}: {image.width} x {image.height} pixels, schema {manifest.schema.name}, {sampler.steps} steps,"
        f" guidance {sampler.guidance:g}"
    ]
    for name, parity in manifest.parity.items():
        lines.append(f"  {name}: {told(parity)}")
    return "\n".join([*lines, f"next: python -m runtime.generate {folder} -n 16"])


def told(parity: Mapping[str, Any]) -> str:
    """A parity entry of the manifest in words."""
    if "measured" not in parity:
        return f"not verified: {parity['reason']}"
    gate = f"{parity['metric']} {parity['measured']:.4g} (gate {parity['tolerance']:g})"
    return f"{gate} against torch, {parity['conditions']} conditions{', emulated' * bool(parity.get('emulated'))}"


if __name__ == "__main__":
    sys.exit(main())
