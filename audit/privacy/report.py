"""The report of a privacy audit: JSON for machines, tables for a terminal, a section of an HTML page.

report = to_report(result, about, proven)          # JSON values
print(to_text(report))
section = to_html(report)
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from textwrap import fill
from typing import Any

from tabulate import tabulate

from audit.privacy.audit import INVALID, Audit
from audit.report.figures import to_json, with_interval

FORMAT = "dms-edge/privacy@1"

HEADS = ("attack", "access", "main", "control", "baseline", "risk", "at most", "AUC", "TPR at 1 % FPR", "p")

MEANING = (
    "Each figure bounds what one kind of attacker gained on these members over people whom the model has never seen."
    " An attack that failed shows that this attack failed, not that none succeeds. Under the GDPR, whether a model or a"
    " data set is personal data depends on what anyone could reasonably do with it (recital 26), on the purpose and on"
    " what else is known; these figures are evidence for that assessment and replace no part of it. Only a proven"
    " epsilon holds against attacks that nobody has thought of yet, and only for its unit."
)
"""What the figures say, and what they don't."""


def to_report(result: Audit, about: Mapping[str, Any], proven: Mapping[str, Any] | None) -> Any:
    """The report as JSON values; `proven` is epsilon, delta and unit by an accountant, or None where nothing is."""
    worst = result.worst
    count = len(result.findings)
    headline = None
    if worst is not None:
        headline = {"attack": worst.name, "access": worst.access, "risk_upper_bound": result.headline}
    rows = [found.to_dict() | {"risk_upper_bound": found.upper_bound(count)} for found in result.findings]
    return to_json(
        {
            "format": FORMAT,
            "status": result.status,
            "headline": headline,
            "proven_epsilon": dict(proven) if proven else None,
            "audited_epsilon": result.audited_epsilon,
            "attacks": rows,
            "not_run": result.not_run,
            "blind_classifier": result.blind.to_dict(),
            "copies": [{"generated": made, "member": own} for made, own in result.copies],
            "meaning": MEANING,
            **about,
        }
    )


def to_text(report: Mapping[str, Any]) -> str:
    """Headline, tables and what wasn't run."""
    table = tabulate([cells(item) for item in report["attacks"]], HEADS, "plain", disable_numparse=True)
    absent = tabulate(report["not_run"].items(), ("not run", "reason"), "plain")
    return "\n\n".join(
        [*summary(report), table, *([absent] if report["not_run"] else []), fill(report["meaning"], 110)]
    )


def to_html(report: Mapping[str, Any]) -> str:
    """A section of a page."""
    table = tabulate([cells(item) for item in report["attacks"]], HEADS, "html", disable_numparse=True)
    absent = tabulate(report["not_run"].items(), ("not run", "reason"), "html")
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in summary(report))
    return (
        f'<section id="privacy"><h2>Privacy</h2>{lines}{table}{absent}<p>{html.escape(report["meaning"])}</p></section>'
    )


def summary(report: Mapping[str, Any]) -> list[str]:
    """What a reader needs first, a sentence each: validity, worst attack, proven and audited epsilon."""
    headline, proven, audited = report["headline"], report["proven_epsilon"], report["audited_epsilon"]
    lines = []
    if report["status"] == INVALID:
        p = report["blind_classifier"]["p_value"]
        lines.append(
            f"INVALID: a classifier tells members from non-members without the model (p = {p:g});"
            " the split is biased, and no figure below means anything"
        )
    if headline:
        bound = headline["risk_upper_bound"]
        lines.append(f"worst attack: {headline['attack']} ({headline['access']}), risk at most {bound:.3g}")
    if proven:
        unit = proven["unit"]
        lines.append(f"proven: epsilon {proven['epsilon']:g} at delta {proven['delta']:g}, unit {unit}")
    else:
        lines.append("proven: nothing; not trained with differential privacy")
    if audited:
        bounds = (
            f"at least {audited['epsilon']:.3g}, where {audited['canaries']} canaries can show {audited['ceiling']:.3g}"
        )
        lines.append(f"audited: epsilon {bounds}")
    return lines


def cells(item: Mapping[str, Any]) -> list[str]:
    """The row of one attack under HEADS."""
    area = with_interval(item["auc"], item["auc_interval"]) if "auc" in item else "-"
    low = item.get("tpr_at_fpr", {}).get("0.01", {"value": None})
    rate = "-" if low["value"] is None else with_interval(low["value"], low["interval"])
    rates = [f"{item[arm]['rate']:.3g}" for arm in ("main", "control", "baseline")]
    bound = f"{item['risk_upper_bound']:.3g}"
    return [
        item["attack"],
        item["access"],
        *rates,
        with_interval(item["risk"], item["risk_interval"]),
        bound,
        area,
        rate,
        f"{item['p_value']:.3g}",
    ]
