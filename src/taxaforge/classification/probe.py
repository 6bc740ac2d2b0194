"""A linear probe: the head of a frozen backbone, trained on features that are computed once.

    min over W, b of   sum_m p_m CE(W x_m + b, t_m) + decay / 2 |W|^2,   sum_m p_m = 1

x: standardised features; p_m: how often an arm draws the image, at the look m of it. The problem is convex and is solved,
not trained step by step: an arm's order and number of steps enter through its draws alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taxaforge.classification.model import Classifier
from taxaforge.classification.validating import judged, rank
from taxaforge.errors import TaxaforgeError
from taxaforge.seeds import seed_of

ITERATIONS = 500
TOLERANCE = 1e-6
"""Largest entry of the gradient at which a solution counts as found; the loss is of order 1."""
CURVATURE = 0.2
"""Second derivative of the cross-entropy by a logit that `solve` reckons with. Only its speed hangs on it."""
PRECISE = 2**20
"""Numbers in the features up to which they are kept in double precision; above, in single, which takes half the time.
Weights, losses and their sums are double throughout."""
FLAT = 1e-6
"""Standard deviation below which a feature says nothing, in shares of the largest; the same of a direction's variance in
single precision, and of its square in double."""


@dataclass(frozen=True)
class Rows:
    """What a probe is trained on.

    x: (M, d) features, float64 or float32. target: (M, C), rows sum to 1, and share: (M,), sums to 1; both float64.
    """

    x: Tensor
    target: Tensor
    share: Tensor


@dataclass(frozen=True)
class Solution:
    """weight: (C, d), bias: (C,), of features as the backbone gives them. history: a line a decay, see `fit`."""

    weight: Tensor
    bias: Tensor
    history: list[dict]


def draws_of_looks(draws: np.ndarray, identifiers: Sequence[str], looks: int, seed: int) -> np.ndarray:
    """How often each look of each image is drawn: (N, looks) counts.

    The k-th draw of an image is at the same look in every arm of a seed, whatever else an arm draws.

    Args: draws: indices of images, in any order. identifiers: (N,). looks: at least 1.
    """
    counts = np.zeros((len(identifiers), looks), np.int64)
    times = np.bincount(draws, minlength=len(identifiers))
    if looks == 1:
        return times[:, None]
    for image in np.flatnonzero(times):
        chosen = np.random.default_rng(seed_of(seed, "looks", identifiers[image])).integers(looks, size=times[image])
        counts[image] = np.bincount(chosen, minlength=looks)
    return counts


def rows_of(features: Sequence[np.ndarray], target: Tensor, weight: np.ndarray, device: str = "cpu") -> Rows:
    """The rows with a weight, put together from the looks.

    Args:
        features: for each look (N, d). target: (N, C), rows sum to 1. weight: (N, looks), at least 0; only
            their proportions count.
    Raises: TaxaforgeError where no row has a weight.
    """
    image, look = np.nonzero(weight)
    if not len(image):
        raise TaxaforgeError("A linear probe got no image to learn from. Does the arm have images?")
    precise = len(image) * features[0].shape[1] <= PRECISE
    x = np.empty((len(image), features[0].shape[1]), np.float64 if precise else np.float32)
    for number, values in enumerate(features):
        here = look == number
        x[here] = values[image[here]]
    share = torch.from_numpy(weight[image, look] / weight.sum()).to(device)
    return Rows(torch.from_numpy(x).to(device), target[torch.from_numpy(image)].to(share), share)


def fit(
    rows: Rows,
    validation: np.ndarray,
    label: np.ndarray,
    decays: Sequence[float],
    offset: Tensor | None = None,
    told: Callable[[dict], None] = lambda line: None,
) -> Solution:
    """Solve for every weight decay, the strongest first, and take what validation likes best.

    Best: highest macro accuracy, then lowest negative log-likelihood, then the strongest decay.

    Args:
        validation: (V, d) features. label: (V,) classes. decays: above 0.
        offset: (C,), added to the logits in training alone.
        told: receives each line of the history: `step` (1, 2, ...), `weight_decay`, `loss` (cross-entropy alone),
            `iterations`, `gradient` (its largest entry), `validation_accuracy`, `validation_nll`, `best` (so far).
    Raises: TaxaforgeError for a decay that is not above 0 (the solution would run away), or no validation image.
    """
    if not len(label):
        raise TaxaforgeError("Choosing a probe's weight decay needs validation images, and there is none. See split.")
    if not decays or min(decays) <= 0:
        raise TaxaforgeError(
            f"classification.probe.weight_decay is {list(decays)}; give numbers above 0, without which features that "
            "tell the training images apart have no best solution."
        )
    mean, scale = standardisation(rows)
    x = (rows.x - mean) / scale
    basis, variance = principal(x, rows.share)
    rotated = Rows(x @ basis, rows.target, rows.share)
    seen = ((torch.from_numpy(np.array(validation)).to(x) - mean) / scale @ basis).double()
    state, chosen, history = None, None, []
    for step, decay in enumerate(sorted(decays, reverse=True), 1):
        state, line = solve(rotated, variance, decay, offset, state)
        weight, bias = state
        probability = torch.softmax(seen @ weight.T + bias, 1).cpu().numpy()
        line |= {"step": step, "weight_decay": decay, **judged(probability, label)}
        line["best"] = not history or rank(line) > max(map(rank, history))
        if line["best"]:
            chosen = state
        history.append(line)
        told(line)
    weight, bias = chosen
    weight = weight @ basis.double().T / scale
    return Solution(weight, bias - weight @ mean.double(), history)


def standardisation(rows: Rows) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature (d,), images counted as often as they are drawn."""
    share = rows.share.to(rows.x)
    mean = share @ rows.x
    scale = (share @ (rows.x - mean) ** 2).sqrt()
    return mean, torch.where(scale > FLAT * scale.max(), scale, torch.inf)


