"""How much of a dataset is recorded; counted from the records, so that it outlives an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from contract.dataset import Description, Record


class Progress(NamedTuple):
    """Counts over the recorded frames."""

    records: int = 0
    rejected: int = 0
    disagreeing: int = 0

    def plus(self, records: Sequence[Record]) -> Progress:
        """The same with these records."""
        rejected = sum((entry["tries"] or 1) - 1 for entry in records)
        disagreeing = sum(entry["agrees"] is False for entry in records)
        return Progress(self.records + len(records), self.rejected + rejected, self.disagreeing + disagreeing)

    def completed(self, description: Description) -> Description:
        """The description of the finished dataset."""
        rejected = None if description.reject_below is None else self.rejected
        disagreeing = None if description.annotator is None else self.disagreeing
        return replace(description, complete=True, rejected=rejected, disagreeing=disagreeing)
