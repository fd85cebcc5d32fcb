"""What ran where, counted from a store of made-up runs."""

import pytest

from reidlib.inventory import Inventory, counts, summary
from reidlib.queue import Clock
from reidlib.store import RunStore
from reidlib.study import Study, study


@pytest.fixture
def held(tmp_path):
    """PersonNet and MidLevel at laptop; two trials of two rows of PersonNet are there, one run without rankings."""
    chosen = study("personnet", profile="laptop", runs_dir=str(tmp_path))
    store = RunStore(tmp_path)
    for trial in (0, 1):
        for key in ("table4/personnet", "tuning/sgd-0.01"):
            if trial < chosen.paper.row(key).trials:
                recipe = chosen.recipe(chosen.paper.row(key), trial, "laptop")
                meta = {
                    "profile": "laptop",
                    "device": f"CPU {trial}",
                    "training_seconds": 60.0 + trial,
                    "seconds": 90.0,
                }
                store.save(recipe, history=[], evaluations={}, meta=meta)
    clock = Clock.of(store, "cpu")
    papers = (chosen, study("midlevel", profile="laptop", runs_dir=str(tmp_path)))
    return [Inventory.at(item, "laptop", clock) for item in papers]


def test_a_run_without_a_ranking_is_incomplete(held):
    personnet, midlevel = held
    assert counts([personnet]) == {"done": 1, "incomplete": 2, "missing": len(personnet.jobs) - 3}
    assert counts([midlevel]) == {"done": 0, "incomplete": 0, "missing": len(midlevel.jobs)}
    assert counts([personnet, personnet]) == counts([personnet])  # each run once


def test_a_line_says_what_it_took_what_it_would_take_and_how_to_go_on(held):
    line = summary(held[:1], "personnet")
    assert line["runs"] == f"3 of {len(held[0].jobs)}"
    assert line["took"] == "0.1 hours"
    assert line["took"].exact["seconds"] == 270.0
    assert line["continue with"] == f"`reidlib run personnet --runs-dir {held[0].study.store.home}`"
    assert "minutes, and" in line["would take"]  # IDLA's time is not known
    assert summary(held, "all")["missing"] == str(sum(len(item.jobs) for item in held) - 3)


def test_a_row_names_its_trials_minutes_devices_dates_and_commits(held):
    rows = held[0].rows()
    assert rows.loc["tuning/sgd-0.01", "trials"] == "1 of 1"
    assert rows.loc["tuning/sgd-0.01", "to come"] == ""
    assert rows.loc["tuning/sgd-0.01", "training (minutes)"].exact == {"trial 1": 1.0}
    shown = ["trials", "to come", "training (minutes)", "device"]
    assert rows.loc["table4/idla", shown].tolist() == ["0 of 5", "unknown", "not run", ""]
    # Two runs are there, but rows count what they show: these two have no ranking.
    assert rows.loc["table4/personnet", "trials"] == "0 of 5"
    assert rows.loc["table4/personnet", "to come"].endswith(" min")


def test_several_trials_span_minutes_and_join_devices(held, monkeypatch):
    def there(self, row, trial, profile):
        return self.store.find(self.recipe(row, trial, profile))

    monkeypatch.setattr(Study, "find", there)
    rows = held[0].rows()
    line = rows.loc["table4/personnet"]
    assert (line["trials"], line["training (minutes)"], line["device"]) == ("2 of 5", "1.0 to 1.0", "CPU 0, CPU 1")
    assert line["training (minutes)"].exact == {"trial 1": 1.0, "trial 2": 61 / 60}


def test_other_profiles_and_data_are_named_in_the_command(tmp_path):
    chosen = study("mls", profile="gpu", runs_dir=str(tmp_path), dataset="market1501", data_root=str(tmp_path))
    found = Inventory.at(chosen, "gpu", Clock("here"))
    assert found.jobs == []  # the folder is empty
    assert summary([found], "mls")["runs"] == "0 of 0"
    there = Inventory.at(study("mls", runs_dir=str(tmp_path)), "gpu", Clock("here"))
    own = f"--runs-dir {tmp_path}"
    assert summary([there], "mls")["continue with"] == f"`reidlib run mls --profile gpu {own}`"
    plaza = Inventory.at(study("mls", runs_dir=str(tmp_path), dataset="plaza"), "laptop", Clock("here"))
    assert summary([plaza], "mls")["continue with"] == f"`reidlib run mls --dataset plaza {own}`"
    assert summary([there], "mls")["would take"] == "an unknown time"
