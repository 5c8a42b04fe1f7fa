"""For all tests: hypothesis judges what holds, not how fast a busy machine draws examples."""

from hypothesis import HealthCheck, settings

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
