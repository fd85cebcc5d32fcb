"""Parameters as papermill hands them over, rows to recipes, and the queue; trained at smoke on the tiny world."""

import re
from dataclasses import replace

import pytest

from reidlib.claims import printed_effect
from reidlib.data import augment
from reidlib.models import options
from reidlib.objectives import OBJECTIVES
from reidlib.recipe import Data, fingerprint
from reidlib.run import NotAvailable
from reidlib.study import PAPERS, RECOMPUTE, Study, paper, studies, study
from reidlib.tables import printed_values


def smoke(tmp_path, **given) -> Study:
    return study("personnet", profile="smoke", runs_dir=str(tmp_path), device="cpu", **given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", None),
        (None, None),
        (0, (0,)),
        ("0", (0,)),
        ("0,2", (0, 2)),
        ("[0, 1]", (0, 1)),
        ([3], (3,)),
        ("(1, 0)", (1, 0)),
    ],
)
def test_seeds_mean_the_same_however_papermill_hands_them_over(tmp_path, given, expected):
    assert smoke(tmp_path, seeds=given).seeds == expected


@pytest.mark.parametrize("given", ["one", "1.5", "-1", "[0, 'a']", "0,0", "[]", True])
def test_impossible_seeds_are_refused(tmp_path, given):
    with pytest.raises(ValueError, match="seeds="):
        smoke(tmp_path, seeds=given)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("profile", "laptob", "did you mean 'laptop'"),
        ("recompute", "mising", "did you mean 'missing'"),
        ("dataset", "market", "did you mean 'market1501'"),
        ("device", "gpu", "choose from auto, cpu, cuda"),
        ("data_root", "/nowhere/at/all", "there is no such folder"),
        ("dataset", "real", "say where it lies with data_root"),
    ],
)
def test_mistyped_parameters_name_the_nearest_valid_one(name, value, hint):
    with pytest.raises(ValueError, match=re.escape(hint)):
        study("personnet", **{name: value})


def test_an_unknown_paper_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'personnet'"):
        study("personet")


def test_trial_t_has_seed_t_and_world_t(tmp_path):
    chosen = study("personnet", profile="laptop", runs_dir=str(tmp_path))
    row = chosen.paper.row("table4/personnet")
    first, second = (chosen.recipe(row, trial, "laptop") for trial in (0, 1))
    assert (first.seed, second.seed) == (0, 1)
    assert [data.world for recipe in (first, second) for data in recipe.datasets] == [0, 1]
    assert first.datasets[0].name == "plaza"
    assert replace(second, seed=0, datasets=first.datasets) == first


def test_a_profile_never_overrides_what_a_row_compares(tmp_path):
    chosen = study("personnet", profile="laptop", runs_dir=str(tmp_path))
    for row in chosen.paper.rows:
        if row.key.startswith("table4"):
            scaled = dict(chosen.recipe(row, 0, "laptop").options)
            assert all(scaled[name] == value for name, value in row.recipe.options)


def test_both_rows_of_one_recipe_are_one_job(tmp_path):
    chosen = study("personnet", profile="laptop", runs_dir=str(tmp_path))
    jobs = chosen.jobs()
    recipes = [job.recipe for job in jobs]
    assert len(set(recipes)) == len(recipes)
    shared = [job for job in jobs if job.row.key in ("table4/personnet", "fig5/rmsprop")]
    assert len(shared) == 5
    assert [job.order for job in jobs] == sorted(job.order for job in jobs)


def test_a_parent_is_scaled_with_its_child_comes_before_it_and_keeps_its_weights(tmp_path):
    base = smoke(tmp_path)
    row = replace(base.paper.row("table4/personnet"), keep="")
    child = replace(row, key="table4/tuned", recipe=replace(row.recipe, parent=row.recipe, trainable="logits"))
    claim = replace(base.paper.claims[0], pairs=((child.key, child.key),))  # only the child is compared
    chapter = replace(base, paper=replace(base.paper, rows=(child, row), claims=(claim,)))
    first, second = chapter.jobs()
    assert (first.row.key, first.keep) == (row.key, "weights")
    assert (second.row.key, second.keep) == (child.key, "")
    assert second.recipe.parent == first.recipe
    assert chapter.recipe(child, 3, "smoke").parent == chapter.recipe(row, 3, "smoke")


