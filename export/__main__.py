"""Turn a trained checkpoint into a bundle that the runtime draws frames from.

python -m export checkpoints/cabin64.pt -o bundle
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from contract.bundle import Manifest
from contract.errors import Unavailable, UsageError, run_command

PROGRAM = "python -m export"

EXAMPLES = """examples:
  python -m export checkpoints/cabin64.pt -o bundle
  python -m export doc.pt --arch document --schema document --image-size 64 --steps 10 -o bundle
"""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; UsageError where it is wrong."""
    layout = argparse.RawDescriptionHelpFormatter
    description = (__doc__ or "").partition("\n")[0]
    parser = Parser(PROGRAM, description=description, epilog=EXAMPLES, formatter_class=layout, allow_abbrev=False)
    add = parser.add_argument
    add("checkpoint", metavar="CKPT.pt", help="a trained checkpoint, or a bare state dict")
    add("-o", "--output", default="bundle", metavar="FOLDER", help="the bundle to write or replace (bundle)")
    add("--steps", type=int, metavar="N", help="sampling steps (the checkpoint's default)")
    add("--guidance", type=float, metavar="G", help="guidance scale, 1 is none (the checkpoint's default)")
    add("--precision", nargs="+", choices=["fp32"], default=["fp32"], help="step graphs to write (fp32)")
    add("--verify", choices=["quick", "full"], default="quick", help="32 or 256 conditions against torch (quick)")
    add("--arch", choices=["document", "edge"], help="network of a bare state dict")
    add("--schema", metavar="NAME", help="condition schema of a bare state dict: document")
    add("--image-size", type=int, metavar="N", help="height and width in pixels, for a bare state dict")
    add("--json", action="store_true", help="report for machines")
    return parser.parse_args(argv)


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
        lines.append(
            f"  {name}: differs from torch by at most {parity['measured']} of 255"
            f" over {parity['conditions']} conditions (tolerance {parity['tolerance']})"
        )
    return "\n".join([*lines, f"next: python -m runtime.generate {folder} -n 16"])


if __name__ == "__main__":
    sys.exit(main())
