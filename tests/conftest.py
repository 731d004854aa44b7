"""What all tests share: hypothesis looks for wrong answers, not for slow machines."""

from hypothesis import settings

settings.register_profile("harborcal", deadline=None)
settings.load_profile("harborcal")