def test_a_synthetic_copy_has_its_datasets_layout_and_trial_t_its_split_t(tmp_path):
    chosen = study("personnet", profile="laptop", runs_dir=str(tmp_path))
    for key, layout, splits in (("table2", "cuhk03-labeled", [0, 1]), ("table4", "", [0, 0])):
        row = chosen.paper.row(f"{key}/personnet")
        recipes = [chosen.recipe(row, trial, "laptop") for trial in (0, 1)]
        settings = [chosen.settings(row, trial, "laptop")[0] for trial in (0, 1)]
        assert [recipe.split for recipe in recipes] == [item.split for item in settings] == splits
        assert {data.layout for recipe in recipes for data in recipe.datasets} == {layout}
        assert {item.data.layout for item in settings} == {layout}


@pytest.mark.parametrize("key", PAPERS)
def test_rows_of_random_weights_train_nothing(key):
    chosen = study(key, profile="smoke")
    for row in chosen.paper.rows:
        if re.search("untrained|random weights", f"{row.key} {row.label}".lower()):
            trained = chosen.recipe(row, 0, "smoke").steps > 0
            assert trained == ("from random weights" in row.label), row.key


def test_two_cameras_get_hard_images_unless_a_row_says_otherwise(tmp_path):
    chosen = study("personnet", profile="laptop", runs_dir=str(tmp_path))
    names = ("market1501", "msmt17", "cuhk03-np-labeled", "cuhk03-labeled", "cuhk01-486", "viper")
    presets = [chosen.data(Data(name), 0, "laptop").preset for name in names]
    assert presets == ["default"] * 3 + ["hard"] * 3
    assert chosen.data(Data("viper", preset="easy"), 0, "laptop").preset == "easy"
    assert str(chosen.data(Data("viper"), 0, "laptop")) == "plaza small hard"


def test_rows_whose_dataset_is_not_on_disk_are_left_out(tmp_path, plaza_tiny):
    folder = plaza_tiny.gallery.paths[0].parents[1]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "Market-1501").symlink_to(folder)
    chosen = smoke(tmp_path / "runs", dataset="real", data_root=str(tmp_path / "data"))
    assert {job.row.table for job in chosen.jobs()} == {"Table IV", "Robustness", "Open points", "Tuning", "Doubled"}
    with pytest.raises(NotAvailable, match="CUHK03"):
        chosen.jobs("table2")
    assert not any(trial.run for trial in chosen.results("Table II")["table2/personnet"])


def test_without_any_dataset_nothing_is_trained_and_pictures_are_of_the_first_that_is_there(tmp_path, copy_of):
    (tmp_path / "data").mkdir()
    chosen = smoke(tmp_path / "runs", dataset="real", data_root=str(tmp_path / "data"))
    chosen.compute()
    with pytest.raises(NotAvailable, match="no Market-1501"):
        chosen.benchmark()
    chosen = replace(chosen, data_root=copy_of("viper"))
    assert chosen.benchmark().name == "viper"
    with pytest.raises(NotAvailable, match="no Market-1501"):
        chosen.benchmark("market1501")


def test_a_row_is_selected_alone_and_a_table_whole(tmp_path):
    chosen = smoke(tmp_path)
    assert {job.row.key for job in chosen.jobs("table4/idla")} == {"table4/idla"}
    assert {job.row.key for job in chosen.jobs("open")} == {"open/kernel-3", "open/tanh", "open/lr-0.05"}


def test_rows_that_one_dataset_makes_the_same_training_are_evaluated_with_it(tmp_path):
    """Or the other row's turn would train it again, and replace the run without this row's evaluation."""
    chosen = study("mls", profile="laptop", dataset="plaza", runs_dir=str(tmp_path))
    market = {fingerprint(job.recipe): job for job in chosen.jobs("market")}
    shared = [job for job in chosen.jobs("table2") if fingerprint(job.recipe) in market]
    assert shared
    for job in shared:
        other = market[fingerprint(job.recipe)]
        assert {*job.settings, *job.also} == {*other.settings, *other.also}


def test_two_names_that_one_dataset_stands_for_are_trained_on_once(tmp_path):
    """Or each person of it would be two, and a picture of theirs a wrong answer."""
    chosen = study("midlevel", profile="laptop", dataset="plaza", runs_dir=str(tmp_path))
    row = next(row for row in chosen.paper.rows if row.recipe.parent and len(row.recipe.parent.datasets) > 1)
    assert len(chosen.recipe(row, 0, "laptop").parent.datasets) == 1
    own = study("midlevel", profile="laptop", runs_dir=str(tmp_path))
    assert len(own.recipe(row, 0, "laptop").parent.datasets) == len(row.recipe.parent.datasets)


