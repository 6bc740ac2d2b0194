"""Changing X reruns exactly Y. Nothing is executed: Snakemake is asked what it would do."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from taxaforge import lineage
from taxaforge.config.settings import Settings, load
from taxaforge.lineage import closure
from taxaforge.plan.keys import Plan
from taxaforge.plan.rules import RULES

ROOT = Path(__file__).parents[2]

REPORTING = Counter({"draw_figures": 1, "write_report": 1, "ship_records": 1})
AUDITING = Counter({"audit_leaks": 1, "audit_copies": 1, "conclude_audits": 1})
JUDGING = Counter({"measure_images": 1, "decide_verdict": 1, "tally_cost": 1, "weigh_gains": 1}) + REPORTING
OPTIONAL = {"embed_images", "export_view", "encode_latents", "predict_validation", "score_zero_shot"}
"""Rules that run only where something asks for them."""
SCORING = Counter({"summarise_accuracy": 1, "compare_arms": 1})
DEFAULT = load(yaml.safe_load((ROOT / "config/config.yaml").read_text()))
METHODS, SHARDS, SEEDS = DEFAULT.guidance.methods, DEFAULT.guidance.shards, DEFAULT.classification.seeds
OWNERS = {"caption_images": "sgid", "rate_prompts": "sgid", "learn_tokens": "dig_zsl"}
"""Rules of one kind of method only."""


def scored(arms: int) -> Counter:
    return Counter({"train_classifier": arms, "score_classifier": arms}) + SCORING


def drawn(methods: int) -> Counter:
    arms = sum("*" in arm for arm in DEFAULT.classification.arms) * methods
    return Counter({"generate_shard": SHARDS * methods, "gather_images": methods}) + scored(arms) + AUDITING


def test_a_finished_run_has_nothing_to_do(planner):
    assert planner.rules() == {}


def test_a_methods_scale_redraws_that_method_and_what_hangs_on_it(planner):
    config = {"guidance": {"recipes": {"taxadiffusion": {"scale": 3.5}}}}
    jobs = planner.jobs(config)
    assert Counter(rule for rule, _ in jobs) == drawn(1) + JUDGING
    assert {w["method"] for _, w in jobs if "method" in w} == {"taxadiffusion"}
    arms = {w["arm"] for _, w in jobs if "arm" in w}
    assert "real+taxadiffusion" in arms and {arm.partition("+")[2] for arm in arms} == {"taxadiffusion"}


def test_the_last_stages_learning_rate_retrains_that_stage_and_after(planner):
    config = {"diffusion": {"stages": {"species": {"learning_rate": 1e-5}}}}
    jobs = planner.jobs(config)
    adapted = Counter({"train_stage": 1, "train_contour": 1, "learn_tokens": 1})
    assert Counter(rule for rule, _ in jobs) == adapted + drawn(len(METHODS)) + JUDGING
    assert ("train_stage", {"stage": "species"}) in jobs


def test_a_middle_stage_retrains_its_descendants_only(planner):
    jobs = planner.jobs({"diffusion": {"stages": {"family": {"steps": 7}}}})
    assert sorted(w["stage"] for rule, w in jobs if rule == "train_stage") == ["family", "genus", "species"]


@pytest.mark.parametrize("variant, stages", [
    ("progressive", ["base", "order", "family", "genus", "species"]), ("random_level", ["base", "random_level"]),
    ("joint", ["base", "joint"]), ("flat", ["base", "species"]),
])  # fmt: skip
def test_a_variant_is_one_setting(make_planner, variant, stages):
    config = {"diffusion": {"variant": variant}}
    if variant == "flat":
        config |= {
            "guidance": {"methods": ["cfg"]},
            "classification": {"arms": ["real", "real-equal-steps", "real+cfg"]},
        }
    jobs = make_planner().jobs(config)
    assert sorted(w["stage"] for rule, w in jobs if rule == "train_stage") == sorted(stages)
    assert "encode_latents" not in {rule for rule, _ in jobs}


def test_a_pipeline_has_its_latents_encoded_once_for_all_stages(make_planner):
    config = {"diffusion": {"backbone": "stable-diffusion"}}
    planner = make_planner()
    jobs = planner.jobs(config)
    assert sorted(w["split"] for rule, w in jobs if rule == "encode_latents") == ["train", "validation"]
    assert sorted(w["stage"] for rule, w in jobs if rule == "train_stage") == ["family", "genus", "order", "species"]
    planner.finish(config)
    quicker = {"diffusion": {"backbone": "stable-diffusion", "learning_rate": 1e-5}}
    assert "encode_latents" not in planner.rules(quicker)
    assert planner.rules(quicker)["train_stage"] == 4
    unmirrored = {"diffusion": {"backbone": "stable-diffusion", "flip": False}}
    again = [w["split"] for rule, w in planner.jobs(unmirrored) if rule == "encode_latents"]
    assert again == ["train"]  # held-out images are never mirrored


def test_a_shared_default_leaves_a_stage_that_overrides_it(planner, tmp_path):
    own = {"diffusion": {"stages": {"order": {"steps": 9}}}}
    planner.finish(own)
    jobs = planner.jobs({"diffusion": {"stages": {"order": {"steps": 9}}, "steps": 8}})
    assert sorted(w["stage"] for rule, w in jobs if rule == "train_stage") == ["family", "genus", "species"]


def test_the_classifiers_epochs_retrain_classifiers_and_no_generator(planner):
    rules = planner.rules({"classification": {"epochs": 3}})
    assert rules == scored(len(DEFAULT.arms)) + JUDGING - Counter({"measure_images": 1})


def test_the_judges_epochs_change_what_is_measured_but_no_score(planner):
    assert planner.rules({"classification": {"judge": {"epochs": 3}}}) == Counter({"train_judge": 1}) + JUDGING


def test_the_margin_is_judged_again_without_training(planner):
    assert (
        planner.rules({"evaluation": {"delta_points": 2.0}})
        == Counter({"decide_verdict": 1, "weigh_gains": 1}) + REPORTING
    )


def test_what_the_audits_let_pass_audits_again_without_drawing(planner):
    again = Counter({"decide_verdict": 1, "tally_cost": 1, "weigh_gains": 1}) + REPORTING
    both = Counter({"audit_leaks": 1, "audit_copies": 1, "conclude_audits": 1})
    assert planner.rules({"audit": {"leaked": 0.1}}) == both - Counter({"audit_copies": 1}) + again
    assert planner.rules({"audit": {"replicas": 0.1}}) == both - Counter({"audit_leaks": 1}) + again


def test_without_audits_none_is_made_and_no_test_image_is_read_but_for_scores(make_planner):
    planner = make_planner()
    assert not AUDITING.keys() & planner.rules({"audit": {"enabled": False}}).keys()


def test_a_new_arm_trains_its_own_classifiers_only(planner):
    jobs = planner.jobs({"classification": {"arms": [*DEFAULT.arms, "random-drop+cfg"]}})
    assert [w["arm"] for rule, w in jobs if rule == "train_classifier"] == ["random-drop+cfg"]
    assert not any(rule in ("train_stage", "generate_shard") for rule, _ in jobs)


def test_another_seed_asks_every_arm_for_it_under_the_key_of_the_finished_ones(planner):
    asked = {"classification": {"seeds": SEEDS + 1}}
    arms = [w["arm"] for rule, w in planner.jobs(asked) if rule == "train_classifier"]
    assert sorted(arms) == sorted(DEFAULT.arms)
    keys = [Plan(load(config), ROOT).key_of("train_classifier", {"arm": "real+cfg"}) for config in ({}, asked)]
    assert keys[0] == keys[1], "what is finished lies under the key"


def test_the_seed_of_the_run_changes_everything_that_draws(planner):
    rules = planner.rules({"run": {"seed": 1}})
    assert rules["fetch_images"] == 1
    assert rules["train_stage"] == 5
    assert "resolve_taxa" not in rules


RUNTIME = {
    "device": "cpu", "threads": 1, "classifier_threads": 2, "gpus": 1, "micro_batch": 7,
    "tracking_uri": "http://127.0.0.1:9", "progress_every_s": 1.0, "hub_offline": True, "processes": 2,
    "training_micro_batch": 3, "gradient_checkpointing": True,
}  # fmt: skip


def test_runtime_knobs_rerun_nothing(planner):
    assert set(RUNTIME) == set(Settings().runtime.model_dump()), "a new knob belongs into this test"
    assert planner.rules({"runtime": RUNTIME}) == {}


NETWORK = {
    "contact": "a@b.org", "timeout_s": 1.0, "tries": 2, "requests_per_second": 1.0, "store": "elsewhere", "reuse_days": 0.0,
    "image_requests_per_second": 1.0, "image_workers": 2,
}  # fmt: skip


@pytest.mark.parametrize("source", ["simulated", "gbif"])
def test_how_the_network_is_asked_reruns_nothing(planner, source):
    assert set(NETWORK) == set(Settings().network.model_dump()), "a new knob belongs into this test"
    config = {"collection": {"source": source}, "taxonomy": {"source": "gbif"}}
    planner.finish(config)
    changed = {"collection": {"source": source}, "taxonomy": {"source": "gbif", "offline": True}, "network": NETWORK}
    assert planner.rules(changed) == {}


def test_another_policy_judges_names_again_and_so_may_change_all(planner):
    rules = planner.rules({"taxonomy": {"accept": ["exact_accepted"]}})
    assert set(rules) == set(RULES) - OPTIONAL


def test_gbifs_settings_matter_only_where_gbif_is_asked(planner):
    config = {
        "taxonomy": {"checklist": "gbif_backbone", "cross_check": False},
        "collection": {"gbif": {"images_per_species": 7}},
    }
    assert planner.rules(config) == Counter({"write_report": 1, "ship_records": 1})  # the page lists all settings


def test_what_may_be_published_describes_the_collection_again_and_no_more(planner):
    assert planner.rules({"collection": {"publish": ["CC0-1.0"]}}) == Counter({"describe_collection": 1})


def test_a_cap_starts_at_curation(planner):
    rules = planner.rules({"collection": {"cap": {"images_per_species": 50}}})
    assert rules["curate_images"] == 1
    assert not {"resolve_taxa", "fetch_images"} & set(rules)


def test_an_embedding_model_adds_its_rule_and_a_view_its_own_only(planner):
    assert planner.rules({"collection": {"embedding": {"model": "test_resnet"}}})["embed_images"] == 1
    assert planner.rules({"collection": {"views": ["coco"]}}) == Counter({"export_view": 1})


@pytest.mark.parametrize("config", [
    pytest.param({"guidance": {"recipes": {"taxadiffusion": {"weak": "coarsest", "scale": 3.0}}, "steps": DEFAULT.guidance.steps}}, id="key order, defaults spelt out"),
    pytest.param({"diffusion": {"learning_rate": f"{Settings().diffusion.learning_rate:e}"}}, id="a number that YAML 1.1 reads as text"),
    pytest.param({"evaluation": {"delta_points": 1}}, id="an integer for a float"),
])  # fmt: skip
def test_another_spelling_of_the_same_settings_reruns_nothing(planner, config):
    assert planner.rules(config) == {}


def test_an_edited_species_list_reruns_everything(planner, tmp_path):
    names = tmp_path / "mine.csv"
    names.write_text((ROOT / "config/taxa/default.csv").read_text() + "\n")
    rules = planner.rules({"taxa": {"path": str(names)}})
    assert rules["resolve_taxa"] == 1
    assert set(rules) == set(RULES) - OPTIONAL


def test_a_failed_retraining_never_leaves_an_old_score_standing(planner):
    config = {"diffusion": {"stages": {"species": {"learning_rate": 1e-5}}}}
    before = planner.rules(config)
    shutil.rmtree(planner.workdir / "results/diffusion/species")  # what Snakemake does when the job fails
    assert planner.rules(config) == before


def test_a_deleted_intermediate_is_made_again(planner):
    shutil.rmtree(planner.workdir / "results/diffusion/genus")
    assert planner.rules()["train_stage"] >= 1


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """A copy of the checkout whose code a test may edit."""
    copy = tmp_path / "checkout"
    for folder in ("rules", "scripts", "config", "report", "envs", "profiles"):
        shutil.copytree(ROOT / folder, copy / folder)
    shutil.copy(ROOT / "Snakefile", copy)
    shutil.copytree(ROOT / "src/taxaforge", copy / "src/taxaforge", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(lineage, "PACKAGE", copy / "src/taxaforge")
    forget_code()
    yield copy
    forget_code()


def forget_code() -> None:
    """What a new process would not know: the code that this one has read."""
    lineage._fingerprint.cache_clear()
    lineage._scan.cache_clear()


def merged(config: dict, extra: dict) -> dict:
    """As Snakemake puts configurations together: sections one by one, everything else replaced."""
    return {**config, **{name: {**config.get(name, {}), **section} for name, section in extra.items()}}


def rules_that_reach(module: str) -> set[str]:
    """Rules whose adapter imports a module, directly or not."""
    return {rule for rule in RULES if module in closure(ROOT / "scripts" / f"{rule}.py")}


def wildcards_of(rule: str, method: str) -> dict[str, str]:
    """Wildcards for any rule; a rule of one kind of method gets a method of that kind."""
    common = {"split": "train", "stage": "species", "shard": "0", "arm": "real+cfg", "seed": "0", "view": "coco"}
    return {**common, "method": OWNERS.get(rule, method)}


def after(rules: set[str]) -> set[str]:
    """Those rules and everything that hangs on them, from the plan's own edges."""
    reached = set(rules)
    while True:
        more = {
            rule for rule, node in RULES.items() for method in METHODS
            if {before for before, _ in node(DEFAULT, wildcards_of(rule, method)).after} & reached
        } - reached  # fmt: skip
        if not more:
            return reached
        reached |= more


