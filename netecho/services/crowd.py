"""Which kind of connection a plan takes."""
from netecho.services.bench_connection import Connection
from netecho.services.open_loop import PacedConnection
from netecho.services.openers import LoopedOpener, PacedOpener
from netecho.plans import BenchPlan, Mode
def kinds_of(plan: BenchPlan) -> tuple[type[Connection], type[PacedConnection]]:
    return (Connection, PacedConnection) if plan.mode is Mode.EXCHANGE else (LoopedOpener, PacedOpener)
