"""The denoising loss, image by image."""

from torch import Tensor, nn

from taxaforge.diffusion import schedule
from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.data import Batch


class Objective(nn.Module):
    """What a stage minimises. A module, so that several processes can share its gradients.

    Args:
        backbone: prepared for the stage.
        min_snr_gamma: cap of the signal-to-noise ratio in the weight of an image; 0 weighs all alike.
    """

    def __init__(self, backbone: Backbone, min_snr_gamma: float = 0.0):
        super().__init__()
        self.backbone, self.min_snr_gamma = backbone, min_snr_gamma

    def forward(self, z0: Tensor, batch: Batch, mine: Tensor) -> Tensor:
        """(b,) squared error of the native prediction, mean over an image's values, weighted.

        Args:
            z0: (b, c, h, w) clean latents of batch.chosen[mine].
            batch: of the whole step, all processes together: names are read, and their dropout drawn, as
                if all images were here, so that cutting a step up changes nothing but rounding.
            mine: (b,) long, on the CPU.
        Source: Ho et al. 2020, Eq. 14; for v Salimans & Ho 2022 (arXiv:2202.00512).
        """
        tokens = self.backbone.tokens(
            *(part.to(z0.device) for part in (batch.label, batch.upto)), mine.to(z0.device), batch.dropped.to(z0.device)
        )
        return self.errors(z0, batch.t[mine].to(z0.device), batch.eps[mine].to(z0.device), tokens)

    def errors(self, z0: Tensor, t: Tensor, eps: Tensor, tokens: Tensor, **residuals) -> Tensor:
        """(b,) as above, for timesteps t (b,), noise eps like z0, and tokens (b, n, d)."""
        native, noise = self.backbone.native, self.backbone.schedule
        abar = schedule.signal_share(noise, t, z0)
        said = self.backbone.predict(schedule.noised(z0, eps, abar), t, tokens, **residuals)
        error = (said.float() - schedule.target(native, z0, eps, abar)).square().flatten(1).mean(1)
        return error * schedule.loss_weight(native, abar.flatten(), self.min_snr_gamma)
