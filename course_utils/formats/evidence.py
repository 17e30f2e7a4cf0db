"""Collects what an audit finds: verdicts with reasons, imports and calls."""

from course_utils.formats.judge import Finding, Verdict, judge, modern_name, nested_file, show
from course_utils.formats.pickle import Pickle, scan_next
from course_utils.formats.source import Window

MOST = 100  # findings and calls that are kept; a file can make millions


class Evidence:
    """What is known of a file so far.

    Attributes:
        findings: reasons why it is not plain data, each once.
        imports: everything its pickles would import.
        calls: what they would call that is not plain data, as Python would write it.
        verdict: the worst of all findings.
        nested: files inside pickles, still to be looked at, with their place.
    """

    def __init__(self, verdict: Verdict = Verdict.PLAIN_DATA) -> None:
        self.findings: dict[Finding, None] = {}
        self.imports: set[str] = set()
        self.calls: dict[str, None] = {}
        self.verdict = verdict
        self.nested: list[tuple[bytes, str]] = []

    def add(self, verdict: Verdict, where: str, reason: str) -> None:
        """Add a finding; the worst verdict stays even when there are too many to keep."""
        if len(self.findings) < MOST or verdict.rank > self.verdict.rank:
            self.findings[Finding(verdict, where, reason)] = None
            self.verdict = max(self.verdict, verdict, key=lambda v: v.rank)

    def no_checkpoint(self, where: str, reason: str) -> None:
        """Say that this is no checkpoint; whatever worse is found counts for more."""
        if self.verdict is Verdict.PLAIN_DATA:
            self.verdict = Verdict.NOT_A_CHECKPOINT
        self.findings[Finding(Verdict.NOT_A_CHECKPOINT, where, reason)] = None

    def code_of(self, other: "Evidence") -> None:
        """Take over what would run code, and nothing else."""
        self.imports |= other.imports
        self.calls.update(other.calls)
        self.nested += other.nested
        for finding in other.findings:
            if finding.verdict is Verdict.WOULD_RUN_CODE:
                self.add(*finding)

    def pickle(self, file: Window, where: str) -> Pickle:
        """Scan a pickle from the file's position on, and add what there is to say about it."""
        content = scan_next(file)
        self.judge(content, where)
        return content

    def judge(self, content: Pickle, where: str) -> None:
        """Add what there is to say about a pickle."""
        self.imports |= {modern_name(found) for found in content.globals}
        room = content.length  # for the files inside it, if it does not load one again and again
        for finding, call in judge(content, where):
            self.add(*finding)
            if call is None:
                continue
            if len(self.calls) < MOST:
                self.calls[show(call)] = None
            inner = nested_file(call) if room >= 0 else None
            if inner is not None:
                room -= len(inner)
                self.nested.append((inner, f"{where}: a file inside: "))
        if room < 0:
            del self.nested[-1]
            self.no_checkpoint(where, "loads a file inside it again and again: not all is read")
