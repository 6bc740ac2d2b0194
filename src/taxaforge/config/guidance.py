"""Section `guidance`: which methods draw how many images, and how strongly each follows its condition.

A method is a name and a recipe. `recipes` gives names of your own to recipes, any number; the name of a kind needs
no entry. So two settings of one recipe, beside each other, are an ablation:

    guidance:
      methods: [cfg, cfg_low]
      recipes:
        cfg_low: {kind: cfg, scale: 1.5}
"""

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from taxaforge.config.base import RANKS, Section
from taxaforge.config.classification import Own

Share = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(gt=0, le=1)]
SCALE = "1 is the condition alone; higher follows the species more and varies less."


class Recipe(Section):
    """What all recipes share."""

    needs: ClassVar[tuple[str, ...]] = ()
    """What the recipe uses beside the generator: train, prompts, contour, guide."""


def _forward(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] < value[1] <= 1:
        raise ValueError(f"interval must satisfy 0 <= first < last <= 1, got {list(value)}")
    return value


class Paced(Recipe):
    """Guidance that may act in a part of the denoising only, and unevenly."""

    scale: float = Field(3.0, ge=0, description=SCALE)
    interval: tuple[float, float] = Field(
        (0.0, 1.0),
        description="Part of the denoising, 0 noise to 1 image, in which guidance acts; outside it the condition alone.",
    )
    course: Literal["constant", "rising", "falling"] = Field(
        "constant", description="How guidance is spread over the denoising, at the same mean."
    )

    _interval_runs_forward = field_validator("interval")(_forward)


class NoGuidance(Recipe):
    """The species' lineage alone: no guidance, one pass a step."""

    kind: Literal["none"] = "none"


class Cfg(Paced):
    """Classifier-free guidance: the species' lineage against the null lineage (arXiv:2207.12598)."""

    kind: Literal["cfg"] = "cfg"


class TaxaDiffusion(Paced):
    """The species' lineage against a coarser one (TaxaDiffusion, arXiv:2506.01923)."""

    kind: Literal["taxadiffusion"] = "taxadiffusion"
    scale: float = Field(3.0, ge=0, description="1 is the condition alone; the paper's w is scale - 1.")
    fine: Literal["", *RANKS] = Field("", description="Level up to which the lineage is read; empty: the finest.")
    weak: Literal["coarsest", "parent", *RANKS] = Field(
        "coarsest",
        description="Guide away from the coarsest level, as published, from the one above `fine`, or from a level by name.",
    )


class SDEdit(Recipe):
    """Real training images of the species, drawn over in part (SDEdit, arXiv:2108.01073)."""

    kind: Literal["sdedit"] = "sdedit"
    needs: ClassVar = ("train",)
    scale: float = Field(2.0, ge=0, description=SCALE)
    strength: list[Strength] = Field(
        [0.5], min_length=1, description="Share of the denoising that is run, drawn from these values image by image."
    )


class Mixup(Recipe):
    """Images of one species drawn over as another, with a label shared between them (Diff-Mix, arXiv:2403.19600)."""

    kind: Literal["mixup"] = "mixup"
    needs: ClassVar = ("train",)
    scale: float = Field(2.0, ge=0, description=SCALE)
    strength: list[Strength] = Field(
        [0.3, 0.5, 0.7, 0.9], min_length=1, description="Share of the denoising that is run, drawn image by image."
    )
    gamma: float = Field(0.8, gt=0, description="The species drawn gets strength**gamma of the label.")
    partner: Literal["any", "sibling"] = Field("any", description="Start from any other species, or from its siblings.")


class Transform(Section):
    """What is done to a contour before an image is drawn along it, drawn image by image."""

    flip: bool = Field(True, description="Mirror one in two; switch off where left and right matter.")
    shift: float = Field(0.1, ge=0, le=0.5, description="Largest shift, in sides of the image.")
    scale: float = Field(0.15, ge=0, lt=1, description="Largest change of size, as a share.")
    rotate: float = Field(10.0, ge=0, le=180, description="Largest rotation in degrees.")
    perspective: float = Field(0.05, ge=0, lt=0.5, description="Largest move of a corner, in sides of the image.")
    classmate: float = Field(0.0, ge=0, le=1, description="Probability of another image of the species giving it.")


