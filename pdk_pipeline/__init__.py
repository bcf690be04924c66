"""The domain of pdk-pipeline: test results from log to database to mail. Knows nothing of Celery (see `workers`)."""

__version__ = "0.1.0"