@pytest.mark.parametrize("module", [
    "taxaforge.evaluation.statistics", "taxaforge.diffusion.sampler", "taxaforge.report.page", "taxaforge.collection.split",
])  # fmt: skip
def test_editing_a_module_reruns_exactly_the_rules_that_import_it(edited, tmp_path, make_planner, module):
    planner = make_planner(edited)
    planner.finish()
    assert planner.rules() == {}
    file = edited / "src" / Path(*module.split(".")).with_suffix(".py")
    file.write_text(file.read_text() + "\nEDITED = 1\n")
    forget_code()
    assert rules_that_reach(module), f"no rule imports {module}: the test watches nothing"
    assert set(planner.rules()) == after(rules_that_reach(module)) - OPTIONAL


@pytest.mark.parametrize("method", ["cfg", "higfa"])
def test_editing_a_method_redraws_that_method_alone(edited, make_planner, method):
    planner = make_planner(edited)
    planner.finish()
    file = edited / f"src/taxaforge/guidance/methods/{method}.py"
    file.write_text(file.read_text() + "\nEDITED = 1\n")
    forget_code()
    jobs = planner.jobs()
    assert {w["method"] for _, w in jobs if "method" in w} == {method}
    assert Counter(rule for rule, _ in jobs) == drawn(1) + JUDGING


