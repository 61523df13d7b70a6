"""From what a bench has recorded, in one process or several, to its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from netecho.measure.merging import observe, summarise
from netecho.measure.parts import Part
from netecho.measure.payload import NUMBER_SIZE
from netecho.measure.quality import judge
from netecho.measure.slo import Objective
from netecho.measure.summary import Summary
from netecho.plans import BenchPlan, Mode, ProbePlan, Verify
from netecho.protocols._contract import Adapter


def conclude(
    part: Part,
    plan: BenchPlan,
    adapter: Adapter,
    started: str,
    system: Mapping[str, Any],
    out_of_reach: Sequence[Objective] = (),
) -> Summary:
    """Return what a run means.

    Args:
        part: all that was recorded.
        plan: what was run.
        adapter: the protocol that it was run on.
        started: when it began, in ISO 8601.
        system: what it ran on.
        out_of_reach: objectives for which it was ended early.
    """
    numbered_by_size = plan.mode is Mode.EXCHANGE and not adapter.numbered
    judgement = judge(
        observe(
            part,
            closed_loop=not plan.open_loop,
            verified=plan.verify is Verify.FULL,
            unnumbered=numbered_by_size and not plan.size,
            told_apart=1 << 8 * plan.size if numbered_by_size and 0 < plan.size < NUMBER_SIZE else None,
            asked=plan.exchanges
            if plan.length_ns is None and not (out_of_reach or part.interrupted)
            else None,
            cpus=system.get("cpus"),
            embedded=plan.embedded,
            mode=plan.mode,
        )
    )
    verdicts = [Objective.parse(text).evaluate(part) for text in plan.slo]
    if out_of_reach:
        lost_causes = {one.expression for one in out_of_reach}
        caveat = f"ended early (--abort-on-fail): out of reach by then: {', '.join(sorted(lost_causes))}"
        judgement = dataclasses.replace(judgement, caveats=(*judgement.caveats, caveat))
        verdicts = [
            dataclasses.replace(one, passed=one.passed and one.expression not in lost_causes)
            for one in verdicts
        ]
    return summarise(
        part,
        command="bench",
        started=started,
        system=system,
        plan=plan_of_result(plan, adapter),
        judgement=judgement,
        slo=[one.to_json() for one in verdicts],
    )


def plan_of_result(plan: BenchPlan | ProbePlan, adapter: Adapter) -> dict[str, Any]:
    """Return the `plan` object of `netecho.result/1`, with what its protocol adds to each message."""
    answer = plan.to_json()
    overhead = adapter.overhead(answer["size"], authenticated=plan.hmac_key is not None)
    return {**answer, "overhead": overhead} if overhead else answer
