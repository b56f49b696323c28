"""Turn a trained checkpoint into a bundle that the runtime draws frames from.

python -m export checkpoints/cabin128.pt -o bundle
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
from export.options import add_checkpoint_options, given_flags
from export.parity import describe
from export.precisions import PRECISIONS

PROGRAM = "export"

EXAMPLES = """examples:
  python -m export checkpoints/cabin128.pt -o bundle
  python -m export doc.pt --schema document --image-size 64 --steps 10 -o bundle
  python -m export last.ckpt --inspect
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; UsageError where it is wrong."""
    parser = Parser(prog=f"python -m {PROGRAM}", description=(__doc__ or "").partition("\n")[0], epilog=EXAMPLES)
    add = parser.add_argument
    add("checkpoint", metavar="CKPT", help="a trained checkpoint, or a file or folder of other software")
    add("-o", "--output", default="bundle", metavar="FOLDER", help="the bundle to write or replace (bundle)")
    add("--precision", nargs="+", choices=PRECISIONS, default=["fp32"], help="step graphs to write (fp32)")
    add("--trajectory", action="store_true", help="also write all steps as one graph, for any ONNX consumer")
    add("--inspect", action="store_true", help="say what the checkpoint holds, and export nothing")
    add_checkpoint_options(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Read, export, verify, report."""
    try:
        from export.bundle_writer import write_bundle  # torch takes seconds to import, --help shouldn't
        from export.sampler import choose_sampler
        from models.checkpoint import read_checkpoint
        from models.contents import describe_checkpoint
        from models.importers.given import Given
    except ModuleNotFoundError as error:
        raise Unavailable(f"{error.name} isn't installed; run: pip install '.[cpu,export]'") from error

    given = Given(**given_flags(args))
    if args.inspect:
        found = describe_checkpoint(args.checkpoint, given)
        print(json.dumps(found) if args.json else _lines(found))
        return 0
    checkpoint = read_checkpoint(args.checkpoint, given)
    sampler = choose_sampler(checkpoint, args.steps, args.guidance, args.shift)
    precisions = list(dict.fromkeys(args.precision))
    manifest = write_bundle(checkpoint, args.output, sampler, precisions, args.verify, args.trajectory)
    report = {"bundle": args.output, "steps": sampler.steps, "guidance": sampler.guidance, "parity": manifest.parity}
    report["assumed"] = dict(checkpoint.assumed)
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
    lines += [f"  assumed {name.replace('_', ' ')}: {what}" for name, what in manifest.source["assumed"].items()]
    for name, parity in manifest.parity.items():
        lines.append(f"  {name}: {describe(parity)}")
    return "\n".join([*lines, f"next: python -m runtime.generate {folder} -n 16"])


def _lines(values: Mapping[str, Any], indent: str = "") -> str:
    """Nested values, one a line."""
    lines = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}:", _lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {'nothing' if value in (None, {}) else value}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
