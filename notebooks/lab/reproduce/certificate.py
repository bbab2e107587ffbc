"""The certificate: what is known here of the paper's claims, of published figures, and of the release's own numbers.

``data/claims.yaml`` says what is judged; every verdict is computed from tables. ``python -m lab.reproduce.certificate``
writes ``certificate.csv``, ``certificate.md`` and ``manifest.json``; with ``--verdict`` it says whether all is well.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import pandas as pd
import yaml
from scipy import stats

from lab.rd.bd_rate import bd_rate
from lab.rd.published_curves import anchor_curve, published_curve
from lab.reproduce.run_records import REPOSITORY, Tree, finished_runs, write_manifest
from weconvene_core.atomic_files import write_text
from weconvene_core.errors import WeconveneError

SUPPORTED, REFUTED, OPEN, UNTESTED = "supported", "not supported", "undecided", "untested here"
REPRODUCED, DEVIATES = "reproduced", "not obtained with our anchor"
SAME, DIFFERS, NOTHING = "same", "differs", "nothing to compare"
PARTS = {
    "paper": "A. Do the paper's claims hold here?",
    "published": "B. Published figures, computed again from published points",
    "release": "C. This run against the release",
}
RULES = {
    "paper": (
        "Rule: a piece of evidence supports a claim if its whole 95 % interval lies beyond the smallest effect that "
        "matters, in the direction of the claim; it speaks against it if the whole interval falls short of that, "
        "so an effect that is too small to matter counts as none. *Supported* and *not supported* need all pieces to "
        "agree, anything else is *undecided*; without evidence a claim is *untested here*. None of the paper's own "
        "numbers is reproduced: no network of its size was trained. Evidence comes from runs in "
        "full mode, and evidence that lacks a seed decides nothing. The BD-rates and "
        "everything else that the paper states are its authors' figures."
    ),
    "published": "Rule: *reproduced* if what the publication states and what its points give differ by rounding alone.",
    "release": (
        "Rule: *same* if no value of the rows that both tables have is off by more than the tolerance. Here, and only "
        "here, the expectation is what the release obtained."
    ),
}


class Interval(NamedTuple):
    """A figure and its 95 % interval; ``low`` and ``high`` are the figure itself where it is exact."""

    value: float
    low: float
    high: float

    def text(self, unit: str) -> str:
        """Write it with three digits, and the interval if there is one."""
        value = f"{self.value:+.3g} {unit}" if unit != "times" else f"{self.value:.3g} times"
        if math.isinf(self.low):
            return f"{value} (measured once)"
        return value if self.low == self.high else f"{value} ({self.low:+.3g} to {self.high:+.3g})"


@dataclass(frozen=True)
class Row:
    """One line of the certificate: ``part`` is a key of :data:`PARTS`, ``figure`` what was found, as text."""

    part: str
    id: str
    claim: str
    how: str
    figure: str
    verdict: str


def read_claims(tree: Tree = REPOSITORY) -> dict[str, Any]:
    """Read ``data/claims.yaml``.

    Raises
    ------
    WeconveneError
        If it is missing, or not as its comments say.
    """
    path = tree.data / "claims.yaml"
    try:
        claims = yaml.safe_load(path.read_text(encoding="utf-8"))
        if {*claims} != {*PARTS, "within"}:
            raise ValueError(f"its parts are {', '.join(claims)}")
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise WeconveneError(f"data/{path.name} cannot be read ({error}): restore the file.") from error
    return claims


def rows(tree: Tree = REPOSITORY) -> list[Row]:
    """Judge everything.

    Raises
    ------
    WeconveneError
        If the claims are malformed, or a table of the release is missing or lacks a column that they name.
    """
    claims = read_claims(tree)
    try:
        paper = [_paper_row(tree, claim) for claim in claims["paper"]]
        published = [_published_row(claims["within"], **claim) for claim in claims["published"]]
        release = [_release_row(tree, name, **how) for name, how in claims["release"].items()]
    except (KeyError, TypeError) as error:
        raise WeconveneError(f"data/claims.yaml does not fit the tables: {error!r}; correct one of them.") from error
    return [*paper, *published, *release]


# --- part A ----------------------------------------------------------------------------------------------------------


def _paper_row(tree: Tree, claim: Mapping[str, Any]) -> Row:
    found = [judged(tree, piece) for piece in claim["evidence"]]
    pieces = [(piece, at) for piece, (_, at) in zip(claim["evidence"], found, strict=True)]
    verdicts = {OPEN if at is None else bearing(at, p["claims"], p["matters"], p.get("against", 0)) for p, at in pieces}
    agreed = UNTESTED if not verdicts else next(iter(verdicts)) if len(verdicts) == 1 else OPEN
    how = f"{claim['how']} Budget: {claim['budget']}."
    said = [text for text, _ in found]
    if {SUPPORTED, REFUTED} <= verdicts:
        said.append("these disagree")
    return Row("paper", claim["id"], claim["claim"], how, "; ".join(said), agreed)


def evidence(tree: Tree = REPOSITORY) -> pd.DataFrame:
    """Return every piece of part A in multiples of the smallest effect that matters, above zero if it supports.

    Columns claim, figure (as text), value, low and high; numbers are nan where nothing was tested or seeds are missing.
    """
    rows = []
    for claim in read_claims(tree)["paper"]:
        for piece in claim["evidence"]:
            (text, at), numbers = judged(tree, piece), [math.nan] * 3
            if at:
                sign = 1 if piece["claims"] == "higher" else -1
                scaled = [sign * (end - piece.get("against", 0)) / piece["matters"] for end in at]
                numbers = [scaled[0], *sorted(scaled[1:])]
            rows.append([claim["id"], text, *numbers])
        if not claim["evidence"]:
            rows.append([claim["id"], UNTESTED, *[math.nan] * 3])
    return pd.DataFrame(rows, columns=["claim", "figure", "value", "low", "high"])


def judged(tree: Tree, piece: Mapping[str, Any]) -> tuple[str, Interval | None]:
    """Return what was found of a piece of evidence, as text and as an interval; None where it may not be judged yet."""
    what, wanted = piece["what"], piece.get("rows")
    table = _full_table(tree, piece["table"])
    there = 0 if table is None else len(fitting(table, piece))
    if there == 0 or there != (wanted or there):
        missing = f"{there} of {wanted} {piece['over']}s have been run" if wanted else "nothing to judge yet"
        return f"{what}: {missing}", None
    found = measured(table, piece)
    return f"{what}: {found.text(piece['unit'])}", found


def fitting(table: pd.DataFrame, piece: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of a table that a piece of evidence speaks of and that have its figure."""
    for column, wanted in piece["where"].items():
        table = table[table[column].astype(str) == str(wanted)]
    return table.dropna(subset=piece["column"])