def principal(x: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """The directions in which rows of mean 0 vary: (d, r) orthonormal columns, and their variances (r,).

    A rotation changes no weight decay, and a direction without variance gets no weight: the solution is the same.
    """
    y = x * share.sqrt().to(x)[:, None]
    wide = y.shape[0] < y.shape[1]  # then the rows' products are the smaller problem, with the same variances
    variance, basis = torch.linalg.eigh(y @ y.T if wide else y.T @ y)
    kept = variance > variance[-1] * (FLAT**2 if x.dtype == torch.float64 else FLAT)
    variance, basis = variance[kept], basis[:, kept]
    return (y.T @ basis / variance.sqrt() if wide else basis), variance.double()


def solve(
    rows: Rows,
    variance: Tensor,
    decay: float,
    offset: Tensor | None = None,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[tuple[Tensor, Tensor], dict]:
    """The minimum, by L-BFGS over all rows at once; nothing in it is random.

    Each weight is searched for in the unit in which the problem curves about equally in all directions. That takes two
    to five times fewer iterations than searching for the weights themselves, the more the weaker the decay.

    Args:
        rows: of features along principal directions. variance: (r,), along these.
        offset: (C,). start: (weight, bias) to begin at; left out, zeros.
    Returns: weight (C, r) and bias (C,); {"loss", "iterations", "gradient"}.
    """
    classes, zeros = rows.target.shape[1], rows.share.new_zeros
    unit = (CURVATURE * variance + decay).rsqrt()
    weight, bias = start or (zeros(classes, len(unit)), zeros(classes))
    scaled, bias = (value.clone().requires_grad_(True) for value in (weight / unit, bias))
    bare = zeros(classes) if offset is None else offset.to(rows.share)
    x, entropy = rows.x * unit.to(rows.x), zeros(())

    def closure() -> Tensor:
        nonlocal entropy
        scaled.grad = bias.grad = None
        logits = F.linear(x, scaled.to(x)).double() + bias + bare
        entropy = -(rows.share * (rows.target * logits.log_softmax(1)).sum(1)).sum()
        total = entropy + decay / 2 * (scaled * unit).square().sum()
        total.backward()
        return total

    optimiser = torch.optim.LBFGS(
        [scaled, bias],
        max_iter=ITERATIONS,
        tolerance_grad=TOLERANCE,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )
    optimiser.step(closure)
    closure()
    gradient = max(value.grad.abs().max().item() for value in (scaled, bias))
    told = {"loss": entropy.item(), "iterations": optimiser.state[scaled]["n_iter"], "gradient": gradient}
    return ((scaled * unit).detach(), bias.detach()), told


def crowned(classifier: Classifier, solution: Solution, pixels: np.ndarray) -> None:
    """Put the solution into the classifier's head.

    Args: pixels: a few images (n, H, W, 3), on which the whole network must say what the head alone says of its features.
    Raises: TaxaforgeError for a network whose last layer is not linear in its features.
    """
    head = classifier.net.get_classifier()
    if not (isinstance(head, nn.Linear) and head.weight.shape == solution.weight.shape and head.bias is not None):
        raise _no_head(classifier)
    with torch.no_grad():
        head.weight.copy_(solution.weight)
        head.bias.copy_(solution.bias)
        net = classifier.net.eval()
        x = classifier.normalised(classifier.resized(pixels))
        seen = net.forward_head(net.forward_features(x), pre_logits=True)
        if not torch.allclose(net(x), F.linear(seen, head.weight, head.bias), rtol=1e-4, atol=1e-4):
            raise _no_head(classifier)


def _no_head(classifier: Classifier) -> TaxaforgeError:
    return TaxaforgeError(
        f"{classifier.name} does not end in one linear layer over its features, so a linear probe has no place in it. Choose "
        "another classification.model, or classification.training: full."
    )
