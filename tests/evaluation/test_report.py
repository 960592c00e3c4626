"""The report holds the figures, asks nothing of the network, and says what they mean."""

import dataclasses
import html.parser
import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from exphil_tf.evaluation import report, table
from exphil_tf.evaluation.findings import findings
from exphil_tf.evaluation.results import Curve
from exphil_tf.evaluation.win_forecast import measure_wins
from exphil_tf.features.controller import COMPONENTS
from exphil_tf.melee.enums import BUTTONS
from exphil_tf.rewards.win_score import NAMES, START
from exphil_tf.training.win_fit import WinView


@pytest.fixture(scope="module")
def page(evaluation):
    return report.page(evaluation)


class Tags(html.parser.HTMLParser):
    """Collects tags, attributes and unbalanced ends."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.errors = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.errors.append(tag)


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_page_holds_the_figures(evaluation, page):
    text = text_of(page)
    assert f"{evaluation.policy.nll:.4f}" in text
    for head in COMPONENTS:
        for name in ("policy", *evaluation.baselines):
            assert f"{evaluation.nll(name, head):.4f}" in text, (head, name)
        assert f"{100 * evaluation.policy.components[head].accuracy:.2f} %" in text
        changed = evaluation.policy.components[head].changed_nll
        assert changed is not None
        assert f"{changed:.3f}" in text
    for name in BUTTONS:
        assert f"{100 * evaluation.policy.buttons[name].rate:.2f} %" in text
        assert f"{100 * evaluation.policy.buttons[name].predicted_rate:.2f} %" in text
    for row in evaluation.policy.characters:
        assert row.name in text
        assert f"{row.frames:,}" in text
        assert f"{row.nll:.3f}" in text
    assert "ab" * 32 in text


def test_the_page_is_well_formed(page):
    tags = Tags(page)
    assert tags.errors == []
    assert tags.open == []
    assert tags.tags.count("svg") == 6
    identifiers = [value for _, name, value in tags.attributes if name == "id"]
    assert len(identifiers) > 50
    assert len(identifiers) == len(set(identifiers))


def test_the_page_asks_nothing_of_the_network(page):
    tags = Tags(page)
    assert "://" not in page
    assert "@import" not in page
    assert {"script", "link", "iframe", "object"}.isdisjoint(tags.tags)
    addresses = [v for _, n, v in tags.attributes if n in ("src", "href", "xlink:href", "action")]
    assert addresses
    identifiers = {value for _, name, value in tags.attributes if name == "id"}
    for address in addresses:
        assert (
            address.startswith("data:image/png;base64,") or address.removeprefix("#") in identifiers
        )
    for name in re.findall(r"url\(([^)]*)\)", page):
        assert name.removeprefix("#") in identifiers


def test_names_are_escaped(page):
    assert "<b>mamba</b>" not in page
    assert "&lt;b&gt;mamba&lt;/b&gt; &amp; co" in page


def test_colours_follow_light_and_dark(page):
    assert "prefers-color-scheme: dark" in page
    figures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--policy)" in figures
    # Any colour written into a figure would be wrong in one of the two.
    assert set(re.findall(r"(?:fill|stroke): ?(#\w+)", figures)) <= set()


def test_the_page_is_reproducible(evaluation, page):
    assert report.page(evaluation) == page


def test_what_it_does_when_fed_its_own_actions_is_told(evaluation, page):
    console = Console(file=io.StringIO(), width=120)
    table.show(console, evaluation)
    for text in (text_of(page), console.file.getvalue()):
        for figure in ("1.23", "67.10 %", "55.10 %", "7.89", "10.10 %", "2.10 %"):
            assert figure in text
    said = " ".join(finding.text for finding in findings(evaluation) if finding.kind == "bad")
    assert "on 55% of the frames it holds one that it never leaves again (the human: 2%)" in said
    assert "1.2 times a second (the human: 7.9)" in said
    alike = dataclasses.replace(evaluation.own_actions, policy=evaluation.own_actions.human)
    without = dataclasses.replace(evaluation, own_actions=None)
    for other in (without, dataclasses.replace(evaluation, own_actions=alike)):
        assert "its own actions" not in " ".join(f.text for f in findings(other))
    assert "Fed its own actions" not in report.page(without)


def test_a_win_probability_is_told_with_what_chance_alone_would_show(evaluation):
    won = np.arange(8) % 2 == 0
    stock = np.where(won[:, None, None], [4, 3], [3, 4])
    views = [
        WinView(game, {"p.stock": stock[game], "p.percent": np.zeros((1, 2))}, bool(won[game]))
        for game in range(8)
    ]
    win = measure_wins(views, views, dict(zip(NAMES, START, strict=True)))
    with_win = dataclasses.replace(evaluation, win=win)
    page = report.page(with_win)
    tags = Tags(page)
    assert (tags.errors, tags.tags.count("svg")) == ([], 7)
    text = text_of(page)
    for figure in (
        "8 games show",
        "policy 8 0.250",
        "base rate 8 0.250",
        "Skill over the base rate",
    ):
        assert figure in text
    said = [f.text for f in findings(with_win) if "Win probability" in f.text]
    assert "calibration error 0.000 on 8 games" in said[0]
    assert report.to_json(with_win)["win"]["policy"]["brier"]["value"] == 0.25
    assert "Win probability" not in report.page(evaluation)


def test_without_a_log_there_is_no_training_section(evaluation):
    page = report.page(dataclasses.replace(evaluation, curves={}))
    assert "Training</h2>" not in page
    assert Tags(page).tags.count("svg") == 5


def test_written_files(evaluation, tmp_path):
    json_path, page_path = report.write(evaluation, tmp_path / "new" / "folder")
    assert page_path.read_text(encoding="utf-8") == report.page(evaluation)
    values = json.loads(json_path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert values["policy"]["nll"] == evaluation.policy.nll
    assert values["policy"]["components"]["c_y"]["top3"] == evaluation.policy.components["c_y"].top3
    assert values["policy"]["components"]["buttons"]["top3"] is None
    assert values["baselines"]["repeat"]["nll"] == evaluation.baselines["repeat"].nll
    assert values["provenance"]["weights_sha256"] == "ab" * 32
    assert values["findings"]
    assert sorted(p.name for p in json_path.parent.iterdir()) == [
        "evaluation.html",
        "evaluation.json",
    ]


def test_the_table_fits_a_terminal(evaluation):
    console = Console(width=80, file=io.StringIO(), highlight=False, soft_wrap=True)
    table.show(console, evaluation)
    printed = console.file.getvalue()
    assert "…" not in printed
    for name in ("policy", *evaluation.baselines):
        assert name in printed
        assert f"{evaluation.nll(name):.4f}" in printed


# -- What the figures mean -------------------------------------------------------------------------


def texts(evaluation, kind):
    return [finding.text for finding in findings(evaluation) if finding.kind == kind]


def test_a_lost_head_is_named(evaluation):
    lost = [text for text in texts(evaluation, "bad") if text.startswith("Not better than")]
    assert len(lost) == 1
    assert "“markov” on C-stick x (" in lost[0]
    assert f"{evaluation.nll('policy', 'c_x'):.3f}" in lost[0]
    assert not evaluation.beats_baselines("c_x")
    assert evaluation.gain("c_x") < 0


def test_a_win_on_every_component_is_said(evaluation):
    components = evaluation.policy.components | {
        "c_x": dataclasses.replace(evaluation.policy.components["c_x"], nll=0.01)
    }
    better = dataclasses.replace(
        evaluation, policy=dataclasses.replace(evaluation.policy, components=components)
    )
    assert any("Beats every baseline on every component" in text for text in texts(better, "good"))
    assert not any("Not better" in text for text in texts(better, "bad"))


def test_a_button_that_is_given_up_is_named(evaluation):
    assert evaluation.policy.buttons["Z"].rate > 0.05
    assert [text for text in texts(evaluation, "bad") if "sampled play would hold Z on" in text]
    assert any(
        "likelier choice would all but give up Z" in text for text in texts(evaluation, "note")
    )


def test_validation_that_turned_is_said(evaluation):
    assert any("best at step 20 " in text for text in texts(evaluation, "note"))
    falling = dataclasses.replace(evaluation, curves={"validation": Curve([10, 20], [9.0, 8.0])})
    assert not any("best at step" in text for text in texts(falling, "note"))


def test_few_frames_are_said(evaluation):
    assert any("Only 1,500 frames" in text for text in texts(evaluation, "note"))


def test_best_baseline_by_head(evaluation):
    assert evaluation.best_baseline() == "markov"
    for head in COMPONENTS:
        best = evaluation.best_baseline(head)
        assert evaluation.nll(best, head) == min(
            m.components[head].nll for m in evaluation.baselines.values()
        )
        accuracies = [m.components[head].accuracy for m in evaluation.baselines.values()]
        assert evaluation.best_accuracy(head) == max(accuracies)
