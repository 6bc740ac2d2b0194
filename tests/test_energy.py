"""The energy counter of GPUs, read through a library that stands in for the driver's."""

import shutil
import subprocess

import pytest

from taxaforge import energy

STAND_IN = """
static int calls;
int nvmlInit_v2(void) { return %(init)s; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { *d = (void *)(long)(i + 1); return i > 1 ? 6 : 0; }
int nvmlDeviceGetHandleByUUID(const char *u, void **d) { *d = (void *)(long)(u[4] - '0' + 1); return 0; }
%(counter)s
"""
COUNTER = """
int nvmlDeviceGetTotalEnergyConsumption(void *d, unsigned long long *e) {
    *e = 1000ULL * (long)d * 5000000ULL + 1500ULL * calls++;
    return 0;
}
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    if not shutil.which("cc"):
        pytest.skip("no C compiler")

    def make(init="0", counter=COUNTER):
        source, library = tmp_path / "nvml.c", tmp_path / f"libnvidia-{len(list(tmp_path.iterdir()))}.so"
        source.write_text(STAND_IN % {"init": init, "counter": counter})
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        monkeypatch.setattr(energy, "LIBRARY", str(library))

    return make


def test_the_counters_of_all_devices_add_up_in_joules(driver):
    driver()
    first = energy.joules(["0"])
    assert first == 5_000_000, "beyond 32 bits of millijoules"
    assert energy.joules(["0"]) - first == 1.5
    assert energy.joules(["0", "1"]) == pytest.approx(5_000_000 + 10_000_000 + 3.0 + 4.5)


def test_a_device_may_be_named_by_its_uuid(driver):
    driver()
    assert energy.joules(["GPU-1abc"]) == 10_000_000


def test_what_cannot_be_read_is_unknown_and_not_zero(driver, monkeypatch):
    driver()
    assert energy.joules(["0", "7"]) is None and energy.joules([]) is None
    driver(init="9")
    assert energy.joules(["0"]) is None
    driver(counter="")
    assert energy.joules(["0"]) is None
    monkeypatch.setattr(energy, "LIBRARY", "libnothing-of-this-name.so")
    assert energy.joules(["0"]) is None
