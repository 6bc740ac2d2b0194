"""Section `runtime`: how fast, where and how loud. Nothing here changes a result beyond rounding, or reruns a job."""

from typing import Literal

from pydantic import Field

from taxaforge.config.base import Section


class Runtime(Section):
    """Knobs of the machine."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: a GPU where one is visible.")
    threads: int = Field(2, ge=1, description="Cores a training or generation job asks for.")
    classifier_threads: int = Field(
        1, ge=1, description="Cores a classifier asks for; 1 runs as many at once as there are cores."
    )
    gpus: int = Field(
        0, ge=0, description="GPUs a training or generation job asks for; the profile says how many there are."
    )
    micro_batch: int = Field(
        64, ge=1, description="Images that generation denoises at once; lower it when memory is short."
    )
    training_micro_batch: int = Field(
        0,
        ge=0,
        description="Images that training looks at at once on a device; the rest of a batch follows before the optimiser "
        "steps. 0: all. Lower it when memory is short.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations instead of keeping them: less memory, more time."
    )
    processes: int = Field(
        1, ge=1, description="Processes of a training job without a GPU; with GPUs it is one for each of `gpus`."
    )
    hub_offline: bool = Field(
        False,
        description="Take hub models from the local cache only; a job that would need the hub fails with a sentence.",
    )
    tracking_uri: str = Field(
        "sqlite:///results/mlflow.db",
        description="MLflow store or server; credentials come from MLFLOW_TRACKING_* variables.",
    )
    progress_every_s: float = Field(5.0, gt=0, description="Seconds between progress lines.")
