"""Section `tracking`: what is sent to MLflow. Where it is sent is `runtime.tracking_uri`."""

from pydantic import Field

from taxaforge.config.base import Section


class Tracking(Section):
    """One MLflow experiment; one run a job under one parent an invocation."""

    enabled: bool = Field(True, description="Off: jobs still leave their records in the spool, nothing is sent.")
    experiment: str = Field("taxaforge", min_length=1, description="Name of the MLflow experiment.")