def test_two_settings_of_one_recipe_stand_beside_each_other(planner):
    config = {
        "guidance": {"methods": [*METHODS, "faint"], "recipes": {"faint": {"kind": "cfg", "scale": 1.5}}},
    }
    assert planner.rules(config) == drawn(1) + JUDGING


def test_how_tokens_are_learned_concerns_their_method_alone(planner):
    jobs = planner.jobs({"guidance": {"recipes": {"dig_zsl": {"updates": 9}}}})
    assert Counter(rule for rule, _ in jobs) == Counter({"learn_tokens": 1}) + drawn(1) + JUDGING
    assert {w["method"] for _, w in jobs if "method" in w} == {"dig_zsl"}


def test_what_no_method_needs_is_not_made(make_planner):
    config = {"guidance": {"methods": ["cfg"]}, "classification": {"arms": ["real", "real+cfg"]}}
    made = set(make_planner().rules(config))
    assert not made & {"train_contour", "train_guide", "train_discriminator", *OWNERS}


def test_comments_docstrings_and_formatting_rerun_nothing(edited, make_planner):
    planner = make_planner(edited)
    planner.finish()
    for file in (edited / "src/taxaforge").rglob("*.py"):
        text = file.read_text()
        file.write_text("# a comment\n" + text.replace('"""', '"""Reworded. ', 1) + "\n\n# another\n")
    forget_code()
    assert planner.rules() == {}


