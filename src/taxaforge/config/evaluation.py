"""Section `evaluation`: what counts as help."""

from pydantic import Field

from taxaforge.config.base import Section


class Evaluation(Section):
    """Fixed before the run; anything else that is read off the results is exploratory."""

    delta_points: float = Field(
        1.0, gt=0, description="Smallest gain in macro accuracy, in percentage points, that is worth using."
    )
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Error rate of intervals (1 - alpha) and of Holm-corrected tests."
    )
    neighbours: int = Field(5, ge=1, description="k of precision, recall, density and coverage.")
    floor_splits: int = Field(
        20, ge=2, description="Random real-against-real splits behind the floor of every image metric."
    )
