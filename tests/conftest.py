"""How many tests run side by side, and how thoroughly properties are tried."""

import pathlib

import pytest
from hypothesis import HealthCheck, settings

from netecho.services.system import cpus

# So that those of their assertions that fail say why, as those of tests do.
pytest.register_assert_rewrite(
    *(
        f"tests.{file.stem}"
        for file in pathlib.Path(__file__).parent.glob("[!_]*.py")
        if file.stem != "conftest"
    )
)

# What a property holds is not how fast the machine is that tries it.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For `--hypothesis-profile=brief`: what only has to run each line, and the same way each time.
settings.register_profile("brief", settings.get_profile("default"), max_examples=10, derandomize=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return what `-n auto` is: five for two processors, as a test waits for almost half of its time."""
    return 5 * (cpus() or 1) // 2