def test_stored_shows_the_best_profile_that_has_all_trials(tmp_path, monkeypatch):
    chosen = study("mls", profile="stored", runs_dir=str(tmp_path))
    there = {"gpu": 1, "laptop": 10}
    monkeypatch.setattr(Study, "find", lambda self, row, trial, profile: trial < there.get(profile, 0) or None)
    assert chosen.shown_profile() == "laptop"
    there["gpu"] = 10
    assert chosen.shown_profile() == "gpu"
    there["gpu"], there["laptop"] = 1, 3  # neither has all: the better one
    assert chosen.shown_profile() == "gpu"


def test_each_table_is_shown_at_the_best_profile_that_has_its_own_rows(tmp_path, monkeypatch):
    chosen = study("hagn", profile="stored", runs_dir=str(tmp_path))
    whole = {"gpu": ("table10/",), "laptop": ("",)}  # at gpu one table alone has been run

    def find(self, row, trial, profile):
        return any(row.key.startswith(start) for start in whole.get(profile, ())) or None

    monkeypatch.setattr(Study, "find", find)
    assert chosen.shown_profile(chosen.paper.row("table10/market-2-4").table) == "gpu"
    assert chosen.shown_profile(chosen.paper.row("table6/market-cam").table) == "laptop"
    assert chosen.shown_profile() == "laptop"


def test_an_unknown_row_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'table4/idla'"):
        smoke(tmp_path).jobs("table4/idlo")


def test_stored_trains_nothing(tmp_path):
    chosen = study("personnet", profile="stored", runs_dir=str(tmp_path), recompute="all")
    chosen.compute()
    assert not any(trial.run for trials in chosen.results().values() for trial in trials)
    assert chosen.shown_profile("Table IV") == "laptop"


def test_a_row_is_trained_once_and_found_again(tmp_path, plaza_tiny):
    chosen = smoke(tmp_path)
    assert len(chosen.missing("table4/personnet")) == 1
    chosen.compute("table4/personnet")
    chosen.compute("table4/histogram")
    assert not chosen.missing("table4/personnet")
    trial = chosen.results("Table IV")["table4/personnet"][0]
    assert 0 <= trial.metrics(0)["mean_ap"] <= 1
    assert trial.run.record["measures"]["parameters"] > 0
    assert {"Conv0", "Difference", "images", "same"} <= set(trial.run.figures())
    before = trial.run.record["date"], trial.run.folder.stat().st_mtime_ns
    chosen.compute("table4/personnet")
    again = chosen.results("Table IV")["table4/personnet"][0].run
    assert (again.record["date"], again.folder.stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    ("recompute", "expected"),
    [
        ("no", set()),
        ("missing", {"table4/pixels", "table4/untrained"}),
        ("core", {"table4/pixels"}),
        ("all", {"table4/pixels", "table4/untrained"}),
    ],
)
def test_what_is_due_is_what_recompute_says(tmp_path, recompute, expected):
    chosen = smoke(tmp_path, recompute=recompute)
    assert {job.row.key for key in ("table4/pixels", "table4/untrained") for job in chosen.due(key)} == expected


