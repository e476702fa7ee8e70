"""Let Hypothesis take its time: other tests share the processors, and nothing here waits for a clock."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("core", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("core")