def measured(table: pd.DataFrame, piece: Mapping[str, Any]) -> Interval:
    """Return what a table says of a piece of evidence of which it has rows."""
    table = fitting(table, piece)
    values = table[piece["column"]].astype(float)
    mean = float(values.mean())
    if "over" in piece:
        if table[piece["over"]].duplicated().any():
            raise KeyError(f"{piece['table']} has several rows for one {piece['over']}")
        half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)) if len(values) > 1 else math.inf
        return Interval(mean, mean - half, mean + half)
    if len(values) > 1:
        raise KeyError(f"{len(values)} rows of {piece['table']} fit {piece['where']}")
    ends = [float(table[piece[end]].iloc[0]) if end in piece else mean for end in ("low", "high")]
    return Interval(mean, *ends)


def bearing(found: Interval, claims: str, matters: float, against: float = 0) -> str:
    """Return what an interval says of a claim: supported, not supported, or undecided.

    Parameters
    ----------
    claims : ``higher`` or ``lower``: on which side of ``against`` the claim puts the figure.
    matters : the smallest distance from ``against`` that counts, above 0.
    """
    ends = [end - against if claims == "higher" else against - end for end in (found.low, found.high)]
    low, high = min(ends), max(ends)
    return SUPPORTED if low >= matters else REFUTED if high < matters else OPEN


def _full_table(tree: Tree, name: str) -> pd.DataFrame | None:
    """Return a table of this machine's if no quick run made it, else the release's; None if there is neither."""
    own = f"{tree.relative(tree.results)}/tables/{name}.csv"
    quick = any(own in record.artifacts and record.mode != "full" for record in finished_runs(tree).values())
    path = tree.published / "tables" / f"{name}.csv" if quick else tree.table(name)
    return _read(tree, name, own=not quick) if path.is_file() else None


def _read(tree: Tree, name: str, own: bool) -> pd.DataFrame:
    path = tree.table(name) if own else tree.published / "tables" / f"{name}.csv"
    try:
        return pd.read_csv(path, dtype={"settings": str})
    except (OSError, ValueError) as error:
        raise WeconveneError(f"{tree.relative(path)} cannot be read ({error}): restore it.") from error


# --- parts B and C ---------------------------------------------------------------------------------------------------


