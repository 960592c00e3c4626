"""The generated pages are up to date, and cover what they say."""

import sys

import pytest

from exphil_tf import docs
from exphil_tf.features.schema import SCHEMA
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_DATA


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words help by its version")
def test_generated_pages_are_up_to_date():
    assert [path.name for path in docs.stale()] == [], "run `make docs`"


def test_every_field_has_a_line():
    page = docs.features_page()
    for field in SCHEMA.fields:
        assert page.count(f"| `{field.name}` |") == 1
        assert field.doc in page
    assert SCHEMA.fingerprint() in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in rows} == {7}


def test_every_command_is_found_and_described():
    names = docs.command_names()
    assert {"docs", "samples", "preprocess", "train", "evaluate", "verify"} <= set(names)
    assert not {"config", "errors", "options"} & set(names)
    page = (docs.PAGES / "cli.md").read_text()
    for name in names:
        assert f"## `python -m exphil_tf.{name}`" in page


def test_forms_with_other_options_have_a_help_of_their_own():
    assert docs.help_forms("samples") == ()
    known = {"preprocess", "latency", "architectures", "simulator", "playing"}
    assert set(docs.help_forms("benchmark")) == known
    assert "--paced" in docs.help_of("benchmark", "latency")
    assert "--replays" in docs.help_of("benchmark", "preprocess")
    assert "BUNDLE" in docs.help_of("benchmark")
    for name in docs.command_names():
        for form in docs.help_forms(name):
            assert docs.help_of(name, form) != docs.help_of(name)


def test_help_does_not_depend_on_the_terminal_or_environment(monkeypatch):
    plain = docs.help_of("samples")
    assert "--min-seconds" in plain and max(len(line) for line in plain.splitlines()) < 140
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("EXPHIL_GAMES", "99")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert docs.help_of("samples") == plain


def test_check_writes_nothing_and_names_what_is_stale(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(docs, "PAGES", tmp_path)
    monkeypatch.setattr(docs, "command_names", lambda: ["samples"])
    with pytest.raises(
        UserError, match="features.md.*cli.md.*: out of date. Run make docs"
    ) as error:
        docs.main(["--check"])
    assert error.value.exit_code == EXIT_DATA and not list(tmp_path.iterdir())
    assert docs.main([]) == 0 and docs.main(["--check"]) == 0
    assert capsys.readouterr().out.count("docs/") == 3
    (tmp_path / "cli.md").write_text("old")
    with pytest.raises(UserError, match=r"^docs/cli.md: out of date"):
        docs.main(["--check"])
