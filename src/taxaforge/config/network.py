"""Section `network`: how GBIF and image hosts are asked. Nothing in it changes a result, so it is in no key."""

from pydantic import Field

from taxaforge.config.base import Section


class Network(Section):
    """Manners and memory of whoever asks. Credentials never stand here: GBIF_USER and GBIF_PASSWORD in the environment."""

    contact: str = Field(
        "", description="Address or page of whoever runs this, sent in the User-Agent so that a host can reach you."
    )
    timeout_s: float = Field(30.0, gt=0, description="Seconds of silence after which a request counts as failed.")
    tries: int = Field(6, ge=1, description="Attempts a request, the first included, before it counts as not answered.")
    requests_per_second: float = Field(
        10.0,
        gt=0,
        description="Most questions a second to the GBIF service, which one worker asks one after the other.",
    )
    store: str = Field(
        "results/gbif",
        description="Folder that keeps every answer and every picture as received, named by content. Delete it to ask anew.",
    )
    reuse_days: float = Field(
        30.0,
        ge=0,
        description="Stored answers younger than this are used without asking, as long as the checklist's release is the same.",
    )
    image_requests_per_second: float = Field(5.0, gt=0, description="Most pictures a second from one host.")
    image_workers: int = Field(8, ge=1, description="Pictures fetched at a time, over all hosts.")