def test_what_is_recomputed_is_trained_though_it_is_there(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(Study, "do", lambda self, job, *, again: done.append((job.trial, again)))
    monkeypatch.setattr(Study, "done", lambda self, job: True)
    for recompute in RECOMPUTE:
        smoke(tmp_path, recompute=recompute).compute("table4/pixels")
    assert done == [(0, True)] * 2


@pytest.mark.parametrize(
    ("recompute", "expected"), [("no", "no"), ("missing", "missing"), ("core", "missing"), ("all", "missing")]
)
def test_pages_that_compare_chapters_train_what_is_missing_at_most(tmp_path, recompute, expected):
    found = studies(["mls", "hagn", "mls"], profile="smoke", recompute=recompute, runs_dir=str(tmp_path))
    assert [(key, chosen.paper.key, chosen.recompute) for key, chosen in found.items()] == [
        ("mls", "mls", expected),
        ("hagn", "hagn", expected),
    ]


def test_pages_that_compare_chapters_refuse_what_chapters_refuse():
    with pytest.raises(ValueError, match="did you mean 'missing'"):
        studies(["mls"], recompute="mising")


def test_core_is_at_most_five_trainings(tmp_path):
    assert 1 <= len(smoke(tmp_path, recompute="core").due()) <= 5


@pytest.mark.parametrize("key", PAPERS)
def test_every_row_names_its_printed_counterpart_and_every_claim_its_rows(key):
    found, wanted = paper(key), study(key, profile="laptop", dataset="synthetic")
    keys = [row.key for row in found.rows]
    assert len(set(keys)) == len(keys)
    for row in found.rows:
        if row.printed:
            assert row.printed[1] in set(printed_values(key, row.printed[0]).row)
    for claim in found.claims:
        compared = [found.row(name) for pair in claim.pairs for name in pair]
        assert all(len(wanted.trials(row, "laptop")) >= claim.replicates for row in compared)
        assert 0.3 <= claim.margin <= 1.0
        assert (printed_effect(found, claim)[1] > 0) == bool(claim.rates)  # NaN without
        if claim.printed_effect is not None:
            assert claim.margin == min(1.0, max(0.3, abs(claim.printed_effect) / 2))
            assert printed_effect(found, claim)[0] == pytest.approx(claim.printed_effect)
            assert (claim.measure == "rank1") == bool(claim.rates)


def test_a_printed_effect_has_the_error_of_both_its_rates():
    found = paper("personnet")
    effect, error = printed_effect(found, found.claims[0])  # Table III: 71.14 and 65.0 % of 100 people each
    assert effect == pytest.approx(71.14 - 65.0)
    assert error == pytest.approx(100 * ((0.7114 * 0.2886 + 0.65 * 0.35) / 100) ** 0.5)
    found = paper("midlevel")  # 64.2 % of 971 people across datasets, 63.2 % of 100 at home
    effect, error = printed_effect(found, next(claim for claim in found.claims if claim.key == "cross-dataset"))
    assert effect == pytest.approx(64.2 - 63.2)
    assert error == pytest.approx(100 * (0.642 * 0.358 / 971 + 0.632 * 0.368 / 100) ** 0.5)
    found = paper("casn")
    assert printed_effect(found, found.claims[0]) == (4.5, pytest.approx(float("nan"), nan_ok=True))


def test_a_row_that_no_claim_compares_has_few_trials(tmp_path):
    chosen = study("mls", profile="laptop", runs_dir=str(tmp_path))
    trials = {row.key: len(chosen.trials(row, "laptop")) for row in chosen.paper.rows}
    assert trials["levels/l23"] == 10  # as many as its claims compare
    assert trials["levels/l234"] == 5
    assert trials["market/mls"] == 5  # a core row
    assert trials["open/clamp"] == trials["table2/viper-l23"] == 1
    assert len(chosen.trials(chosen.paper.row("open/clamp"), "paper")) == 3
    assert len(chosen.trials(chosen.paper.row("levels/l23"), "smoke")) == 1


@pytest.mark.parametrize("key", PAPERS)
def test_every_recipe_can_be_scaled_to_every_profile(key):
    for profile, scale in paper(key).profiles:
        for row in paper(key).rows:
            scaled = scale.scale(row.recipe)
            assert set(dict(scaled.options)) <= set(options(scaled.system)), (row.key, profile)
            assert scaled.objective in OBJECTIVES
            augment.check(scaled.augment)


def test_real_data_needs_its_folder(tmp_path):
    chosen = study("personnet", profile="laptop", dataset="real", data_root=str(tmp_path), runs_dir=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"[Mm]arket"):
        chosen.data(Data("market1501"), 0, "laptop")


def test_claims_want_as_many_trials_as_their_replicates() -> None:
    found = study("hagn", profile="laptop")
    assert found.trials(found.paper.row("table6/market-mpfe"), "laptop") == tuple(range(10))
    assert found.trials(found.paper.row("open/leaky"), "laptop") == (0,)  # nothing compares it


def test_all_queries_are_scored_where_vectors_make_them_cheap() -> None:
    """The rows that HAGN's paper compares ask for everybody; those beside other systems share their queries."""
    found = study("hagn", profile="laptop")
    queries = {
        key: {item.queries for item in found.settings(found.paper.row(key), 0, "laptop")}
        for key in ("table6/market-mgo", "readme/dukemtmc", "market/hagn")
    }
    assert queries == {"table6/market-mgo": {None}, "readme/dukemtmc": {None}, "market/hagn": {50}}