def _published_row(within: float, dataset: str, codec: str, anchor: str, stated: float, source: str) -> Row:
    found = bd_rate(anchor_curve(anchor), published_curve(dataset, codec)).bd_rate_pct
    claim = f"{codec} on {dataset}: {stated:+.2f} % against VTM ({source})."
    verdict = REPRODUCED if abs(found - stated) <= within else DEVIATES
    return Row("published", f"{codec}-{dataset}", claim, f"PCHIP against {anchor}", f"{found:+.2f} %", verdict)


def _release_row(tree: Tree, name: str, keys: list[str], tolerance: Mapping[str, float]) -> Row:
    claim = f"{name}: {', '.join(f'{column} within {most:g}' for column, most in tolerance.items())}"
    how = f"rows with the same {', '.join(keys)}"
    own, release = tree.results / "tables" / f"{name}.csv", _read(tree, name, own=False)
    if release.duplicated(keys).any():
        raise KeyError(f"{name} has several rows for one {', '.join(keys)}")
    if not own.is_file():
        return Row("release", name, claim, how, "not made here", NOTHING)
    both = pd.read_csv(own).merge(release, on=keys, suffixes=("", "_release"))
    if both.empty:
        return Row("release", name, claim, how, "other pictures than the release's", NOTHING)
    figures, same = [f"{len(both)} of {len(release)} rows"], True
    for column, most in tolerance.items():
        pair = both[[column, f"{column}_release"]].astype(float)
        # a value that one table alone has is a difference; one that both lack is none
        gap = pair.diff(axis=1).iloc[:, 1].abs().where(pair.notna().any(axis=1), 0).fillna(math.inf).max()
        figures.append(f"{column} off by {gap:.2g}")
        same &= bool(gap <= most + 1e-12)
    return Row("release", name, claim, how, "; ".join(figures), SAME if same else DIFFERS)


# --- the page --------------------------------------------------------------------------------------------------------


def failures(found: list[Row], tree: Tree = REPOSITORY) -> list[str]:
    """Return, as a sentence each, what a run has to stop at: other numbers, or another verdict than the release's."""
    path = tree.published / "certificate.csv"
    try:
        before = pd.read_csv(path).set_index(["part", "id"]).verdict if path.is_file() else pd.Series(dtype=str)
    except (KeyError, ValueError) as error:
        raise WeconveneError(f"{tree.relative(path)} is no certificate ({error}): restore it.") from error
    said = [f"{row.id} differs from the release: {row.figure}." for row in found if row.verdict == DIFFERS]
    for row in found:
        known = before.get((row.part, row.id), row.verdict)
        if row.part != "release" and row.verdict != known:
            said.append(f"{row.id} is now '{row.verdict}' ({row.figure}); the release found '{known}'.")
    return said


def page(found: list[Row]) -> str:
    """Return the certificate in Markdown; the comparison with the release is folded."""
    text = ["# Certificate"]
    for part, title in PARTS.items():
        own = [row for row in found if row.part == part]
        counts = ", ".join(f"{count} {verdict}" for verdict, count in Counter(row.verdict for row in own).items())
        lines = ["| claim | how | found | verdict |", "|---|---|---|---|"]
        lines += [f"| {row.claim} | {row.how} | {row.figure} | **{row.verdict}** |" for row in own]
        body = f"{RULES[part]}\n\n" + "\n".join(lines)
        folded = f"<details><summary>{counts}</summary>\n\n{body}\n\n</details>"
        text.append(f"## {title}\n\n" + (folded if part == "release" else f"{counts.capitalize()}.\n\n{body}"))
    return "\n\n".join(text) + "\n"


def certify(tree: Tree = REPOSITORY) -> list[str]:
    """Judge everything, write the table and the page, and return :func:`failures`."""
    found = rows(tree)
    table = pd.DataFrame([asdict(row) for row in found])
    write_text(tree.results / "certificate.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(tree.results / "certificate.md", page(found))
    return failures(found, tree)


def _lines(tree: Tree) -> Iterator[str]:
    for part in PARTS:
        counts = Counter(row.verdict for row in rows(tree) if row.part == part)
        yield f"{PARTS[part]} " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def main() -> int:
    """Write manifest and certificate, or with ``--verdict`` say what is wrong and end with 1 if anything is."""
    try:
        if "--verdict" in sys.argv[1:]:
            print(*_lines(REPOSITORY), "The whole certificate: results/run/certificate.md", sep="\n")
            wrong = failures(rows())
            print(*(f"error: {sentence}" for sentence in wrong), sep="\n", end="\n" if wrong else "", file=sys.stderr)
            return int(bool(wrong))
        write_manifest()
        certify()
    except WeconveneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
