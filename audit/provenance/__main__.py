"""Do files say, so that a machine can read it, that they are synthetic?

    python -m audit.provenance build/frames
    python -m audit.provenance --signed --json delivery/*.png

Two marks are read back: the IPTC digital source type in XMP, which every frame has to carry, and the C2PA manifest of
frames that were signed. Exit status 1 where a file lacks the first, has a manifest that doesn't hold, or, with
`--signed`, has none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from audit.provenance.check import ProvenanceReport, check, find_files
from contract.cli import Parser
from contract.errors import EdgeError, run_command
from contract.progress import progress_bar

PROGRAM = "python -m audit.provenance"
SHOWN = 10
"""File names that are printed of each kind; `--json` has them all."""

EXAMPLES = f"""examples:
  {PROGRAM} build/frames
  {PROGRAM} --signed --json delivery/*.png"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog=PROGRAM, description="Which files say that they are synthetic?", epilog=EXAMPLES)
    parser.add_argument("inputs", type=Path, nargs="+", metavar="FILE_OR_DATASET", help="images, datasets, folders")
    parser.add_argument("--signed", action="store_true", help="require a C2PA manifest of every file")
    parser.add_argument("--json", action="store_true", help="print all that was found as one JSON object")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    files = progress_bar(find_files(args.inputs), unit="file", leave=False)
    report = check(files, args.signed)
    print(json.dumps(report.to_dict()) if args.json else as_text(report))
    lacking = [f"{len(report.unmarked)} lack the IPTC mark"] * bool(report.unmarked)
    lacking += [f"{len(report.unsigned)} lack a manifest"] * bool(args.signed and report.unsigned)
    lacking += [f"{len(report.invalid)} don't hold"] * bool(report.invalid)
    if lacking:
        raise EdgeError(f"of {report.files} files {', '.join(lacking)}")
    return 0


def as_text(report: ProvenanceReport) -> str:
    """Counts, then the first names of what is missing."""
    lines = [f"{report.files} files, {report.marked} marked as synthetic (IPTC, in XMP)"]
    lines += [f"  {count} x {mark}" for mark, count in report.marks.most_common()]
    if report.manifests_unread:
        lines.append(f"C2PA manifests weren't looked at: {report.manifests_unread}")
    else:
        lines.append(f"{report.signed} with a valid C2PA manifest, {report.trusted} of them by a trusted signer")
        lines += [f"  {count} x {signer}" for signer, count in report.signers.most_common()]
    lines += _names("without the mark", report.unmarked)
    if 0 < len(report.unsigned) < report.files:
        lines += _names("without a manifest", report.unsigned)
    return "\n".join(lines + _names("not valid", [f"{name}: {why}" for name, why in report.invalid.items()]))


def _names(title: str, names: Sequence[str]) -> list[str]:
    more = [f"  and {len(names) - SHOWN} more (--json lists all)"] * (len(names) > SHOWN)
    return [f"{title}:", *(f"  {name}" for name in names[:SHOWN]), *more] if names else []


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.provenance", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
