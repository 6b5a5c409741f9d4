"""The files of a cell that its trials are written to, and read from again when it gets more of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from sweep import reading
from sweep.evidence import Trial

REPORT, LOG, SAMPLES = "report.json", "cell.log", "samples.json"


def of_trials(trials: Sequence[Trial]) -> dict[str, str]:
    """The texts of these files, by name."""
    return {
        REPORT: json.dumps({"processes": [_report(trial) for trial in trials]}),
        LOG: "\n".join(trial.log for trial in trials),
        SAMPLES: json.dumps({"unit": "s", "processes": [_samples(trial) for trial in trials]}),
    }


def _report(trial: Trial) -> dict[str, Any]:
    report = asdict(trial)
    del report["log"]
    for subject in filter(None, (report["evidence"]["eager"], report["evidence"]["converted"])):
        del subject["blocks"]
    return report


def _samples(trial: Trial) -> dict[str, Any]:
    evidence = trial.evidence
    return {
        "timer_overhead_subtracted": evidence.timer_overhead,
        "eager": evidence.eager and evidence.eager.blocks,
        "conversion": evidence.converted and evidence.converted.blocks,
    }


def trials(texts: Mapping[str, str]) -> tuple[Trial, ...]:
    """The trials of which `of_trials` made these texts; of their logs, the first has all. None where they are broken,
    or of a version that measured otherwise.
    """
    try:
        reports, samples = (json.loads(texts[name])["processes"] for name in (REPORT, SAMPLES))
        for report, sampled in zip(reports, samples, strict=True):
            for subject, name in (("eager", "eager"), ("converted", "conversion")):
                if report["evidence"][subject]:
                    report["evidence"][subject]["blocks"] = sampled[name]
        if reports:
            reports[0]["log"] = texts.get(LOG, "")
        return tuple(reading.of(Trial).validate_python(report) for report in reports)
    except (KeyError, TypeError, ValueError, ValidationError):
        return ()