@pytest.mark.parametrize("extra", [
    pytest.param({}, id="default"),
    pytest.param({"collection": {"embedding": {"model": "test_resnet"}, "views": ["coco"]}}, id="with embedding and view"),
    pytest.param({"diffusion": {"backbone": "stable-diffusion", "variant": "joint"}}, id="with latents, in one stage"),
    pytest.param({"guidance": {"methods": ["cfg", "none"], "allocation": {"by": "confused"}}, "filter": {"classifier": {"top_k": 1}, "semantics": {"top_k": 1}}, "classification": {"arms": ["real", "real+cfg", "random-drop+cfg", "label-shuffled+cfg", "synthetic+none", "balanced"]}}, id="with filters and a budget"),
    pytest.param({"protocol": {"kind": "zero_shot"}, "guidance": {"methods": ["dig_zsl", "cfg"]}, "classification": {"arms": ["real", "real+cfg"]}}, id="with unseen species"),
])  # fmt: skip
def test_the_plans_edges_are_snakemakes_edges(planner, extra):
    settings = load(merged(yaml.safe_load((ROOT / "config/config.yaml").read_text()), extra))
    for (rule, *wildcards), before in planner.edges(extra).items():
        planned = {(r, *sorted(w.items())) for r, w in RULES[rule](settings, dict(wildcards)).after}
        assert before <= planned, f"{rule} reads results that are not in its key"
        # A key may cover more than what is read directly, but nothing that is not upstream at all.
        assert {name for name, *_ in planned} <= set(RULES)


