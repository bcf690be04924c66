# ruff: noqa: INP001  (a file of settings, no module)
"""Flower's own settings, `celery -A workers flower --conf=flowerconfig.py`: who may look, from pdk's settings.

On the command line everybody on the machine could read the password.
"""

from pdk_pipeline.config import settings

if settings().flower_basic_auth:
    basic_auth = [settings().flower_basic_auth.plain]