class Higfa(Recipe):
    """Text and contour early, a classifier's gradient late (HiGFA, arXiv:2511.12547; a reconstruction)."""

    kind: Literal["higfa"] = "higfa"
    needs: ClassVar = ("train", "contour", "guide")
    scale: float = Field(3.0, ge=0, description="Guidance by the lineage until `split`.")
    least_scale: float = Field(
        1.5, ge=0, description="The same after it, where the classifier is not confident at all."
    )
    contour: float = Field(0.75, ge=0, le=2, description="Strength of the contour, 1 as the adapter was trained.")
    split: Share = Field(0.7, description="Share of the denoising without the classifier.")
    strength: float = Field(1.0, ge=0, description="Of the classifier's gradient; 0 leaves plain contour guidance.")
    power: float = Field(1.0, ge=0, description="The gradient counts (1 - confidence)**power.")
    modulation: Literal["decrease", "constant", "increase"] = Field(
        "decrease", description="What `scale` and `contour` do after `split` where the classifier is not confident."
    )
    gradient: Literal["cheap", "full"] = Field(
        "cheap", description="`cheap`: the prediction is held constant; `full`: through the denoiser, slower."
    )
    normalise: bool = Field(True, description="Scale the gradient to the length of the guidance by the lineage.")
    clip: float = Field(0.0, ge=0, description="Longest gradient where it is not normalised; 0: any.")
    guide_target: Literal["own", "wrong"] = Field(
        "own", description="`wrong` pushes towards another species: a control that must do harm."
    )
    transform: Transform = Transform()


class DigZsl(Recipe):
    """A learned token a species that a semantic discriminator recognises (DIG-ZSL, arXiv:2412.17219)."""

    kind: Literal["dig_zsl"] = "dig_zsl"
    needs: ClassVar = ("prompts",)
    scale: float = Field(3.0, ge=0, description=SCALE)
    species: Literal["all", "unseen"] = Field(
        "all", description="Whose token is learned: every species', or only of those without a training image."
    )
    temperature: float = Field(0.05, gt=0, description="Of the loss over the species; the paper has none, see methods.")
    updates: int = Field(30, ge=1, description="Most updates of a token.")
    images: int = Field(4, ge=1, description="Images a species and update.")
    learning_rate: float = Field(0.005, gt=0, description="AdamW, of the tokens alone.")
    gradient: Literal["x0_random", "last"] = Field(
        "x0_random", description="Through the clean image foreseen at a random step, or through the last step."
    )
    stop: Share = Field(0.7, description="A species is done when this share of its held-out images is recognised.")
    patience: int = Field(5, ge=1, description="Looks without an improvement after which a species is done.")
    held_out: int = Field(4, ge=1, description="Images a species at each look, always from the same noise.")
    learning_steps: int = Field(8, ge=2, description="Denoising steps while learning.")
    start: str = Field("a", description="The word whose state a token starts from.")