@pytest.mark.parametrize("extra", [
    pytest.param({}, id="default"),
    pytest.param({"guidance": {"methods": []}, "classification": {"arms": ["real", "real-equal-steps"]}}, id="no method"),
    pytest.param({"diffusion": {"backbone": "stable-diffusion"}, "audit": {"enabled": False}}, id="another generator, no audit"),
    pytest.param({"guidance": {"methods": ["cfg"], "allocation": {"by": "confused"}}, "classification": {"arms": ["real", "real+cfg"]}}, id="a budget by mistakes"),
])  # fmt: skip
def test_costs_are_of_the_jobs_that_the_ledger_waits_for_and_of_no_other(make_planner, extra):
    planner = make_planner()
    edges = planner.edges(extra)
    waiting, awaited = [("tally_cost",)], set()
    while waiting:
        more = edges[waiting.pop()] - awaited
        awaited |= more
        waiting += more
    (ledger,) = planner._dag(
        extra, lambda workflow: [j.params.jobs for j in workflow.dag.jobs if j.rule.name == "tally_cost"]
    )
    listed = [(job["rule"], *sorted(job["wildcards"].items())) for job in ledger]
    assert len(listed) == len(set(listed)) and set(listed) == awaited
    assert ("train_stage" in {rule for rule, *_ in listed}) == (extra.get("guidance", {}).get("methods") != [])
    assert {"benchmark": "results/benchmarks/train_classifier/real.jsonl"}.items() <= next(
        job.items() for job in ledger if job["rule"] == "train_classifier" and job["wildcards"] == {"arm": "real"}
    )


def test_arms_cost_what_deals_out_the_images_that_they_count_steps_by():
    settings = load(
        {
            "guidance": {"methods": ["cfg"], "allocation": {"by": "confused"}},
            "classification": {"arms": ["real", "balanced"]},
        }
    )
    arms = RULES["tally_cost"](settings, {}).settings["arms"]
    assert arms["balanced"]["rules"] == ["allocate_images", "train_guide"] and arms["real"]["rules"] == []


def test_the_sealed_test_split_is_read_by_scoring_alone_but_for_the_audit_that_sees_no_label(planner):
    read = {rule: {path for path in paths if "packs/test" in path} for rule, paths in planner.inputs().items()}
    readers = {rule: paths for rule, paths in read.items() if paths and rule not in ("all", "collection")}
    assert set(readers) == {"score_classifier", "audit_leaks"}
    assert readers["audit_leaks"] == {"results/collection/packs/test.npy"}


def test_what_the_audit_of_leaks_finds_reaches_the_verdict_and_the_page_alone(planner):
    reached, edges = {"audit_leaks"}, planner.edges()
    for _ in edges:
        reached |= {job[0] for job, before in edges.items() if {rule for rule, *_ in before} & reached}
    assert reached == {
        "audit_leaks", "conclude_audits", "decide_verdict", "tally_cost", "weigh_gains", "draw_figures", "write_report",
        "ship_records",
    }  # fmt: skip


def test_no_job_that_trains_draws_or_selects_reads_labels_of_all_splits(planner):
    sealed = (
        "results/collection/metadata.parquet",
        "results/collection/splits.parquet",
        "results/collection/candidates.parquet",
    )
    readers = {rule for rule, paths in planner.inputs().items() if paths & set(sealed)}
    assert readers <= {
        "curate_images",
        "split_images",
        "describe_collection",
        "pack_split",
        "draw_figures",
        "write_report",
        "all",
        "collection",
    }


def test_params_are_plain_values_that_snakemake_compares_well():
    plan = Plan(Settings(), ROOT)
    for rule in RULES:
        value = plan.cfg(rule)(wildcards_of(rule, "cfg"))
        assert value == lineage.plain(value)
        assert list(value) == sorted(value)


def test_all_profiles_agree_on_what_triggers_a_rerun():
    triggers = {
        path.parent.name: yaml.safe_load(path.read_text())["rerun-triggers"]
        for path in ROOT.glob("profiles/*/profile.yaml")
    }
    assert set(triggers) == {"default", "ci", "slurm"}
    assert len({tuple(value) for value in triggers.values()}) == 1
