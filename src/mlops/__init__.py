"""The domain of serverless-mlops: pure packages, with ``mlops.aws`` as the only place that talks to AWS."""

__version__ = "0.1.0"