class Sgid(Recipe):
    """Variants of real images by label and caption, guided as far as text and image agree (SGID, arXiv:2302.02070)."""

    kind: Literal["sgid"] = "sgid"
    needs: ClassVar = ("train", "prompts")
    strength: Strength = Field(0.5, description="Share of the denoising that is run; less keeps more of the original.")
    least_scale: float = Field(1.5, ge=0, description="Guidance where image and text agree least.")
    most_scale: float = Field(4.0, ge=0, description="Guidance where they agree most.")
    direction: Literal["up", "down", "constant"] = Field(
        "up", description="More guidance with more agreement, less, or always the mean of what `up` gives."
    )
    percentiles: tuple[float, float] = Field(
        (5.0, 95.0), description="Agreement over the training images that least_scale and most_scale stand for."
    )
    captions: Literal["table", "blip", "none"] = Field(
        "table", description="Captions that come with the images, BLIP's, or the label alone."
    )
    captioner: str = Field(
        "Salesforce/blip-image-captioning-large",
        description="Hub id or folder of the BLIP model, for `blip`; its weights must be safetensors.",
    )
    captioner_revision: str = Field("main", description="Pinned revision of the hub id.")
    candidates: int = Field(3, ge=1, description="Captions of BLIP, of which the one that fits best is taken.")

    @field_validator("percentiles")
    @classmethod
    def _rise(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 100:
            raise ValueError(f"percentiles must satisfy 0 <= low < high <= 100, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _scales_rise(self):
        if self.least_scale > self.most_scale:
            raise ValueError(f"least_scale ({self.least_scale:g}) must not exceed most_scale ({self.most_scale:g})")
        return self


KINDS: dict[str, type[Recipe]] = {
    kind.model_fields["kind"].default: kind
    for kind in (NoGuidance, Cfg, TaxaDiffusion, SDEdit, Mixup, Higfa, DigZsl, Sgid)
}
"""Every recipe by its kind."""

AnyRecipe = Annotated[
    NoGuidance | Cfg | TaxaDiffusion | SDEdit | Mixup | Higfa | DigZsl | Sgid, Field(discriminator="kind")
]


class Allocation(Section):
    """How the images are shared among the species; their total is images_per_species times the species."""

    by: Literal["equal", "rare", "confused"] = Field(
        "equal",
        description="`rare`: more for species with fewer training images; `confused`: more for those that the guiding "
        "classifier mistakes on validation.",
    )
    power: float = Field(1.0, ge=0, description="How strongly; 0 is equal.")
    least: int = Field(1, ge=0, description="Images that every species gets.")
    only: Literal["all", "without_images"] = Field(
        "all", description="Draw every species, or only those without a training image."
    )


class Guide(Own):
    """The classifier that guides `higfa`, filters, and says what is confused: of the training split alone."""

    epochs: int = Field(15, ge=1, description="Passes over the training split.")


class Discriminator(Section):
    """What judges the images of `dig_zsl` while it learns: the image-text model's vision tower and a small network."""

    epochs: int = Field(20, ge=0, description="Passes over the training split; 0 leaves the image-text model alone.")
    width: int = Field(256, ge=8, description="Of the small network.")
    learning_rate: float = Field(1e-3, gt=0, description="AdamW.")
    temperature: float = Field(0.05, gt=0, description="Of the loss over species with training images.")
    batch_size: int = Field(64, ge=2, description="Images a step.")
    prototypes: Literal["lineage", "name", "shuffled"] = Field(
        "lineage", description="Text that stands for a species. `shuffled` is a control that must fail."
    )


class Guidance(Section):
    """Generation."""

    methods: list[str] = Field(
        ["cfg", "taxadiffusion", "higfa", "dig_zsl", "sgid"],
        description=f"Which methods draw, by name: of `recipes`, or any of {', '.join(KINDS)}.",
    )
    recipes: dict[str, AnyRecipe] = Field(
        {}, description="Names of your own, or other settings of a kind: `{low: {kind: cfg, scale: 1.5}}`."
    )
    images_per_species: int = Field(16, ge=1, description="Images each method draws a species, on average.")
    allocation: Allocation = Allocation()
    guide: Guide = Guide()
    discriminator: Discriminator = Discriminator()
    steps: int = Field(
        10,
        ge=1,
        le=1000,
        description="Denoising steps an image; fewer is faster and coarser. ddim wants twice as many.",
    )
    scheduler: Literal["ddim", "dpm++", "euler", "unipc"] = Field(
        "dpm++", description="How the denoising steps; dpm++ and unipc need fewer steps for the same image."
    )
    shards: int = Field(
        1,
        ge=1,
        description="Jobs a method is cut into. Changing it regenerates, but not other images. More than 8 help only "
        "beyond 2048 images a method; fewer images leave some without work.",
    )

    @model_validator(mode="before")
    @classmethod
    def _settings_of_kinds_have_moved(cls, section: object) -> object:
        moved = [name for name in section if name in KINDS] if isinstance(section, dict) else []
        if moved:
            raise ValueError(f"{moved[0]!r} has moved: guidance.recipes.{moved[0]} takes its settings")
        return section

    @field_validator("recipes", mode="before")
    @classmethod
    def _a_kind_s_own_name_says_its_kind(cls, recipes: object) -> object:
        if not isinstance(recipes, dict):
            return recipes
        return {
            name: {"kind": name, **recipe} if isinstance(recipe, dict) and name in KINDS else recipe
            for name, recipe in recipes.items()
        }

    @model_validator(mode="after")
    def _methods_are_known(self):
        for name in (*self.methods, *self.recipes):
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
                raise ValueError(
                    f"methods: {name!r} cannot name a method; take letters, digits, _ and -, a letter first"
                )
        known = {**KINDS, **self.recipes}
        wrong = [name for name in self.methods if name not in known]
        if wrong:
            raise ValueError(
                f"methods: {', '.join(map(repr, wrong))} is no method; choose from {', '.join(known)}, or add it to "
                "guidance.recipes with its kind"
            )
        if self.allocation.least > self.images_per_species:
            raise ValueError(
                f"allocation.least ({self.allocation.least}) must not exceed images_per_species "
                f"({self.images_per_species}), from which it is taken"
            )
        if len(set(self.methods)) != len(self.methods):
            raise ValueError(f"methods must not repeat, got {self.methods}")
        return self

    def recipe(self, name: str) -> Recipe:
        """The recipe behind a method's name."""
        return self.recipes.get(name) or KINDS[name]()
