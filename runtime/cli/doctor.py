"""`lanework doctor`: prints what is wrong, and mends what it safely can."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from runtime.cli import show
from runtime.doctor import Doctor, Finding
from runtime.errors import StoreUnavailable
from runtime.settings import Settings


def run(settings: Settings, *, fix: bool, as_json: bool) -> int:
    """1 where an error is found that is not mended, 4 where Redis does not answer."""
    return asyncio.run(_run(settings, fix=fix, as_json=as_json))


async def _run(settings: Settings, *, fix: bool, as_json: bool) -> int:
    doctor = Doctor(settings)
    try:
        findings = await doctor.findings()
        fixed = await doctor.fix(findings) if fix else {}
    except StoreUnavailable as error:
        show.error(error.code, str(error))
        return show.UNAVAILABLE
    finally:
        await doctor.close()
    if as_json:
        show.json({"findings": [_fields(finding, fixed) for finding in findings]})
    else:
        _print(findings, fixed)
    errors = [finding for finding in findings if finding.severity == "error" and fixed.get(finding.code) != ""]
    return show.FAILED if errors else show.DONE


def _fields(finding: Finding, fixed: dict[str, str]) -> dict[str, object]:
    fields = {name: value for name, value in asdict(finding).items() if name != "fix"}
    fixable = finding.fix is not None
    return {
        **fields,
        "fixable": fixable,
        "fixed": fixed.get(finding.code) == "",
        "why": fixed.get(finding.code) or None,
    }


def _print(findings: list[Finding], fixed: dict[str, str]) -> None:
    rows = [(finding.severity, finding.code, finding.what, _advice(finding, fixed)) for finding in findings]
    show.table(("", "code", "what is wrong", "what to do"), rows, "nothing is wrong")
    if any(finding.fix is not None and finding.code not in fixed for finding in findings):
        show.note("`lanework doctor --fix` sets what is a parameter of the server")


def _advice(finding: Finding, fixed: dict[str, str]) -> str:
    why = fixed.get(finding.code)
    if why is None:
        return finding.do
    return f"{finding.do}: {why}" if why else "done; set it in the server's configuration, too"
