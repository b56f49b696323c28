"""How much does a model, a bundle or a data set give away about the frames and drivers that it was made from?

    python -m audit.privacy checkpoints/cabin128-teacher.pt --members build/train --non-members build/held-out
    python -m audit.privacy build/frames --members build/train --non-members build/held-out      # a data set alone
    python -m audit.privacy --self-test                                                          # can it find a leak?

Members are frames that were trained on, non-members frames of other drivers from the same distribution. The output
folder holds `privacy.json`, `privacy.html` and `copies.png`, the generated frames nearest to members. It keeps what was
drawn and measured as well, so that the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audit.privacy.audit import Audit, Targets, audit
from audit.privacy.evidence import Evidence, read_evidence
from audit.privacy.options import add_evidence_flags
from audit.privacy.report import to_html, to_report, to_text
from audit.privacy.targets import open_targets
from contract.cli import Parser, integer
from contract.errors import Unavailable, UsageError, run_command
from contract.files import write_whole
from pictures.image_grid import draw_page, write_image

PROGRAM = "python -m audit.privacy"
EXAMPLES = f"""examples:
  {PROGRAM} teacher.pt --members build/train --non-members build/held-out --shadows build/shadows --json
  {PROGRAM} build/bundle --members build/train --non-members build/held-out --fail-above 0.2
  {PROGRAM} build/frames --members build/train --non-members build/held-out
  {PROGRAM} --self-test --json"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    given = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(
        prog=PROGRAM, description="Attack a model or data set, and report what it gives away.", epilog=EXAMPLES
    )
    add = parser.add_argument
    add(
        "--self-test",
        action="store_true",
        help="audit models and data sets whose leaks are known; nothing else is needed",
    )
    add("--json", action="store_true", help="print privacy.json instead of tables")
    if "--self-test" in given:
        return parser.parse_args(given)
    add("input", type=Path, metavar="CHECKPOINT_BUNDLE_OR_DATASET", help="what is attacked")
    add_evidence_flags(add)
    add("--shadows", type=Path, metavar="FOLDER", help="shadow models, for calibrated attacks (none)")
    add("--canaries", type=Path, metavar="FILE", help="canaries that training was given (none)")
    add("--generated", type=Path, metavar="FOLDER", help="frames of the model that were drawn already (drawn here)")
    add(
        "--draw",
        type=integer(0, 10**8),
        metavar="N",
        help="frames drawn to look for copies, for every frame's conditions equally often (two of each)",
    )
    add(
        "--steps",
        type=integer(2, 1000),
        metavar="K",
        help="timesteps at which a checkpoint without its own is attacked (10)",
    )
    add(
        "--fail-above",
        type=float,
        metavar="RISK",
        help="exit with status 1 where the worst risk may exceed it (0 to 1)",
    )
    add("-o", "--output", type=Path, default=Path("build/privacy"), metavar="FOLDER", help="(build/privacy)")
    return parser.parse_args(given)


def run(args: argparse.Namespace) -> int:
    """Audit, write the files, print the report; the exit status is the verdict where one was asked for."""
    if args.self_test:
        return run_self_test(args.json)
    if args.fail_above is not None and not 0.0 <= args.fail_above <= 1.0:
        raise UsageError(f"--fail-above {args.fail_above:g}: expected a risk from 0 to 1")
    evidence = read_evidence(args.members, args.non_members, args.schema, args.limit, args.seed)
    targets, about, proven = open_targets(args, evidence)
    result = audit(evidence, targets, args.seed, args.output / "signals")
    report = to_report(result, about, proven)
    args.output.mkdir(parents=True, exist_ok=True)
    write_whole(args.output / "privacy.json", json.dumps(report, indent=1, allow_nan=False).encode() + b"\n")
    write_whole(args.output / "privacy.html", to_html(report).encode())
    write_copies(args.output / "copies.png", result, evidence, targets)
    print(json.dumps(report, allow_nan=False) if args.json else to_text(report))
    return verdict(result, args.fail_above)


def verdict(result: Audit, limit: float | None) -> int:
    """1 where the audit is invalid, or its headline exceeds the limit."""
    if result.status != "valid":
        print("audit.privacy: the split is biased; no figure means anything", file=sys.stderr)
        return 1
    if limit is not None and (result.headline is None or result.headline > limit):
        found = "nothing could be measured" if result.headline is None else f"up to {result.headline:.3g}"
        print(f"audit.privacy: risk {found}, --fail-above {limit:g}", file=sys.stderr)
        return 1
    return 0


def write_copies(path: Path, result: Audit, evidence: Evidence, targets: Targets) -> None:
    """The generated frames nearest to members, beside them."""
    if not result.copies or targets.generated is None:
        return
    members = evidence.frames[evidence.members]
    captions = [[f"generated {made}", f"member {own}"] for made, own in result.copies]
    tiles = [[targets.generated.frames[made], members[own]] for made, own in result.copies]
    write_image(path, draw_page(["generated", "nearest member"], captions, tiles))


def run_self_test(as_json: bool) -> int:
    try:
        from audit.privacy.self_test import self_test  # bundles and data sets are attacked without torch
    except ImportError as error:
        raise Unavailable(f"{error.name or 'torch'} isn't installed; run: pip install '.[train]'") from error
    found: dict[str, Any] = self_test()
    if as_json:
        print(json.dumps(found, allow_nan=False))
    else:
        for check in found["checks"]:
            print(f"{'passed' if check['passed'] else 'FAILED'}  {check['name']}: {check['figure']} ({check['bound']})")
    return 0 if found["passed"] else 1


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.privacy", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
