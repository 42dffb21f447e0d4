"""What was tried, what was found, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from tfvae.evaluation.estimate import Shown, render_table

__all__ = ["LEVELS", "Checkup", "Finding", "Level"]

Level = Literal["ok", "note", "warning", "fault"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Finding:
    """One thing that was tried.

    Attributes:
        tried: What it was.
        level: "ok"; "note" of what is worth knowing; "warning" of what trains badly or not at all;
            "fault" of what makes numbers wrong.
        found: What was found, with its number.
        remedy: What to do; empty where there is nothing to mend.
    """

    tried: str
    level: Level
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Checkup(Shown):
    """All that `tfvae.check` found: print it.

    Attributes:
        model: Class and name of the model.
        num_points: How many points were scored.
        findings: In the order in which they were tried.
    """

    model: str
    num_points: int
    findings: tuple[Finding, ...]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, tried: str) -> Finding:
        """Returns the finding of this name.

        Raises:
            KeyError: Nothing of this name was tried.
        """
        for finding in self.findings:
            if finding.tried == tried:
                return finding
        raise KeyError(f"{tried!r} was not tried. Tried were: {', '.join(f.tried for f in self)}")

    @property
    def level(self) -> Level:
        """The gravest level of all."""
        found = [finding.level for finding in self]
        for level in reversed(LEVELS):
            if level in found:
                return level
        return "ok"

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Warnings and faults, faults first."""
        found = [finding for finding in self if finding.level in ("warning", "fault")]
        return tuple(sorted(found, key=lambda finding: -LEVELS.index(finding.level)))

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as plain data."""
        return {**asdict(self), "level": self.level, "findings": [asdict(f) for f in self]}

    def __str__(self) -> str:
        counts = {level: sum(f.level == level for f in self) for level in reversed(LEVELS)}
        said = ", ".join(
            f"{count} {level}{'s' if count > 1 and level != 'ok' else ''}"
            for level, count in counts.items()
            if count
        )
        points = f"{self.num_points} point{'' if self.num_points == 1 else 's'}"
        rows = [
            (f.level, f.tried, f.found + (f"\nTo do: {f.remedy}" if f.remedy else "")) for f in self
        ]
        columns = ("", "tried", "found, and what to do")
        return render_table(f"{self.model} on {points}: {said}", columns, rows)
